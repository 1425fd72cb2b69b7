// SPDX-License-Identifier: Apache-2.0
// What the file says, before names are resolved and defaults are filled in: every member is `nil`
// where the file is silent, or where what it says could not be read. `nil` inside a doubled
// optional is the keyword `off`. Drafts exist only between decoding and lowering.

import Addressing
import Plan

/// The whole file.
struct FileDraft {
  var workers: WorkerCount?
  var spin: Duration??
  var sessionsMax: SessionsMax?
  var log: LogDraft?
  var shutdown: ShutdownDraft?
  var relay: RelayDraft?
  var admin: AdminDraft?
  var defaults: DefaultsDraft?
  var routes: [Named<RouteDraft>]?
  var upstreams: [Named<UpstreamDraft>]?
}

/// `log:`.
struct LogDraft {
  var level: LogPlan.Level?
  var format: LogPlan.Format?
  var access: LogPlan.Destination?
  var queueMax: Int?
}

/// `shutdown:`.
struct ShutdownDraft {
  var delay: Duration?
  var drain: Duration??
}

/// `relay:`.
struct RelayDraft {
  var bufferBytes: Int?
  var pipes: RelayPlan.PipesMax?
  var pipeBytes: Int?
  var turnBytes: Int?
  var coalesce: Duration??
  var acceptsPerTurn: Int?
  var eventsPerTurn: Int?
}

/// `admin:`.
struct AdminDraft {
  var listen: Located<SocketAddress>?
  var connectionsMax: Int?
  var timeout: Duration?
}

/// `defaults:`.
struct DefaultsDraft {
  var route: RouteSettings?
  var upstream: UpstreamSettings?
}

/// What a route may say, and `defaults.route` may say for all.
struct RouteSettings {
  var idle: Duration??
  var halfClose: Duration??
  var linger: Duration?
  var sessionsMax: Int?
  var backlog: Int?
  var tcp: TCPDraft?
  var hashKey: String?
  var log: RouteLogDraft?
}

/// A route.
struct RouteDraft {
  var listen: [Located<ListenAddress>]?
  var target: TargetDraft?
  var settings = RouteSettings()
}

/// `to:`.
enum TargetDraft {
  case single(Located<RouteTarget>)
  case endpoints([EndpointDraft])
}

/// A single value of `to:`.
enum RouteTarget {
  case name(String)
  case address(EndpointAddress)
}

/// `log:` of a route.
struct RouteLogDraft {
  var access: AccessMoments?
}

/// One item of `log.access` of a route.
enum AccessMoment {
  case start
  case end
  case every(EveryDraft)
}

/// `every:` as an item of `log.access`.
struct EveryDraft {
  var interval: Duration?
}

/// `tcp:`.
struct TCPDraft {
  var noDelay: Bool?
  var keepalive: Duration??
  var userTimeout: Duration??
  var unsentBytesMax: Int??
}

/// What an upstream may say, and `defaults.upstream` may say for all.
struct UpstreamSettings {
  var balance: BalanceDraft?
  var slowStart: Located<Duration?>?
  var spillOverPercent: Int?
  var connect: Located<Duration>?
  var attempt: Located<Duration>?
  var source: [IPAddress]?
  var tcp: TCPDraft?
  var resolve: Located<Duration?>?
  var check: HealthCheckDraft??
}

/// `balance:`: a policy by its name, or one with options.
struct BalanceDraft {
  var policy: BalancePolicy?
  var sourceHash: HashDraft?
  var maglev: HashDraft?
  var peakEWMA: EWMADraft?
  /// Where it stands.
  var range: SourceRange?
}

/// `source_hash:` and `maglev:` of `balance`.
struct HashDraft {
  var key: HashPlan.Key?
  var tableSize: Located<Int>?
  var loadPercent: Int??
}

/// `key: {…}` of a hash.
struct PrefixDraft {
  var ipv4: Int?
  var ipv6: Int?

  var v4: Int { ipv4 ?? 32 }
  var v6: Int { ipv6 ?? 128 }
}

/// `peak_ewma:` of `balance`.
struct EWMADraft {
  var measure: EWMAPlan.Measure?
  var decay: Duration?
}

/// `check:`.
struct HealthCheckDraft {
  var tcp: TCPCheckDraft?
  var http: HTTPCheckDraft?
  var every: IntervalsDraft?
  var timeout: Located<Duration>?
  var rise: Int?
  var fall: Int?
  var jitterPercent: Int?
  var port: Located<Int>?
  var address: SocketAddress?
}

/// `tcp:` of a check, which has nothing to say.
struct TCPCheckDraft {}

/// `http:` of a check.
struct HTTPCheckDraft {
  var method: String?
  var path: String?
  var host: String?
  var headers: [HTTPCheckPlan.Header]?
  var statuses: [ClosedRange<Int>]?
  var body: Located<String>?
  var answerBytesMax: Int?
}

/// `every:` of a check.
struct IntervalsDraft {
  var up: Duration?
  var down: Duration?
  var changing: Duration?
}

/// An upstream.
struct UpstreamDraft {
  var endpoints: [EndpointDraft]?
  var settings = UpstreamSettings()
}

/// An endpoint.
struct EndpointDraft {
  var address: Located<EndpointAddress>?
  var weight: Int?
  var sessionsMax: Int?
  var priority: Int?
}
