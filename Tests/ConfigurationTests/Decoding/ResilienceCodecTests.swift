// SPDX-License-Identifier: Apache-2.0
// `retry`, `max_sessions`, `queue`, `hold`, `on_down` of an upstream.

import Plan
import Testing

@testable import Configuration

/// A file whose only upstream has this setting.
private func file(_ setting: String, endpoints: String = "[{address: \"h:1\", max_sessions: 5}]")
  -> String
{
  """
  routes: {r: {listen: ":1", to: u}}
  upstreams: {u: {endpoints: \(endpoints), \(setting)}}

  """
}

private func upstream(_ setting: String) throws -> UpstreamPlan {
  // Without a check, nobody is ever down.
  let check = setting.hasPrefix("on_down") ? ", check: {tcp: {}}" : ""
  let decoded = decode(file(setting + check))
  #expect(decoded.report == "")
  return try #require(decoded.plan).upstreams[0]
}

@Suite struct ResilienceCodecTests {
  @Test func withoutAWordNobodyWaitsAndEachEndpointIsTriedOnce() throws {
    let plan = try upstream("connect: 5s")
    #expect(plan.retry == RetryPlan())
    #expect(plan.sessionsMax == nil)
    #expect(plan.queue == nil)
    #expect(plan.hold == nil)
    #expect(plan.onDown == .keep)
  }

