// SPDX-License-Identifier: Apache-2.0
import Addressing
import Plan
import Testing

@testable import Configuration

/// A file whose only upstream has this check.
private func file(_ check: String, endpoints: String = "[\"h:1\"]", more: String = "") -> String {
  """
  routes: {r: {listen: ":1", to: u}}
  upstreams: {u: {endpoints: \(endpoints), check: \(check)\(more)}}

  """
}

private func check(_ text: String) throws -> HealthCheckPlan? {
  let decoded = decode(file(text))
  #expect(decoded.report == "")
  return try #require(decoded.plan).upstreams[0].check
}

@Suite struct CheckCodecTests {
  @Test func theSmallestChecksGetEveryDefault() throws {
    #expect(try check("{tcp: {}}") == HealthCheckPlan(.tcp))
    #expect(try check("{http: {}}") == HealthCheckPlan(.http(HTTPCheckPlan())))
    #expect(try check("off") == nil)
    let standard = HealthCheckPlan(.tcp)
    #expect(standard.up == .seconds(2))
    #expect(standard.down == .seconds(2))
    #expect(standard.changing == .milliseconds(500))
    #expect(standard.timeout == .seconds(1))
    #expect([standard.rise, standard.fall, standard.jitterPercent] == [2, 3, 10])
  }

