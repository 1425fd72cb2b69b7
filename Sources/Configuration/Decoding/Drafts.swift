// SPDX-License-Identifier: Apache-2.0
// What the file says, before names are resolved and defaults are filled in: every member is `nil`
// where the file is silent, or where what it says could not be read. `nil` inside a doubled
// optional is the keyword `off`. Drafts exist only between decoding and lowering.

import Addressing
import Matching
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
  var halfCloseTimeout: Duration??
  var flushTimeout: Duration?
  var dropSilentClients: Bool?
  var sessionsMax: Int?
  var backlog: Int?
  var tcp: TCPDraft?
  var hashKey: Located<String>?
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
  @Kept var balance: BalanceDraft?
  var slowStart: Located<Duration?>?
  var spillOverPercent: Located<Int>?
  var connect: Located<Duration>?
  var attempt: Located<Duration>?
  var source: [IPAddress]?
  var tcp: TCPDraft?
  var avoidTimeWait: Bool?
  @Kept var resolve: ResolveDraft?
  // There may be thousands of upstreams, most of them without any of what is large.
  @Kept var check: HealthCheckDraft??
  @Kept var outlier: Located<OutlierDraft?>?
  var panicPercent: Located<Int?>?
  var quorum: Located<Int>?
  @Kept var retry: RetryDraft?
  var sessionsMax: Int?
  @Kept var queue: Located<QueueDraft?>?
  @Kept var hold: Located<HoldDraft?>?
  var onDown: Located<OnDown>?
}

/// An optional value with a place of its own, so that whatever has it is small.
@propertyWrapper
struct Kept<Value> {
  private final class Box {
    let value: Value

    init(_ value: Value) {
      self.value = value
    }
  }

  private var box: Box?

  var wrappedValue: Value? {
    get { box?.value }
    set { box = newValue.map(Box.init) }
  }
}

/// `retry:`.
struct RetryDraft {
  var attemptsMax: Int?
  var budgetPercent: Located<Int?>?
  var budgetMin: Located<Int>?
  var backOff: Duration??
  var backOffMax: Located<Duration>?
}

/// `queue:`.
struct QueueDraft {
  var length: Int?
  var timeout: Duration?
}

/// `hold:`.
struct HoldDraft {
  var timeout: Duration?
  var length: Int?
  var ratePerSecond: Int?
}

/// `on_down:` with a time.
struct OnDownDraft {
  var drain: Duration?
  var close: Duration?
}

/// `resolve:`.
struct ResolveDraft {
  var every: ResolveMoments?
  var min: Located<Duration>?
  var max: Located<Duration>?
  var servers: [SocketAddress]?
  var timeout: Duration?
  /// Where it stands.
  var range = SourceRange(at: .start)
}

/// `every:` of `resolve`.
enum ResolveMoments: Equatable {
  case never
  case every(Duration)
  case timeToLive
}

/// `outlier:`.
struct OutlierDraft {
  var failures: Int?
  var ejectTime: Located<Duration>?
  var ejectTimeMax: Located<Duration>?
  var ejectedPercentMax: Int?
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
  var kind = CheckKindDraft()
  var anyOf: Located<[CheckPartDraft]>?
  var allOf: Located<[CheckPartDraft]>?
  var every: Located<IntervalsDraft>?
  var timeout: Located<Duration>?
  var rise: Int?
  var fall: Int?
  var jitterPercent: Int?
  var initial: Located<HealthCheckPlan.Initial>?
  var port: Located<Int>?
  var address: Located<SocketAddress>?
}

/// The kinds of a check, of which one is there.
struct CheckKindDraft {
  var tcp: TCPCheckDraft?
  var http: HTTPCheckDraft?
  var tls: TLSCheckDraft?
  var exchange: Located<ExchangeCheckDraft>?
  var redis: RedisCheckDraft?
  var postgres: PostgresCheckDraft?
  var mysql: MySQLCheckDraft?
  var smtp: SMTPCheckDraft?
  var script: [String]?
}

/// One item of `any_of:` and `all_of:`.
struct CheckPartDraft {
  var kind = CheckKindDraft()
  var port: Located<Int>?
  var address: Located<SocketAddress>?
}

/// `tls:` of a check.
struct TLSCheckDraft {
  var serverName: String?
}

/// `exchange:` of a check.
struct ExchangeCheckDraft {
  var steps: [ExchangeStepDraft]?
  var answerBytesMax: Located<Int>?
}

/// One step of an exchange.
struct ExchangeStepDraft {
  var send: [UInt8]?
  var expect: ExpectationDraft?
}

/// `expect:` of a step.
enum ExpectationDraft {
  case bytes([UInt8])
  case pattern(BytePattern)
}

/// The forms in which bytes are written; one is there.
struct BytesDraft {
  var text: [UInt8]?
  var hexadecimal: [UInt8]?
  var pattern: BytePattern?
}

/// `redis:` of a check.
struct RedisCheckDraft {
  var role: RedisCheckPlan.Role?
  var username: Located<String>?
  var password: Secret?
}

/// `postgres:` of a check.
struct PostgresCheckDraft {
  var role: PostgresCheckPlan.Role?
  var user: String?
  var database: String?
  var password: Secret?
}

/// `mysql:` of a check.
struct MySQLCheckDraft {
  var user: String?
  var password: Located<Secret>?
}

/// `smtp:` of a check.
struct SMTPCheckDraft {
  var hello: String?
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
  var changing: Located<Duration>?
}

/// An upstream.
struct UpstreamDraft {
  var endpoints: [EndpointDraft]?
  var endpointsFile: Located<String>?
  var settings = UpstreamSettings()
}

/// An endpoint.
struct EndpointDraft {
  var address: Located<EndpointAddress>?
  var weight: Located<Int>?
  var sessionsMax: Int?
  var priority: Int?
}
