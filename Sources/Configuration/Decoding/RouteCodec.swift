// SPDX-License-Identifier: Apache-2.0
// The description of routes, and of the settings that `defaults.route` shares with them.

import Addressing
import Plan

/// What a route is that says nothing but where it listens and where it leads.
let routeStandard = RoutePlan(name: "", listen: [], upstream: UpstreamIndex(0))

/// The longest timeout that is accepted anywhere: a year.
let timeoutMax = Duration.seconds(365 * 86400)

extension Codec<RouteDraft> {
  /// One route.
  static var route: Codec {
    let own: [Field<RouteDraft>] = [
      field(
        "listen", \.listen,
        .either(
          scalar: ScalarCodec.listenAddress.located.asList,
          list: .list(ScalarCodec.listenAddress.located, countMin: 1)),
        isRequired: true, "Where clients arrive."),
      field(
        "to", \.target,
        .either(
          scalar: ScalarCodec.routeTarget.located.map(TargetDraft.single),
          list: Codec<[EndpointDraft]>.list(.endpointOrSlip, countMin: 1).map(TargetDraft.endpoints)
        ),
        isRequired: true,
        "Who serves them: the name of an upstream, or endpoints, which then make an upstream of "
          + "the route's own name with the settings of `defaults.upstream`."),
    ]
    return .object(
      "route", "From listening addresses to an upstream.", RouteDraft(),
      notes: upstreamKeyNotes(
        "it belongs to an upstream: name one under `upstreams:`, or use `defaults.upstream`"
      ).merging([
        "bind": "did you mean `listen`?", "port": "did you mean `listen: \":PORT\"`?",
        "upstream": "did you mean `to`?", "endpoints": "did you mean `to`?",
        "timeout": "did you mean `idle`?", "hashkey": "did you mean `hash_key`?",
      ]) { $1 },
      fields: own + routeFields.map { $0.lifted(\.settings) })
  }
}

extension Codec<RouteSettings> {
  /// `defaults.route`.
  static var routeSettings: Codec {
    .object(
      "route defaults", "What counts for every route that is silent about it.", RouteSettings(),
      notes: upstreamKeyNotes("it belongs to `defaults.upstream`").merging([
        "listen": "it belongs to a route", "to": "it belongs to a route",
      ]) { $1 },
      fields: routeFields)
  }
}

// Found out once: the fields of an upstream are many.
private let upstreamKeys = upstreamFields.map(\.shape.name)
private let routeKeys = routeFields.map(\.shape.name)

/// The keys that only an upstream knows.
private func upstreamKeyNotes(_ note: String) -> KeyNotes {
  Dictionary(uniqueKeysWithValues: Set(upstreamKeys).subtracting(routeKeys).map { ($0, note) })
}

/// The keys that only a route knows.
func routeKeyNotes(_ note: String) -> KeyNotes {
  Dictionary(uniqueKeysWithValues: Set(routeKeys).subtracting(upstreamKeys).map { ($0, note) })
}

private var routeFields: [Field<RouteSettings>] {
  let timeout = ScalarCodec.duration(.milliseconds(1)...timeoutMax).orOff("for ever")
  return [
    field(
      "idle", \.idle, timeout, standard: routeStandard.idle,
      "How long a session may move no byte in either direction before it is reset."),
    field(
      "half_close_timeout", \.halfCloseTimeout, timeout, standard: routeStandard.halfCloseTimeout,
      "How long a session may move no byte once one side has finished sending, before it is reset. "
        + "Rarely needed: `keepalive` finds peers that are gone, and a slow answer is no fault."),
    field(
      "flush_timeout", \.flushTimeout, .duration(.milliseconds(100)...(.seconds(600))),
      standard: routeStandard.flushTimeout,
      "Once one side is gone, or the proxy's kernel has all that both sides have sent: how long the "
        + "remaining receiver may make no progress, with no byte moved and none acknowledged, before the "
        + "bytes that it has not taken are given up. A receiver that is slow but makes progress gets "
        + "everything."),
    field(
      "drop_silent_clients", \.dropSilentClients, .boolean,
      standard: routeStandard.dropSilentClients,
      "Closes a client that has finished without having sent a byte before it is connected to an "
        + "endpoint (while it waited in the backlog or in a queue, or while an attempt was made). Only for "
        + "protocols in which the client speaks first."),
    field(
      "max_sessions", \.sessionsMax, ScalarCodec.integer(1...10_000_000).codec,
      "How many sessions the route holds at once; without it, as many as the process."),
    field(
      "backlog", \.backlog, .integer(1...65535), standard: routeStandard.backlog,
      "How many connections the kernel keeps waiting to be accepted."),
    field("tcp", \.tcp, .tcp, "Options of client connections."),
    field(
      "hash_key", \.hashKey, ScalarCodec.hashKey.located,
      "What the route's sessions go by where its upstream has `key: route`; without it, the "
        + "route's name. Routes of one key share an endpoint."),
    field("log", \.log, .routeLog, "What is logged about the route's sessions."),
  ]
}