  @Test func everyKeyReachesThePlan() throws {
    let http = HTTPCheckPlan(
      method: "HEAD", path: "/ready?x=1", host: "www.example.org:81",
      headers: [.init(name: "X-A", value: "b c"), .init(name: "authorization", value: "Bearer t")],
      statuses: [204...204, 300...399], answerBytesMax: 4096)
    let text = """
      {http: {method: HEAD, path: "/ready?x=1", host: "www.example.org:81", answer: 4KiB,
        headers: {X-A: b c, authorization: "Bearer t"}, status: [204, 300-399]},
        every: {up: 10s, down: 5s, changing: 1s}, timeout: 250ms, rise: 1, fall: 7, jitter: 0%,
        port: 8080}
      """
    #expect(
      try check(text)
        == HealthCheckPlan(
          .http(http), target: .port(8080), up: .seconds(10), down: .seconds(5),
          changing: .seconds(1), timeout: .milliseconds(250), rise: 1, fall: 7, jitterPercent: 0))
    let other = try check("{tcp: {}, address: \"unix:@health\", every: {down: 1s}}")
    #expect(other?.target == .address(.abstract(name: "health")))
    #expect(other?.up == .seconds(2))
    #expect(other?.changing == .milliseconds(250))
    #expect(
      try check("{http: {status: 200, body: ok}}")?.kind
        == .http(HTTPCheckPlan(statuses: [200...200], body: "ok")))
  }

  @Test(arguments: [
    (2_000, 2_000, 500), (300, 300, 100), (50, 50, 50), (30_000, 1_000, 250), (1_000, 60_000, 250),
    (86_400_000, 86_400_000, 21_600_000),
  ])
  func aChangeIsFollowedFourTimesAsOften(_ up: Int, _ down: Int, _ expected: Int) {
    #expect(
      HealthCheckPlan.changingStandard(up: .milliseconds(up), down: .milliseconds(down))
        == .milliseconds(expected))
  }

  @Test func aDefaultIsTakenWhole() throws {
    let decoded = decode(
      """
      defaults: {upstream: {check: {http: {path: /a}, rise: 9}, resolve: 1m}}
      routes:
        a: {listen: ":1", to: "h:1"}
        b: {listen: ":2", to: b}
        c: {listen: ":3", to: c}
      upstreams:
        b: {endpoints: ["h:1"], check: {tcp: {}}, resolve: off}
        c: {endpoints: ["h:1"], check: off, resolve: 2s}
      """)
    #expect(decoded.report == "")
    let upstreams = try #require(decoded.plan).upstreams
    #expect(upstreams.map(\.name) == ["b", "c", "a"])
    #expect(upstreams[0].check == HealthCheckPlan(.tcp))
    #expect(upstreams[1].check == nil)
    #expect(upstreams[2].check == HealthCheckPlan(.http(HTTPCheckPlan(path: "/a")), rise: 9))
    let intervals: [ResolvePlan.Interval] = [.never, .every(.seconds(2)), .every(.seconds(60))]
    #expect(upstreams.map(\.resolve.interval) == intervals)
  }

  @Test(arguments: [
    ("tcp", "write `{tcp: {}}`"), ("on", "write `{tcp: {}}`"), ("true", "write `{tcp: {}}`"),
    ("http", "write `{http: {path: /}}`"), ("none", "write `off`"), ("false", "write `off`"),
    ("5s", "write `{tcp: {}, every: 5s}`"), ("/health", "write `{http: {path: …}}`"),
    ("of", "did you mean `off`?"), ("[tcp]", "expected a single value or a mapping"),
    ("{}", "one of the keys `tcp`, `http`, `tls`"),
    ("{every: 2s}", "the kind is a key: `tcp: {}`, or `http: {path: /health}`"),
    ("{type: http}", "the kind is a key: `tcp: {}`, or `http: {path: /health}`"),
    ("{tcp: {}, http: {}}", "`http` and `tcp` exclude each other"),
    ("{tcp: {}, port: 1, address: \"10.0.0.1:1\"}", "`address` and `port` exclude each other"),
    ("{tcp: }", "accepted: a mapping with nothing in it: `{}`"),
    ("{tcp: true}", "expected a mapping, found a single value"),
    ("{tcp: on}", "accepted: a mapping with nothing in it: `{}`"), ("{tcp: on}", "write `{}`"),
    ("{http: /health}", "write `{path: /health}`"),
    ("{http: /health}", "accepted: a mapping with the keys"),
    ("{all_of: [tcp]}", "write `{tcp: …}`, or `{tcp: {}}`"),
    ("{exchange: foo}", "write `[{send: …}]`"),
    ("{exchange: foo}", "accepted: a list of"),
    ("{script: {path: /x}}", "accepted: an absolute path, or"),
    ("{tcp: {port: 5}}", "it belongs to `check`, beside `tcp`"),
    ("{tcp: {}, interval: 2s}", "did you mean `every`?"),
    ("{tcp: {}, fastinter: 2s}", "did you mean `every: {changing: …}`?"),
    ("{tcp: {}, path: /x}", "it belongs to the request"),
    ("{tcp: {}, retries: 3}", "did you mean `fall`?"),
    ("{tcp: {}, every: 2}", "write `2s`"), ("{tcp: {}, every: 9ms}", "is too short"),
    ("{tcp: {}, every: off}", "is no duration"), ("{tcp: {}, every: 25h}", "is too long"),
    ("{tcp: {}, every: {fast: 1s}}", "did you mean `changing`?"),
    ("{tcp: {}, timeout: 0}", "write it with its unit"), ("{tcp: {}, rise: 0}", "is too small"),
    ("{tcp: {}, fall: 101}", "is too large"), ("{tcp: {}, jitter: 51%}", "is too large"),
    ("{tcp: {}, jitter: 10}", "write `10%`"), ("{tcp: {}, jitter: \"10 %\"}", "write `10%`"),
    ("{tcp: {}, jitter: off}", "write `0%`"), ("{tcp: {}, jitter: 7.5%}", "no whole number of"),
    ("{tcp: {}, jitter: 05%}", "leading zero"), ("{tcp: {}, jitter: some}", "write it like `10%`"),
    ("{tcp: {}, jitter: -1%}", "never negative"),
    ("{tcp: {}, port: 0}", "is too small"), ("{tcp: {}, port: 65536}", "is too large"),
    ("{tcp: {}, address: \"db:80\"}", "has a host name, but a check needs an IP address"),
    ("{tcp: {}, address: \"db:80\"}", "use `port`"),
    ("{tcp: {}, address: \"builtin:echo\"}", "is an endpoint of its own"),
    ("{tcp: {}, address: \"10.0.0.1\"}", "has no port"),
  ])
  func slips(_ check: String, _ expected: String) {
    let text = report(file(check))
    #expect(text.contains(expected), "\(text)")
    #expect(text.hasPrefix("config.yaml:2:"), "\(text)")
    #expect(text.contains(": error: "), "\(text)")
  }

  @Test func aTimeoutThatOutlivesItsIntervalIsAWarning() throws {
    let found = decode(file("{tcp: {}, every: {up: 5s, down: 500ms}, timeout: 600ms}"))
    #expect(found.plan != nil)
    #expect(
      found.diagnostics.map(\.message)
        == ["a check may take longer than the 500ms until the next one"])
    #expect(report(file("{tcp: {}, every: 600ms, timeout: 600ms}")) == "")
    #expect(
      report(file("{tcp: {}, every: 100ms}")).hasPrefix(
        "config.yaml:2:54: warning: a check may take longer than the 100ms until the next one"))
    #expect(report(file("{tcp: {}, every: 1s}")) == "")
    let shared = "defaults: {upstream: {check: {tcp: {}, timeout: 3s}}}\n"
    #expect(messages(shared + "routes: {r: {listen: \":1\", to: [\"h:1\", \"h:2\"]}}\n").count == 1)
  }

  @Test func aChangeThatIsFollowedLessOftenIsAWarning() {
    let less = "while an endpoint is about to change, it is checked less often than the"
    #expect(messages(file("{tcp: {}, every: {changing: 3s}}")) == ["\(less) 2s at other times"])
    #expect(
      messages(file("{tcp: {}, every: {up: 9s, down: 1s, changing: 2s}}")) == [
        "\(less) 1s at other times"
      ])
    #expect(report(file("{tcp: {}, every: {up: 3s, down: 3s, changing: 3s}}")) == "")
  }

  @Test(arguments: [
    "{redis: {role: master}, address: \"10.0.0.9:1\"}",
    "{all_of: [{tcp: {}}, {postgres: {role: standby}, address: \"10.0.0.9:1\"}]}",
    "{all_of: [{tcp: {}}, {redis: {role: replica}}], address: \"10.0.0.9:1\"}",
  ])
  func oneServerDoesNotGiveARoleToAll(_ check: String) {
    let wrong =
      "error: one server would answer for every endpoint of `u`, and all would have the role"
    for endpoints in ["[\"10.0.0.1:1\", \"10.0.0.2:1\"]", "[\"h:1\"]"] {
      #expect(report(file(check, endpoints: endpoints)).contains(wrong), "\(endpoints)")
    }
    #expect(report(file(check, endpoints: "[\"10.0.0.1:1\"]")) == "")
  }

  @Test func whereNoRoleIsAskedForAnAddressMaySpeakForAll() {
    let two = "[\"10.0.0.1:1\", \"10.0.0.2:1\"]"
    let parts = "{all_of: [{redis: {role: master}}, {tcp: {}, address: \"10.0.0.9:1\"}]}"
    for check in [
      parts, "{redis: {}, address: \"10.0.0.9:1\"}", "{redis: {role: master}, port: 5}",
    ] {
      #expect(report(file(check, endpoints: two)) == "")
    }
  }

  @Test(arguments: [
    (
      "{exchange: {steps: [{expect: \(String(repeating: "x", count: 100))}], answer: 64B}}",
      "at least 100 bytes"
    ),
    (
      "{exchange: {steps: [{expect: {regex: \"a{60}\"}}, {expect: abcde}], answer: 64B}}",
      "at least 65 bytes"
    ),
    ("{http: {body: \(String(repeating: "x", count: 1024)), answer: 1KiB}}", "at least 1040 bytes"),
    ("{exchange: [{expect: {regex: \"a^b\"}}]}", "never matches anything"),
    ("{exchange: [{expect: {regex: \"$$a\"}}]}", "never matches anything"),
  ])
  func aCheckThatCanNeverPassIsAnError(_ check: String, _ expected: String) {
    let text = report(file(check))
    #expect(text.contains(": error: ") && text.contains(expected), "\(text)")
    #expect(
      report(
        file("{exchange: {steps: [{expect: {regex: \"a{60}\"}}, {expect: abcd}], answer: 64B}}"))
        == "")
    #expect(
      report(file("{http: {body: \(String(repeating: "x", count: 1008)), answer: 1KiB}}")) == "")
  }

  @Test(arguments: ["unix:/run/a.sock", "unix:@a", "builtin:echo"])
  func whatHasNoPortCannotBeAskedAtAnother(_ endpoint: String) {
    let endpoints = "[\"h:1\", \"\(endpoint)\"]"
    let found = decode(file("{tcp: {}, port: 80}", endpoints: endpoints))
    #expect(
      found.diagnostics.map(\.message)
        == ["`\(endpoint)` has no port, so a check cannot ask it at another one"])
    #expect(found.diagnostics.first?.hints.last?.contains("leave out `port`") == true)
    #expect(report(file("{tcp: {}, address: \"unix:/a\"}", endpoints: endpoints)) == "")

    let shared = decode(
      """
      defaults: {upstream: {check: {tcp: {}, port: 80}}}
      routes: {r: {listen: ":1", to: "\(endpoint)"}}
      """)
    #expect(shared.diagnostics.first?.line == 1)
    #expect(
      shared.diagnostics.first?.hints == [
        "it is in line 2", "give the upstream `r` a check of its own, or `check: off`",
      ])
  }

  @Test func lookingUpAgainNeedsAName() {
    let found = decode(file("off", endpoints: "[\"10.0.0.1:1\"]", more: ", resolve: 30s"))
    #expect(found.plan != nil)
    #expect(
      found.diagnostics.map(\.message) == [
        "no endpoint of this upstream is a host name, so nothing is looked up again"
      ])
    #expect(report(file("off", endpoints: "[\"10.0.0.1:1\"]", more: ", resolve: off")) == "")
    #expect(report(file("off", more: ", resolve: 30s")) == "")
    #expect(report(file("off", more: ", resolve: 0")).contains("write `off`"))
    #expect(report(file("off", more: ", resolve: 500ms")).contains("is too short"))
  }
}
