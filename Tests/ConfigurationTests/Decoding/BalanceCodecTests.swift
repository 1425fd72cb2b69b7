// SPDX-License-Identifier: Apache-2.0
// `balance`, `slow_start`, `spill_over` and `hash_key`: what they become, and what is said of slips.

import Plan
import Testing

@testable import Configuration

private func file(_ settings: String, endpoints: String = "[\"h:1\"]", route: String = "") -> String
{
  """
  routes: {r: {listen: ":1", to: u\(route)}}
  upstreams:
    u: {endpoints: \(endpoints), \(settings)}

  """
}

@Suite struct BalanceCodecTests {
  private func upstream(_ settings: String) throws -> UpstreamPlan {
    let decoded = decode(file(settings))
    return try #require(decoded.plan?.upstreams.first, "\(decoded.report)")
  }

  @Test(arguments: [
    ("round_robin", BalancePolicy.roundRobin), ("random", .random),
    ("least_connections", .leastConnections), ("power_of_two", .powerOfTwo), ("first", .first),
    ("source_hash", .sourceHash(HashPlan())), ("maglev", .maglev(HashPlan())),
    ("peak_ewma", .peakEWMA(EWMAPlan())),
    (
      "{maglev: {key: {ipv4: 24, ipv6: 64}, table: 251, load: 125%}}",
      .maglev(HashPlan(key: .prefix(v4: 24, v6: 64), tableSize: 251, loadPercent: 125))
    ),
    ("{source_hash: {key: route, load: off}}", .sourceHash(HashPlan(key: .route))),
    ("{source_hash: {key: {ipv6: 48}}}", .sourceHash(HashPlan(key: .prefix(v4: 32, v6: 48)))),
    (
      "{peak_ewma: {measure: first_byte, decay: 30s}}",
      .peakEWMA(EWMAPlan(measure: .firstByte, decay: .seconds(30)))
    ),
    ("{peak_ewma: {}}", .peakEWMA(EWMAPlan())),
  ])
  func policies(_ text: String, _ expected: BalancePolicy) throws {
    #expect(try upstream("balance: \(text)").balance == expected)
  }

  @Test func whatGoesWithThePolicyIsTakenUp() throws {
    let plan = try upstream("slow_start: 30s, spill_over: 75%")
    #expect(plan.slowStart == .seconds(30))
    #expect(plan.spillOverPercent == 75)
    #expect(try upstream("slow_start: off").slowStart == nil)
    let route = decode(file("balance: {maglev: {key: route}}", route: ", hash_key: orders"))
    #expect(route.plan?.routes.first?.hashKey == "orders")
  }

  @Test func defaultsCountForUpstreamsThatAreSilent() throws {
    let decoded = decode(
      """
      defaults:
        route: {hash_key: a}
        upstream: {balance: {maglev: {table: 257}}, slow_start: 5s, spill_over: 50%}
      routes: {r: {listen: ":1", to: ["h:1"]}, s: {listen: ":2", to: u, hash_key: b}}
      upstreams: {u: {endpoints: ["h:1"], balance: first, slow_start: off, spill_over: 0%}}

      """)
    let plan = try #require(decoded.plan, "\(decoded.report)")
    let own = try #require(plan.upstreams.first { $0.name == "u" })
    let shared = try #require(plan.upstreams.first { $0.name == "r" })
    #expect(own.balance == .first)
    #expect(own.slowStart == nil)
    #expect(own.spillOverPercent == 0)
    #expect(shared.balance == .maglev(HashPlan(tableSize: 257)))
    #expect(shared.slowStart == .seconds(5))
    #expect(shared.spillOverPercent == 50)
    #expect(plan.routes.map(\.hashKey) == ["a", "b"])
  }

