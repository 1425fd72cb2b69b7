// SPDX-License-Identifier: Apache-2.0
// The description of the file's top level: every key with its form, its bounds, its default and
// its meaning. Defaults come from the plan's own initialisers, so that they are written once.

import Plan

private let logStandard = LogPlan()
private let shutdownStandard = ShutdownPlan()
private let relayStandard = RelayPlan()

extension Codec<FileDraft> {
  /// The whole file.
  static var file: Codec {
    .object(
      "the file", "The top level of the configuration.", FileDraft(), allowsExtensions: true,
      notes: [
        "listen": "a listener belongs to a route: `routes: {NAME: {listen: …, to: …}}`",
        "route": "did you mean `routes`?", "upstream": "did you mean `upstreams`?",
        "logging": "did you mean `log`?",
      ],
      fields: [
        field(
          "workers", \.workers, .workers, standard: .auto,
          "How many workers run, a thread each. `auto`: as many as there are processors that this "
            + "process may really use."),
        field(
          "spin", \.spin, ScalarCodec.duration(.microseconds(1)...(.milliseconds(10))).orOff(),
          standard: nil,
          "How long a worker polls before it blocks. Shortens latency and costs processor time, so "
            + "`run` refuses it where a control group limits that (a CPU quota); `check` does not "
            + "look."),
        field(
          "max_sessions", \.sessionsMax, .sessionsMax, standard: .auto,
          "How many sessions the process holds at once. `auto`: as many as the open-files limit "
            + "has room for, but no more than \(SessionsMax.autoMax)."),
        field("log", \.log, .log, "The operational log and the access log."),
        field("shutdown", \.shutdown, .shutdown, "What happens between SIGTERM and the exit."),
        field("relay", \.relay, .relay, "The bounds of moving bytes. Rarely worth a change."),
        field(
          "admin", \.admin, .admin, "The admin interface, over HTTP; without it, there is none."),
        field(
          "defaults", \.defaults, .defaults,
          "What counts for routes and upstreams that are "
            + "silent about it."),
        field(
          "routes", \.routes, .named(.route, empty: RouteDraft(), countMin: 1), isRequired: true,
          "From listening addresses to upstreams, by name."),
        field(
          "upstreams", \.upstreams, .named(.upstream, empty: UpstreamDraft()),
          "Endpoints and the policy of choosing among them, by name."),
      ])
  }
}

extension ScalarCodec<WorkerCount> {
  fileprivate static var workers: ScalarCodec {
    ScalarCodec<Int>.integer(1...1024).or("auto").map({ $0.map(WorkerCount.count) ?? .auto }) {
      count in
      if case .count(let number) = count { number } else { nil }
    }
  }
}

extension ScalarCodec<SessionsMax> {
  fileprivate static var sessionsMax: ScalarCodec {
    ScalarCodec<Int>.integer(1...SessionsMax.countMax).or("auto").map({
      $0.map(SessionsMax.count) ?? .auto
    }) { limit in
      if case .count(let number) = limit { number } else { nil }
    }
  }
}

extension ScalarCodec<RelayPlan.PipesMax> {
  fileprivate static var pipes: ScalarCodec {
    ScalarCodec<Int>.integer(0...100_000).or("auto").map({
      $0.map(RelayPlan.PipesMax.count) ?? .auto
    }) { limit in
      if case .count(let number) = limit { number } else { nil }
    }
  }
}

extension ScalarCodec<LogPlan.Destination> {
  fileprivate static var destination: ScalarCodec {
    let words = ScalarCodec.choice([
      "stdout": .standardOutput, "stderr": .standardError, "off": .off,
    ])
    let path = ScalarCodec<String>.text(
      "the path of a file, with a `/` in it", patterns: ["\(freeTextPattern)*/\(freeTextPattern)*"],
      examples: ["/var/log/sluice/access.log"], encode: { $0 }
    ) { text throws(Refusal) in
      guard text.utf8.contains(UInt8(ascii: "/")) else {
        throw Refusal("is neither a known word nor a path with a `/`")
      }
      guard text.utf8.last != UInt8(ascii: "/") else {
        throw Refusal("is a directory", isShape: false)
      }
      return text
    }
    return ScalarCodec(
      shape: words.shape.or(path.shape),
      parse: { scalar throws(Refusal) in
        if words.shape.keywords.contains(scalar.text) { return try words.parse(scalar) }
        return .file(path: try path.parse(scalar))
      },
      encode: { destination in
        if case .file(let file) = destination { return .string(file) }
        return words.encode(destination)
      })
  }
}

