// SPDX-License-Identifier: Apache-2.0
// The description of what happens when endpoints cannot serve: attempts that follow others, bounds, where
// clients wait, and what becomes of the sessions of an endpoint that goes down.

import Plan

private let retryStandard = RetryPlan()
private let queueStandard = QueuePlan()
private let holdStandard = HoldPlan(timeout: .seconds(10))

/// Over how long the sessions of an endpoint are reset, unless the file says otherwise.
let closeStandard = Duration.seconds(2)
/// How long they may take to end by themselves, where only `drain` is said.
let drainStandard = Duration.seconds(30)

/// How long a client may be kept waiting, at most.
private let waitRange = Duration.milliseconds(1)...(.seconds(3600))

/// What an upstream says about times when not everything works.
var resilienceFields: [Field<UpstreamSettings>] {
  [
    field(
      "retry", \.retry, .retry,
      "Attempts to connect that follow one that has failed. `off`: there are none. Taken whole: an "
        + "upstream's own replaces the one of `defaults`; `{}` has every default."),
    field(
      "max_sessions", \.sessionsMax, ScalarCodec.integer(1...10_000_000).codec,
      "How many sessions its endpoints have at once, all together; without it, any number."),
    field(
      "queue", \.queue, Codec<QueueDraft?>.queue.located, shown: .string("off"),
      "Clients wait here while every endpoint is full, instead of being reset. Taken whole: an "
        + "upstream's own replaces the one of `defaults`."),
    field(
      "hold", \.hold, Codec<HoldDraft?>.hold.located, shown: .string("off"),
      "Clients wait while no endpoint is available, instead of being reset: for so long, or a "
        + "mapping. Taken whole, as `queue` is."),
    field(
      "on_down", \.onDown, Codec<OnDown>.onDown.located, shown: .string("keep"),
      note: "`{close: 2s}` where a check asks for a role",
      "What becomes of the sessions of an endpoint that goes down: they go on (`keep`), may end by "
        + "themselves for a while (`drain`), or are reset (`close`). Where a check asks for a role, a "
        + "`keep` of `defaults` does not count."),
  ]
}

/// How other programs call what is above.
let resilienceNotes: KeyNotes = [
  "retries": "did you mean `retry: {attempts: …}`?",
  "max_connect_attempts": "did you mean `retry: {attempts: …}`?",
  "max_conns": "did you mean `max_sessions`?", "maxconn": "did you mean `max_sessions`?",
  "max_connections": "did you mean `max_sessions`?",
  "maxqueue": "did you mean `queue: {length: …}`?", "queue_length": "did you mean `queue`?",
  "queue_timeout": "did you mean `queue: {timeout: …}`?", "wait": "did you mean `hold` or `queue`?",
  "on_marked_down": "did you mean `on_down`?", "session_drop": "did you mean `on_down: close`?",
]

extension ScalarCodec {
  /// The word `off` for something that is a mapping otherwise. `hint` says what to write instead of a word
  /// that only means "on".
  fileprivate static func off(
    _ value: Value, _ complaint: String, hint: @escaping (String) -> String?
  ) -> ScalarCodec {
    ScalarCodec(
      shape: ScalarShape(accepted: "`off`", keywords: ["off"]),
      parse: { scalar throws(Refusal) in
        guard scalar.text == "off" else { throw Refusal(complaint) }
        return value
      },
      encode: { _ in .string("off") }
    ).hinting { text in
      switch text.lowercased() {
      case "no", "never", "none", "false", "disable", "disabled", "0": "write `off`"
      default: hint(text)
      }
    }
  }
}

extension Codec<RetryDraft> {
  /// `retry:`.
  fileprivate static var retry: Codec {
    var once = RetryDraft()
    once.attemptsMax = 1
    let off = ScalarCodec.off(once, "is no retry policy") { text in
      (try? wholeNumber(text)).map { "write `{attempts: \($0)}`" } ?? "write `{}` for the defaults"
    }
    return .either(scalar: off.codec, mapping: .retryMapping)
  }

  private static var retryMapping: Codec {
    let pause = ScalarCodec.duration(.milliseconds(1)...(.seconds(60)))
    let budget = ScalarCodec.percentage(0...100).orOff("any number")
    return .object(
      "retry",
      "Attempts that follow one that has failed, within `connect`. Nothing was written to the endpoint "
        + "that failed, so nothing is ever sent twice.",
      RetryDraft(),
      notes: [
        "retries": "did you mean `attempts`? It counts the first one, too",
        "max": "did you mean `attempts`?", "tries": "did you mean `attempts`?",
        "timeout": "it is `connect` of the upstream, over all attempts",
        "per_try_timeout": "it is `attempt` of the upstream",
        "backoff": "did you mean `back_off`?", "backoff_max": "did you mean `back_off_max`?",
        "base_interval": "did you mean `back_off`?", "max_interval": "did you mean `back_off_max`?",
        "percent": "did you mean `budget`?",
      ],
      fields: [
        field(
          "attempts", \.attemptsMax, ScalarCodec.integer(1...100).codec,
          "How many a session may make, the first included; endpoints that have failed it come again "
            + "when all have. Without it, each endpoint is tried once."),
        field(
          "budget", \.budgetPercent, budget.located,
          shown: budget.encode(retryStandard.budgetPercent),
          "How many sessions may be past their first attempt at once, as a share of the upstream's "
            + "sessions. Those above it do not try again."),
        field(
          "budget_min", \.budgetMin, ScalarCodec.integer(0...1_000_000).located,
          shown: .integer(retryStandard.budgetMin),
          "So many may be in any case."),
        field(
          "back_off", \.backOff, pause.orOff("no attempt waits"), standard: retryStandard.backOff,
          "How long the third attempt waits at most, the wait drawn at random; those after it wait up to "
            + "twice as long as the one before. The second one, at another endpoint, does not wait."
        ),
        field(
          "back_off_max", \.backOffMax, pause.located,
          shown: pause.encode(retryStandard.backOffMax),
          "The longest such wait. Without it, `back_off` where that is longer."),
      ])
  }
}