extension Codec<RouteLogDraft> {
  fileprivate static var routeLog: Codec {
    let off = ScalarCodec<AccessMoments>.choice(["off": AccessMoments(start: false, end: false)])
      .hinting { text in
        let words = text.split { " ,".contains($0) }.map(String.init)
        let isList = !words.isEmpty && words.allSatisfy { ["start", "end"].contains($0) }
        let items = everyItem(text) ?? (isList ? words.joined(separator: ", ") : nil)
        return items.map { "write `[\($0)]`" }
      }
    return .object(
      "route log", "What is logged about a route's sessions.", RouteLogDraft(),
      fields: [
        field(
          "access", \.access, .either(scalar: off.codec, list: .accessMoments),
          shown: .array([.string("end")]),
          "When a session's access records are written: when its upstream connection stands, when "
            + "it has ended, and every so often in between.")
      ])
  }
}

extension Codec<AccessMoments> {
  fileprivate static var accessMoments: Codec {
    let word = ScalarCodec<Bool>.choice(["start": true, "end": false])
      .hinting { text in everyItem(text).map { "write `\($0)`" } }
    let item = Codec<AccessMoment>.either(
      scalar: word.codec.map { $0 ? .start : .end },
      mapping: Codec<EveryDraft>.every.map(AccessMoment.every))
    let list = Codec<[(moment: AccessMoment, range: SourceRange)]>.list(item.withRange)
    return Codec(shape: list.shape) { node, place, diagnostics in
      guard let items = list.decode(node, at: place, &diagnostics) else { return nil }
      var result = AccessMoments(start: false, end: false)
      var seen: [String: Mark] = [:]
      for (moment, range) in items {
        if let first = seen.updateValue(range.start, forKey: moment.name) {
          seen[moment.name] = first
          diagnostics.error(
            at: range, "`\(moment.name)` stands here a second time",
            hints: ["the first is in line \(first.line), column \(first.column)"], isShape: false)
        }
        switch moment {
        case .start: result.start = true
        case .end: result.end = true
        case .every(let draft): result.every = draft.interval
        }
      }
      return result
    }
  }
}

extension AccessMoment {
  /// What the file calls it.
  fileprivate var name: String {
    switch self {
    case .start: "start"
    case .end: "end"
    case .every: "every"
    }
  }
}

/// `every: 5m` for `every 5m`, `every=5m` and the like.
private func everyItem(_ text: String) -> String? {
  guard text.hasPrefix("every") else { return nil }
  let rest = text.dropFirst(5).drop { " :=".contains($0) }
  if rest.isEmpty { return "every: 10m" }
  return (try? parseDuration(String(rest))).map { "every: \($0.configurationText)" }
}

extension Codec<EveryDraft> {
  fileprivate static var every: Codec {
    .object(
      "every", "An item of a route's `log.access`.", EveryDraft(),
      fields: [
        field(
          "every", \.interval, ScalarCodec.duration(.seconds(1)...timeoutMax).codec,
          isRequired: true, "How often a record is written while a session lasts.")
      ])
  }
}

extension Codec<TCPDraft> {
  /// `tcp:`, on either side.
  static var tcp: Codec {
    let standard = TCPPlan()
    return .object(
      "tcp", "Options of TCP connections. They do not apply to unix sockets.", TCPDraft(),
      notes: ["nodelay": "did you mean `no_delay`?"],
      fields: [
        field(
          "no_delay", \.noDelay, .boolean, standard: standard.noDelay,
          "Sends small segments at once (`TCP_NODELAY`)."),
        field(
          "keepalive", \.keepalive,
          ScalarCodec.duration(.seconds(1)...(.seconds(32767)), step: .seconds).orOff(),
          standard: standard.keepalive,
          "How long a silent connection waits before its peer is asked whether it still lives. One "
            + "that does not answer is given up after about twice the time."),
        field(
          "user_timeout", \.userTimeout,
          ScalarCodec.duration(.milliseconds(1)...(.seconds(86400)), step: .milliseconds)
            .orOff("the kernel's own"),
          standard: standard.userTimeout,
          "How long sent data may stay unacknowledged, or a reader may pause with data waiting for "
            + "it, before the connection is given up (`TCP_USER_TIMEOUT`)."),
        field(
          "unsent", \.unsentBytesMax,
          ScalarCodec.size((16 << 10)...(1 << 30)).orOff("the kernel's own"),
          standard: standard.unsentBytesMax,
          "How much may wait in the kernel to be sent (`TCP_NOTSENT_LOWAT`)."),
      ])
  }
}

extension Codec {
  /// The same place, as a list of one.
  var asList: Codec<[Value]> {
    map { [$0] }
  }

  /// The same place, with where it is.
  fileprivate var withRange: Codec<(moment: Value, range: SourceRange)> {
    Codec<(moment: Value, range: SourceRange)>(shape: shape) { node, place, diagnostics in
      decode(node, at: place, &diagnostics).map { ($0, node.range) }
    }
  }
}