  @Test func everyKeyReachesThePlan() throws {
    let retry = "{attempts: 3, budget: 5%, budget_min: 7, back_off: 10ms, back_off_max: 1s}"
    #expect(
      try upstream("retry: \(retry)").retry
        == RetryPlan(
          attemptsMax: 3, budgetPercent: 5, budgetMin: 7, backOff: .milliseconds(10),
          backOffMax: .seconds(1)))
    #expect(try upstream("retry: off").retry.attemptsMax == 1)
    let unbounded = try upstream("retry: {budget: off, back_off: off}").retry
    #expect(unbounded.budgetPercent == nil)
    #expect(unbounded.backOff == nil)
    #expect(try upstream("max_sessions: 9").sessionsMax == 9)
    #expect(try upstream("queue: {}").queue == QueuePlan())
    #expect(
      try upstream("queue: {length: 5, timeout: 1m}").queue
        == QueuePlan(length: 5, timeout: .seconds(60)))
    #expect(try upstream("hold: 10s").hold == HoldPlan(timeout: .seconds(10)))
    #expect(
      try upstream("hold: {timeout: 1m, length: 5, rate: 50}").hold
        == HoldPlan(timeout: .seconds(60), length: 5, ratePerSecond: 50))
    #expect(try upstream("hold: off").hold == nil)
  }

  @Test(arguments: [
    ("keep", OnDown.keep), ("drain", .drain(.seconds(30), over: .seconds(2))),
    ("close", .close(over: .seconds(2))), ("{close: 10s}", .close(over: .seconds(10))),
    ("{close: 0s}", .close(over: .zero)), ("{drain: 5m}", .drain(.seconds(300), over: .seconds(2))),
  ])
  func whatBecomesOfSessionsIsAWordOrAMapping(_ text: String, _ expected: OnDown) throws {
    #expect(try upstream("on_down: \(text)").onDown == expected)
  }

  @Test func defaultsCountWhereAnUpstreamIsSilent() throws {
    let decoded = decode(
      """
      defaults:
        upstream:
          {retry: {attempts: 2, back_off: 1ms}, max_sessions: 3, queue: {length: 4}, hold: 1s,
           on_down: close}
      routes:
        a: {listen: ":1", to: "h:1"}
        b: {listen: ":2", to: b}
      upstreams:
        b: {endpoints: ["h:1"], retry: {budget: 1%}, queue: off, hold: off, on_down: keep}
      """)
    #expect(decoded.report == "")
    let (own, silent) = try {
      let upstreams = try #require(decoded.plan).upstreams
      return (upstreams[0], upstreams[1])
    }()
    #expect(
      own.retry
        == RetryPlan(budgetPercent: 1))
    #expect(own.sessionsMax == 3)
    #expect(own.queue == nil)
    #expect(own.hold == nil)
    #expect(own.onDown == .keep)
    #expect(silent.retry.attemptsMax == 2)
    #expect(silent.queue == QueuePlan(length: 4))
    #expect(silent.hold == HoldPlan(timeout: .seconds(1)))
    #expect(silent.onDown == .close(over: .seconds(2)))
  }

  @Test func aPolicyOfRetriesIsTakenWhole() throws {
    let decoded = decode(
      """
      defaults: {upstream: {retry: off}}
      routes: {a: {listen: ":1", to: "h:1"}, b: {listen: ":2", to: b}}
      upstreams: {b: {endpoints: ["h:1"], retry: {}}}
      """)
    #expect(decoded.report == "")
    let upstreams = try #require(decoded.plan).upstreams
    #expect(upstreams.map(\.retry.attemptsMax) == [nil, 1])
    #expect(upstreams[0].retry == RetryPlan())
  }

  @Test func theLongestWaitIsNotShorterThanTheFirst() throws {
    #expect(try upstream("retry: {back_off: 1s}").retry.backOffMax == .seconds(1))
    #expect(try upstream("retry: {back_off: 1ms}").retry.backOffMax == .milliseconds(250))
    #expect(try upstream("retry: {back_off: off}").retry.backOffMax == .milliseconds(250))
    let shared =
      "defaults: {upstream: {retry: {back_off: 1s, back_off_max: 1ms}}}\n" + routeFile("idle: 1s")
    #expect(report(shared).hasPrefix("config.yaml:1:59: error: the longest wait is shorter"))
  }

  @Test func aHoldThatIsTooLongIsToldWhereItStands() {
    let hold = "hold: {timeout: 2s, length: 101, rate: 50}"
    #expect(
      report(file(hold)).hasPrefix("config.yaml:2:65: warning: 101 clients may wait in `hold`"))
    let shared = report("defaults: {upstream: {\(hold)}}\n" + routeFile("idle: 1s"))
    #expect(
      shared.hasPrefix("config.yaml:1:23: warning: 101 clients may wait in `hold`"), "\(shared)")
  }

  @Test func aSharedKeepDoesNotTakeBackTheRole() throws {
    func onDown(_ shared: String, _ own: String) throws -> OnDown {
      let decoded = decode(
        "defaults: {upstream: {on_down: \(shared)}}\n" + file(own, endpoints: "[\"h:1\"]"))
      return try #require(decoded.plan, "\(decoded.report)").upstreams[0].onDown
    }
    let role = "check: {redis: {role: master}}"
    #expect(try onDown("keep", role) == .close(over: .seconds(2)))
    #expect(try onDown("keep", role + ", on_down: keep") == .keep)
    #expect(try onDown("{close: 9s}", role) == .close(over: .seconds(9)))
    #expect(try onDown("keep", "check: {redis: {}}") == .keep)
  }

  @Test(arguments: [
    ("retry: 3", "write `{attempts: 3}`"), ("retry: on", "write `{}` for the defaults"),
    ("retry: none", "write `off`"), ("retry: {attempts: 0}", "is too small"),
    ("retry: {retries: 3}", "did you mean `attempts`?"), ("retry: {budget: 20}", "write `20%`"),
    ("retry: {budget: 101%}", "is too large"), ("retry: {budget: none}", "write `off`"),
    ("retry: {backoff: 1s}", "did you mean `back_off`?"),
    ("retry: {back_off: 5}", "write `5s` for seconds"), ("retry: {back_off: 61s}", "is too long"),
    ("retry: {per_try_timeout: 1s}", "it is `attempt` of the upstream"),
    ("retry: {budget_min: -1}", "is too small"), ("retries: 3", "did you mean `retry: {attempts"),
    ("max_sessions: 0", "is too small"), ("maxconn: 9", "did you mean `max_sessions`?"),
    ("queue: 5s", "write `{timeout: 5s}`"), ("queue: 100", "write `{length: 100}`"),
    ("queue: on", "write `{}` for the defaults"), ("queue: {length: 0}", "is too small"),
    ("queue: {timeout: 2h}", "is too long"), ("queue: {size: 5}", "did you mean `length`?"),
    ("queue: {rate: 5}", "it belongs to `hold`"), ("maxqueue: 5", "did you mean `queue: {length"),
    ("hold: 10", "write `10s` for seconds"), ("hold: {}", "the key `timeout` is missing"),
    ("hold: never", "write `off`"), ("hold: unlimited", "write how long, `1h` at most"),
    ("hold: infinite", "with `off`, clients are reset at once"),
    ("hold: {timeout: off}", "is no duration"),
    ("hold: {timeout: 1s, rate: 50/s}", "write `50`: it is per second"),
    ("hold: {timeout: 1s, rate: 0}", "is too small"), ("hold: 61m", "is too long"),
    ("wait: 5s", "did you mean `hold` or `queue`?"),
    (
      "retry: {back_off: 1s, back_off_max: 500ms}",
      "the longest wait is shorter than the first one, 1s"
    ),
    ("retry: {back_off_max: 10ms}", "the longest wait is shorter than the first one, 25ms"),
    ("retry: []", "accepted: `off`, or a mapping with the keys `attempts`,"),
    ("on_down: closed", "did you mean `close`?"), ("on_down: off", "write `keep`"),
    ("on_down: {}", "write `{drain: 30s}` or `{close: 2s}`"),
    ("on_down: {drain: 1s, close: 1s}", "exclude each other"),
    ("on_down: {close: 2}", "write `2s` for seconds"),
    ("on_marked_down: close", "did you mean `on_down`?"),
  ])
  func slipsGetTheirOwnWords(_ setting: String, _ words: String) {
    let report = report(file(setting))
    #expect(report.contains(words), "\(setting): \(report)")
    #expect(report.contains(": error: "), "\(setting): \(report)")
  }

  @Test(arguments: [
    (
      "queue: {}",
      "config.yaml:2:37: warning: nothing here is ever full, so nobody waits in `queue`"
    ),
    ("retry: {budget: 0%, budget_min: 0}", "no session ever tries again"),
    ("retry: {budget: off, budget_min: 5}", "with `budget: off` any number may try again"),
    ("retry: {back_off: off, back_off_max: 1s}", "with `back_off: off` no attempt waits"),
  ])
  func whatMakesNoSenseIsWarnedOf(_ setting: String, _ words: String) {
    let text = file(setting, endpoints: "[\"h:1\"]")
    let report = report(text)
    #expect(report.contains(words), "\(report)")
    #expect(decode(text).plan != nil)
    #expect(
      !decode(file("queue: {}, max_sessions: 5", endpoints: "[\"h:1\"]")).report.contains("full"))
  }
}