  @Test(arguments: [
    ("balance: roundrobin", "did you mean `round_robin`?"),
    ("balance: leastconn", "did you mean `least_connections`?"),
    ("balance: ip_hash", "did you mean `source_hash`?"), ("balance: p2c", "`power_of_two`"),
    ("balance: ring_hash", "or `maglev`?"), ("balance: least_time", "`peak_ewma`"),
    ("balance: [maglev]", "expected"), ("balance: 1", "is not accepted here"),
    ("balance: {}", "the policy is a key"),
    ("balance: {round_robin: {}}", "write `balance: round_robin`"),
    ("balance: {maglev: {}, source_hash: {}}", "source_hash"),
    ("balance: {key: source}", "it belongs to the policy"),
    ("balance: {maglev: {table: 65536}}", "the nearest primes are 65521 and 65537"),
    ("balance: {maglev: {table: 250}}", "is too small"),
    ("balance: {maglev: {table: 5000012}}", "is too large"),
    ("balance: {maglev: {size: 251}}", "did you mean `table`?"),
    ("balance: {maglev: {load: 100%}}", "is too small"),
    ("balance: {maglev: {load: 1.25}}", "is no whole number of percent"),
    ("balance: {maglev: {load: 125}}", "write `125%`"),
    ("balance: {maglev: {key: ip}}", "did you mean `source`?"),
    ("balance: {maglev: {key: {v4: 24}}}", "did you mean `ipv4`?"),
    ("balance: {maglev: {key: {ipv4: 33}}}", "is too large"),
    ("balance: {maglev: {hash_key: a}}", "it belongs to a route"),
    ("balance: {peak_ewma: {measure: last_byte}}", "did you mean `first_byte`?"),
    ("balance: {peak_ewma: {decay: 1ms}}", "is too short"),
    ("balance: {peak_ewma: {tau: 10s}}", "did you mean `decay`?"),
    ("slow_start: 1ms", "is too short"), ("slow_start: 30", "has no unit"),
    ("slowstart: 30s", "did you mean `slow_start`?"), ("warmup: 30s", "did you mean `slow_start`?"),
    ("spill_over: 101%", "is too large"), ("spill_over: 70", "write `70%`"),
    ("spillover: 70%", "did you mean `spill_over`?"), ("hash_key: a", "it belongs to a route"),
    ("balance: maglev, slow_start: 30s", "has no effect here"),
    ("balance: first, slow_start: 30s", "has no effect here: `first` knows no weight"),
    ("spill_over: 75%", "there is none to spill over to"), ("spill_over: -1%", "never negative"),
    ("spill_over: on", "write it like `50%`"), ("spill_over: off", "write `0%`"),
    ("balance: []", "accepted: `round_robin`,"),
    ("balance: {maglev: off}", "accepted: a mapping with the keys `key`, `table`, `load`"),
  ])
  func slips(_ settings: String, _ expected: String) {
    let text = report(file(settings))
    #expect(text.contains(expected), "\(text)")
  }

  @Test(arguments: [
    (", hash_key: \"\"", "is empty"), (", hash_key: \"a\\tb\"", "holds a control character"),
    (", hash_key: \(String(repeating: "k", count: 257))", "longer than 256 bytes"),
    (", hashkey: a", "did you mean `hash_key`?"),
  ])
  func slipsOfRoutes(_ settings: String, _ expected: String) {
    let text = report(file("balance: first", route: settings))
    #expect(text.contains(expected), "\(text)")
  }

  @Test func whatARouteSaysHasAnEffect() {
    let key = ", hash_key: orders"
    let idle = "`hash_key` has no effect here: the upstream does not go by the route"
    #expect(messages(file("balance: maglev", route: key)) == [idle])
    #expect(messages(file("balance: first", route: key)) == [idle])
    #expect(messages(file("balance: {source_hash: {key: route}}", route: key)) == [])
    #expect(report("defaults: {route: {hash_key: a}}\n" + file("balance: first")) == "")
  }

  @Test func thereMayBeAPriorityToSpillOverTo() {
    let two = "[\"h:1\", {address: \"h:2\", priority: 1}]"
    #expect(report(file("spill_over: 75%", endpoints: two)) == "")
    #expect(report(file("spill_over: 75%", endpoints: "[\"srv:_a._tcp.example.org\"]")) == "")
    #expect(report(file("spill_over: 0%")) == "")
    #expect(report("defaults: {upstream: {spill_over: 75%}}\n" + file("connect: 5s")) == "")
  }

  @Test(arguments: [
    ("\":7000\"", "127.0.0.1:7000", true), ("\":7000\"", "[::1]:7000", true),
    ("\":7000\"", "10.0.0.1:7000", false), ("\":7000\"", "127.0.0.1:7001", false),
    ("\"10.0.0.1:80\"", "10.0.0.1:80", true), ("\"0.0.0.0:80\"", "127.0.0.2:80", true),
    ("\"0.0.0.0:80\"", "[::1]:80", false), ("[\":1\", \"unix:/a\"]", "unix:/a", true),
    ("\"127.0.0.1:0\"", "127.0.0.1:80", false),
  ])
  func aRouteThatLeadsToItself(_ listen: String, _ endpoint: String, _ isLoop: Bool) {
    let decoded = decode("routes: {r: {listen: \(listen), to: [\"\(endpoint)\"]}}")
    #expect(decoded.plan != nil)
    #expect(decoded.report.contains("so it connects to itself") == isLoop, "\(decoded.report)")
  }

  @Test func aTableHasAPlaceForEachEndpointOfAPriority() {
    let endpoints = (1...252).map { "\"10.0.0.1:\($0)\"" }
    let all = "[\(endpoints.joined(separator: ", "))]"
    let text = report(file("balance: {maglev: {table: 251}}", endpoints: all))
    #expect(text.contains("252 endpoints are more than the 251 places of the table"), "\(text)")
    #expect(text.contains("config.yaml:3:"), "\(text)")
    let split = (1...252).map { "{address: \"10.0.0.\($0):1\", priority: \($0 % 2)}" }
    let parts = "[\(split.joined(separator: ", "))]"
    #expect(report(file("balance: {maglev: {table: 251}}", endpoints: parts)) == "")
  }
}