extension Codec<LogDraft> {
  fileprivate static var log: Codec {
    .object(
      "log", "The operational log goes to standard error, the access log where `access` says.",
      LogDraft(),
      fields: [
        field(
          "level", \.level,
          .choice(
            ["debug": .debug, "info": .info, "warning": .warning, "error": .error],
            notes: ["warn": "did you mean `warning`?"]),
          standard: logStandard.level, "The least severe level that is logged."),
        field(
          "format", \.format, .choice(["text": .text, "json": .json]),
          standard: logStandard.format, "How the lines of both logs look."),
        field(
          "access", \.access, .destination, standard: logStandard.access,
          "Where the access log goes: one line per session."),
        field(
          "queue", \.queueMax, .integer(16...1_048_576), standard: logStandard.queueMax,
          "How many lines wait for a slow reader before more are dropped, and counted."),
      ])
  }
}

extension Codec<ShutdownDraft> {
  fileprivate static var shutdown: Codec {
    .object(
      "shutdown", "What happens between SIGTERM and the exit. A second signal ends at once.",
      ShutdownDraft(),
      fields: [
        field(
          "delay", \.delay, .duration(.zero...(.seconds(3600))), standard: shutdownStandard.delay,
          "How long accepting goes on after the signal."),
        field(
          "drain", \.drain,
          ScalarCodec.duration(.zero...(.seconds(7 * 86400))).orOff("for ever"),
          standard: shutdownStandard.drain,
          "How long sessions may then take to end by themselves, before they are reset."),
      ])
  }
}

extension Codec<RelayDraft> {
  fileprivate static var relay: Codec {
    .object(
      "relay", "The bounds of moving bytes. They bound memory and keep sessions fair.",
      RelayDraft(),
      fields: [
        field(
          "buffer", \.bufferBytes, .size((4 << 10)...(1 << 20)),
          standard: relayStandard.bufferBytes,
          "How much is read at once, and how much at most is kept in each direction of a session."),
        field(
          "pipes", \.pipes, .pipes, standard: relayStandard.pipes,
          "How many pipes bulk transfers may use for splice(2); 0 switches splicing off."),
        field(
          "pipe", \.pipeBytes, .size((4 << 10)...(1 << 20)), standard: relayStandard.pipeBytes,
          "How large a pipe is asked to be; the kernel may give less."),
        field(
          "turn", \.turnBytes, .size((4 << 10)...(64 << 20)), standard: relayStandard.turnBytes,
          "How much a direction of a session may move before others have their turn; an eighth of it "
            + "while the worker serves exchanges of small messages, too."),
        field(
          "coalesce", \.coalesce,
          ScalarCodec.duration(.microseconds(1)...(.milliseconds(10))).orOff(),
          standard: relayStandard.coalesce,
          "For how long, at most, a worker that moves bulk, and nothing else, lets bytes gather before "
            + "it looks again: fewer wake-ups, for a delay that bulk does not feel. Not with `spin`."
        ),
        field(
          "accepts", \.acceptsPerTurn, .integer(1...4096), standard: relayStandard.acceptsPerTurn,
          "How many connections a listener accepts before others have their turn."),
        field(
          "events", \.eventsPerTurn, .integer(1...4096), standard: relayStandard.eventsPerTurn,
          "How many events a worker takes from the kernel at once."),
      ])
  }
}

extension Codec<DefaultsDraft> {
  fileprivate static var defaults: Codec {
    .object(
      "defaults", "What counts for routes and upstreams that are silent about it.",
      DefaultsDraft(),
      fields: [
        field("route", \.route, .routeSettings, "For every route."),
        field("upstream", \.upstream, .upstreamSettings, "For every upstream, inline ones too."),
      ])
  }
}