extension Codec where Value == QueueDraft? {
  /// `queue:`; `nil` is `off`.
  fileprivate static var queue: Codec {
    let off = ScalarCodec<QueueDraft?>.off(nil, "is no queue") { text in
      if (try? parseDuration(text)) != nil { return "write `{timeout: \(text)}`" }
      return (try? wholeNumber(text)).map { "write `{length: \($0)}`" }
        ?? "write `{}` for the defaults"
    }
    return .either(scalar: off.codec, mapping: Codec<QueueDraft>.queueMapping.map { $0 })
  }
}

extension Codec<QueueDraft> {
  fileprivate static var queueMapping: Codec {
    .object(
      "queue",
      "Where clients wait, first come first served, while every endpoint that could serve has as many "
        + "sessions as it may.",
      QueueDraft(),
      notes: [
        "max": "did you mean `length`?", "size": "did you mean `length`?",
        "rate": "it belongs to `hold`: who is next goes on as soon as there is a place",
      ],
      fields: [
        field(
          "length", \.length, .integer(1...1_000_000), standard: queueStandard.length,
          "How many wait at once; further ones are reset."),
        field(
          "timeout", \.timeout, .duration(waitRange), standard: queueStandard.timeout,
          "How long one waits; then it is reset."),
      ])
  }
}

extension Codec where Value == HoldDraft? {
  /// `hold:`; `nil` is `off`.
  fileprivate static var hold: Codec {
    .either(
      scalar: ScalarCodec.duration(waitRange).orOff().hinting { text in
        let words = ["unlimited", "infinite", "forever", "always", "on", "true", "yes"]
        return words.contains(text.lowercased())
          ? "write how long, `\(waitRange.upperBound.configurationText)` at most; with `off`, clients are "
            + "reset at once" : nil
      }.codec.map { timeout in timeout.map { HoldDraft(timeout: $0) } },
      mapping: Codec<HoldDraft>.holdMapping.map { $0 })
  }
}

extension Codec<HoldDraft> {
  fileprivate static var holdMapping: Codec {
    .object(
      "hold",
      "Clients wait while no endpoint is available: all are down, or have failed them. Once one is "
        + "there, they go on at a rate that it can bear.",
      HoldDraft(),
      notes: [
        "max": "did you mean `length`?", "size": "did you mean `length`?",
        "every": "did you mean `rate`, how many go on per second?",
      ],
      fields: [
        field(
          "timeout", \.timeout, ScalarCodec.duration(waitRange).codec, isRequired: true,
          "How long one waits; then it is reset."),
        field(
          "length", \.length, .integer(1...1_000_000), standard: holdStandard.length,
          "How many wait at once; further ones are reset."),
        field(
          "rate", \.ratePerSecond,
          .integer(1...100_000).hinting { text in
            let number = text.prefix { $0.isNumber }
            return text == number + "/s" ? "write `\(number)`: it is per second" : nil
          }, standard: holdStandard.ratePerSecond,
          "How many of those who waited go on per second once an endpoint is back, over all workers."
        ),
      ])
  }
}

extension Codec<OnDown> {
  /// `on_down:`.
  fileprivate static var onDown: Codec {
    .either(
      scalar: ScalarCodec.choice(
        [
          "keep": .keep, "drain": .drain(drainStandard, over: closeStandard),
          "close": .close(over: closeStandard),
        ],
        notes: [
          "shutdown-sessions": "did you mean `close`?", "reset": "did you mean `close`?",
          "kill": "did you mean `close`?", "off": "write `keep`", "none": "write `keep`",
          "false": "write `keep`", "true": "write `close` or `drain`",
          "on": "write `close` or `drain`",
        ]
      ).codec,
      mapping: Codec<OnDownDraft>.onDownMapping.map { draft in
        if let drain = draft.drain { return .drain(drain, over: closeStandard) }
        return draft.close.map { .close(over: $0) } ?? .keep
      })
  }
}

extension Codec<OnDownDraft> {
  fileprivate static var onDownMapping: Codec {
    .object(
      "on down",
      "What becomes of the sessions of an endpoint that goes down, with a time. They are reset one after "
        + "another, at random moments, so that their clients do not come back all at once; those that are "
        + "left when the endpoint is up again stay.",
      OnDownDraft(),
      choices: [
        KeyChoice(
          names: ["drain", "close"], isRequired: true, hint: "write `{drain: 30s}` or `{close: 2s}`"
        )
      ],
      notes: ["keep": "write `on_down: keep`"],
      fields: [
        field(
          "drain", \.drain, ScalarCodec.duration(.zero...(.seconds(86400))).codec,
          shown: .string(drainStandard.configurationText), isOptional: false,
          "So long they may end by themselves; the rest is reset over two seconds."),
        field(
          "close", \.close, ScalarCodec.duration(.zero...(.seconds(3600))).codec,
          shown: .string(closeStandard.configurationText), isOptional: false,
          "They are reset, spread over so long."),
      ])
  }
}
