// SPDX-License-Identifier: Apache-2.0
import Plan
import Testing

@testable import Configuration

/// A file whose only upstream has these settings.
private func file(_ settings: String, endpoints: String = "[\"h:1\"]") -> String {
  """
  routes: {r: {listen: ":1", to: u}}
  upstreams: {u: {endpoints: \(endpoints), \(settings)}}

  """
}

private func upstream(_ settings: String) throws -> UpstreamPlan {
  let decoded = decode(file(settings))
  #expect(decoded.report == "")
  return try #require(decoded.plan).upstreams[0]
}

private let three = "[\"10.0.0.1:1\", \"10.0.0.2:1\", \"10.0.0.3:1\"]"
private let two = "[\"10.0.0.1:1\", \"10.0.0.2:1\"]"

@Suite struct AvailabilityCodecTests {
  @Test func everyKeyReachesThePlan() throws {
    let plan = try upstream(
      "check: {tcp: {}}, panic: 40%, outlier: {failures: 7, eject_time: 2s, "
        + "max_eject_time: 1m, max_ejected: 10%}")
    #expect(plan.panicPercent == 40)
    #expect(
      plan.outlier
        == OutlierPlan(
          scope: .all, failures: 7, ejectTime: .seconds(2), ejectTimeMax: .seconds(60),
          ejectedPercentMax: 10))
    #expect(try upstream("check: {tcp: {}}, quorum: 3").quorum == 3)
  }

  @Test func onlyFailuresToConnectEjectByDefault() throws {
    let plan = try upstream("connect: 5s")
    #expect(plan.outlier == .connectFailures)
    #expect(plan.outlier?.scope == .connect)
    #expect(plan.outlier?.failures == 3)
    #expect(plan.outlier?.ejectTime == .seconds(10))
    #expect(plan.panicPercent == nil)
    #expect(plan.quorum == 1)
    #expect(try upstream("outlier: {}").outlier == OutlierPlan())
    #expect(try upstream("outlier: {}").outlier?.scope == .all)
    #expect(try upstream("outlier: off, panic: off").outlier == nil)
  }

  @Test func theLongestTimeIsNotShorterThanTheFirst() throws {
    #expect(try upstream("outlier: {eject_time: 1h}").outlier?.ejectTimeMax == .seconds(3600))
    #expect(try upstream("outlier: {eject_time: 1m}").outlier?.ejectTimeMax == .seconds(300))
    #expect(
      report(file("outlier: {eject_time: 2s, max_eject_time: 1s}")).contains(
        "the longest time is shorter than the first one, 2s"))
    #expect(
      report(
        "defaults: {upstream: {outlier: {max_eject_time: 1s}}}\n" + routeFile("idle: 1s")
      ).contains("the longest time is shorter than the first one, 10s"))
  }

  @Test func defaultsAreForWhoSaysNothing() throws {
    let decoded = decode(
      """
      defaults: {upstream: {check: {tcp: {}}, outlier: {failures: 2}, panic: 30%}}
      routes:
        a: {listen: ":1", to: ["h:1", "h:2"]}
        b: {listen: ":2", to: b}
        c: {listen: ":3", to: c}
      upstreams:
        b: {endpoints: ["h:1"], outlier: off, panic: off, quorum: 2}
        c: {endpoints: ["h:1"], outlier: {eject_time: 1s}}
      """)
    #expect(decoded.report == "")
    let upstreams = try #require(decoded.plan).upstreams
    #expect(upstreams.map(\.name) == ["b", "c", "a"])
    #expect(upstreams.map { $0.outlier?.failures } == [nil, 5, 2])
    #expect(upstreams.map { $0.outlier?.ejectTime } == [nil, .seconds(1), .seconds(10)])
    #expect(upstreams.map { $0.outlier?.scope } == [nil, .all, .all])
    #expect(upstreams.map(\.panicPercent) == [nil, 30, 30])
    #expect(upstreams.map(\.quorum) == [2, 1, 1])
  }

  @Test func offInTheDefaultsSwitchesItOffForAll() throws {
    let decoded = decode(
      """
      defaults: {upstream: {outlier: off}}
      routes: {a: {listen: ":1", to: ["h:1", "h:2"]}, b: {listen: ":2", to: b}}
      upstreams: {b: {endpoints: ["h:1", "h:2"], outlier: {}}}
      """)
    let upstreams = try #require(decoded.plan).upstreams
    #expect(upstreams.map(\.outlier) == [OutlierPlan(), nil])
  }

  @Test(arguments: [
    ("eject: 1s", "eject_time"), ("eject_max: 1m", "max_eject_time"), ("share: 10%", "max_ejected"),
  ])
  func oldNamesAreToldWithTheNewOnes(_ setting: String, _ name: String) {
    let report = report(file("outlier: {\(setting)}"))
    #expect(report.contains("error: unknown key"), "\(report)")
    #expect(report.contains("it is called `\(name)` now"), "\(report)")
  }

  @Test(arguments: [
    ("outlier: on", "write `{}`"), ("outlier: never", "write `off`"),
    ("outlier: 5", "write `{failures: 5}`"), ("outlier: 30s", "write `{eject_time: 30s}`"),
    ("outlier: of", "did you mean `off`?"),
    ("outlier: [1]", "expected a single value or a mapping"),
    ("outlier: {failures: 0}", "is too small"), ("outlier: {failures: 1001}", "is too large"),
    ("outlier: {eject_time: 10}", "write `10s`"),
    ("outlier: {eject_time: 99ms}", "is too short"),
    ("outlier: {eject_time: off}", "is no duration"),
    ("outlier: {max_ejected: 0%}", "is too small"),
    ("outlier: {max_ejected: 50}", "write `50%`"),
    ("outlier: {max_ejected: 101%}", "is too large"),
    ("outlier: {consecutive_5xx: 5}", "did you mean `failures`?"),
    ("outlier: {max_ejection_percent: 10%}", "did you mean `max_ejected`?"),
    ("outlier: {base_ejection_time: 30s}", "did you mean `eject_time`?"),
    ("outlier: {interval: 10s}", "a failure counts when it happens"),
    ("outlier: {ejct_time: 1s}", "did you mean `eject_time`?"),
    ("outlier_detection: {}", "did you mean `outlier: {}`?"),
    ("max_fails: 3", "did you mean `outlier: {failures: …}`?"),
    ("fail_timeout: 10s", "did you mean `outlier: {eject_time: …}`?"),
    ("panic: 50", "write `50%`"), ("panic: 0%", "is too small"), ("panic: never", "write `off`"),
    ("panic: 101%", "is too large"), ("panic: true", "write it like `50%`"),
    ("panic: on", "write it like `50%`"), ("panic: auto", "write it like `50%`"),
    ("panic: unlimited", "write it like `50%`"),
    ("outlier: []", "accepted: `off`, or a mapping with"),
    ("panic_threshold: 50%", "did you mean `panic`?"),
    ("quorum: 0", "is too small"), ("quorum: 50%", "is no whole number"),
    ("quorum: off", "is no whole number"), ("min_healthy: 2", "did you mean `quorum`?"),
  ])
  func slipsAreTold(_ settings: String, _ expected: String) {
    let report = report(file(settings))
    #expect(report.contains(expected), "\(report)")
    #expect(report.contains("error: "))
  }

  @Test func panicAndAQuorumContradictEachOther() {
    let both = "`panic` and a `quorum` contradict each other"
    #expect(report(file("check: {tcp: {}}, panic: 50%, quorum: 2")).contains(both))
    #expect(!report(file("check: {tcp: {}}, panic: 50%, quorum: 1")).contains(both))
    let shared = """
      defaults: {upstream: {check: {tcp: {}}, panic: 50%}}
      \(file("quorum: 2"))
      """
    #expect(report(shared).contains("config.yaml:3:45: error: \(both)"))
    #expect(report(shared).contains("in the upstream `u` leave one out, or write `panic: off`"))
  }

  @Test func panicBesideACheckByRoleIsAnError() {
    let wrong = "`panic` would use endpoints that do not have the role"
    #expect(report(file("check: {redis: {role: master}}, panic: 50%")).contains(wrong))
    #expect(!report(file("check: {redis: {}}, panic: 50%")).contains(wrong))
    #expect(report(file("check: {redis: {role: master}}, panic: off")) == "")
    let shared = "defaults: {upstream: {panic: 50%}}\n"
    let report = report(shared + file("check: {redis: {role: master}}"))
    #expect(report.contains("error: \(wrong)"))
    #expect(report.contains("in the upstream `u` leave it out, or write `panic: off`"))
  }

  @Test func whoLooksForOneRoleHasNoQuorumOfTwo() {
    let wrong =
      "only one endpoint has the role that the `check` of `u` asks for, so a quorum of 2 is never there"
    for role in ["redis: {role: master}", "postgres: {role: primary}"] {
      #expect(
        report(file("check: {\(role)}, quorum: 2", endpoints: two)).contains("error: \(wrong)"))
      #expect(report(file("check: {\(role)}, quorum: 1", endpoints: two)) == "")
      let parts = "check: {all_of: [{tcp: {}}, {\(role)}]}"
      let shared = report("defaults: {upstream: {quorum: 2}}\n" + file(parts, endpoints: two))
      #expect(shared.contains("config.yaml:1:31: error: \(wrong)"), "\(shared)")
      #expect(shared.contains("in the upstream `u` write `quorum: 1`"))
    }
    #expect(report(file("check: {redis: {role: replica}}, quorum: 2", endpoints: two)) == "")
    #expect(report(file("check: {redis: {}}, quorum: 2", endpoints: two)) == "")
  }

  @Test func aQuorumThatIsNeverThereIsAnError() {
    let never = "a quorum of 3 is never there: `u` has 2 endpoints to serve"
    #expect(report(file("check: {tcp: {}}, quorum: 3", endpoints: two)).contains(never))
    #expect(report(file("check: {tcp: {}}, quorum: 2", endpoints: two)) == "")
    // A name may stand for any number.
    #expect(report(file("check: {tcp: {}}, quorum: 3")) == "")
    let idle = "[\"10.0.0.1:1\", \"10.0.0.2:1\", {address: \"10.0.0.3:1\", weight: 0}]"
    #expect(report(file("check: {tcp: {}}, quorum: 3", endpoints: idle)).contains(never))
    let shared = """
      defaults: {upstream: {check: {tcp: {}}, quorum: 3}}
      \(file("connect: 5s", endpoints: two))
      """
    #expect(report(shared).contains("in the upstream `u` write `quorum: 2`"))
  }

  @Test(arguments: [
    ("outlier: {}", "[\"10.0.0.1:1\"]", "there is one endpoint, which is never left out"),
    ("panic: 50%", two, "there is no panic"), ("panic: 50%, outlier: {}", two, "there is no panic"),
    ("quorum: 2", two, "the quorum is always met"),
    ("quorum: 2, outlier: {}", two, "the quorum is always met"),
    (
      "panic: 50%, check: {tcp: {}}", "[\"10.0.0.1:1\"]",
      "panic only means that its checks count for nothing"
    ),
    (
      "on_down: close", two,
      "config.yaml:2:58: warning: without a `check`, no endpoint is ever down"
    ),
    (
      "panic: 100%, check: {tcp: {}}", "[\"h:1\"]",
      "the first endpoint that is ill starts the panic"
    ),
    ("panic: 51%, check: {tcp: {}}", two, "the first endpoint that is ill starts the panic"),
    (
      "panic: 70%, check: {tcp: {}}", three, "the first endpoint that is ill starts the panic"
    ),
    (
      "hold: {timeout: 2s, length: 101, rate: 50}", two,
      "101 clients may wait in `hold`, but within its 2s only 100 go on, at 50 per second"
    ),
    (
      "connect: 5s", "[\"10.0.0.1:1\", \"10.0.0.1:2\"]",
      "all endpoints of this upstream are at one address, 10.0.0.1"
    ),
    (
      "connect: 5s", "[\"[2001:db8::1]:1\", \"[2001:db8::1]:2\"]",
      "all endpoints of this upstream are at one address, 2001:db8::1"
    ),
  ])
  func whatDoesNothingOrHurtsIsAWarning(
    _ settings: String, _ endpoints: String, _ expected: String
  ) {
    let decoded = decode(file(settings, endpoints: endpoints))
    #expect(decoded.plan != nil)
    #expect(decoded.report.contains("warning: "), "\(decoded.report)")
    #expect(decoded.report.contains(expected), "\(decoded.report)")
  }

  @Test(arguments: [
    "[\"127.0.0.1:2\", \"127.0.0.1:3\"]", "[\"[::1]:2\", \"[::1]:3\"]",
    "[\"unix:/a\", \"unix:/b\"]", "[\"builtin:echo\", \"builtin:echo\"]", "[\"10.0.0.1:1\"]",
    "[\"10.0.0.1:1\", \"h:1\"]", two, "[\"h:1\", \"h:2\"]",
    "[\"10.0.0.1:1\", \"10.0.0.1:2\", {address: \"10.0.0.2:1\", priority: 1}]",
  ])
  func whatIsInOrderIsNot(_ endpoints: String) {
    #expect(report(file("connect: 5s", endpoints: endpoints)) == "")
  }

  @Test(arguments: [
    "hold: 1s", "hold: {timeout: 2s, length: 100, rate: 50}", "on_down: keep",
    "on_down: close, check: {tcp: {}}", "panic: 50%, check: {tcp: {}}",
  ])
  func whatHoldsAndEndsSessionsMayBeInOrder(_ settings: String) {
    #expect(report(file(settings, endpoints: two)) == "")
  }

  @Test(arguments: ["[\"10.0.0.1:1\"]", "[\"unix:/a\"]", two])
  func theDefaultPolicyIsNoReasonToWarn(_ endpoints: String) {
    #expect(report(file("connect: 5s", endpoints: endpoints)) == "")
  }

  @Test func aDefaultIsNoReasonToWarn() {
    let shared = "defaults: {upstream: {panic: 50%, outlier: {}}}\n"
    #expect(report(shared + file("connect: 5s", endpoints: "[\"10.0.0.1:1\"]")) == "")
  }
}
