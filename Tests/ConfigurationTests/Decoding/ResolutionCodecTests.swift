// SPDX-License-Identifier: Apache-2.0
// `resolve` in its short and its long form, services, and what is said of slips.

import Addressing
import Plan
import Testing

@testable import Configuration

@Suite struct ResolutionCodecTests {
  private func file(_ resolve: String, endpoints: String = "[\"db.test:1\"]") -> String {
    """
    routes: {r: {listen: ":1", to: u}}
    upstreams:
      u: {endpoints: \(endpoints), resolve: \(resolve)}

    """
  }

  private func plan(_ resolve: String) -> ResolvePlan? {
    decode(file(resolve)).plan?.upstreams[0].resolve
  }

  @Test func shortForms() {
    #expect(plan("off") == ResolvePlan(.never))
    #expect(plan("30s") == ResolvePlan(.every(.seconds(30))))
    let ttl = ResolvePlan(.timeToLive(min: .seconds(1), max: .seconds(300)))
    #expect(plan("ttl") == ttl)
    #expect(plan("{}") == ttl)
    #expect(plan("ttl")?.usesDNS == true)
    #expect(plan("30s")?.usesDNS == false)
  }

  @Test func longForm() {
    let server = SocketAddress.v4(IPv4Address(rawValue: 0x0A00_0035), port: 53)
    #expect(
      plan("{every: ttl, min: 5s, max: 10s, server: \"10.0.0.53\", timeout: 2s}")
        == ResolvePlan(
          .timeToLive(min: .seconds(5), max: .seconds(10)), servers: [server],
          timeout: .seconds(2)))
    #expect(
      plan("{every: 30s, server: [\"10.0.0.53:53\", \"[::1]:5353\", \"::1\", \"[::1]\"]}")
        == ResolvePlan(
          .every(.seconds(30)),
          servers: [
            server, .v6(.loopback, port: 5353), .v6(.loopback, port: 53),
            .v6(.loopback, port: 53),
          ]))
    #expect(plan("{every: off, server: \"10.0.0.53\"}")?.usesDNS == true)
  }

  @Test func oneBoundMovesTheOtherWhereNothingIsSaidOfIt() {
    #expect(
      plan("{max: 1s}")?.interval == .timeToLive(min: .seconds(1), max: .seconds(1)))
    #expect(
      plan("{min: 10m}")?.interval == .timeToLive(min: .seconds(600), max: .seconds(600)))
  }

  @Test func itIsTakenWhole() throws {
    let found = decode(
      """
      defaults: {upstream: {resolve: {every: 30s, server: "10.0.0.53"}}}
      routes: {r: {listen: ":1", to: u}, s: {listen: ":2", to: v}}
      upstreams:
        u: {endpoints: ["db.test:1"]}
        v: {endpoints: ["db.test:1"], resolve: {every: 5s}}
      """)
    let plan = try #require(found.plan, "\(found.report)")
    #expect(plan.upstreams.map(\.resolve.servers.count) == [1, 0])
    #expect(plan.upstreams[1].resolve.interval == .every(.seconds(5)))
  }

  @Test(arguments: [
    ("500ms", "is too short"), ("0", "write `off`"), ("never", "write `off`"),
    ("dns", "write `ttl`, or how often: `30s`"), ("tll", "did you mean `ttl`?"),
    ("\"10.0.0.53\"", "write `{server: \"10.0.0.53\"}`"),
    ("{interval: 5s}", "did you mean `every`?"), ("{ttl: 5s}", "did you mean `every: ttl`?"),
    ("{nameserver: \"10.0.0.53\"}", "it is the key `server`"),
    ("{retries: 3}", "there is `timeout`"),
    ("{server: \"ns.test\"}", "has a host name, but a name server"),
    ("{server: ns.test}", "write its IP address"),
    ("{server: \"ns.test:53\"}", "write its IP address"),
    ("{server: \"unix:/run/dns\"}", "is no address of a name server"),
    ("{server: \"[fe80::1%2]:53\"}", "has a zone"), ("{server: []}", "at least one item"),
    ("{timeout: 10ms}", "is too short"), ("{min: 10s, max: 5s}", "`min` is longer than `max`"),
    ("{max: 2d}", "a unit that is not supported"),
    (
      "{server: [\(Array(repeating: "\"10.0.0.53\"", count: 9).joined(separator: ", "))]}",
      "more than 8 name servers"
    ),
  ])
  func slips(_ resolve: String, _ expected: String) {
    let text = report(file(resolve))
    #expect(text.contains(expected), "\(text)")
    #expect(text.contains(": error: "), "\(text)")
  }

  @Test func boundsWithoutATimeToLiveAreWarnedOf() {
    let found = decode(file("{every: 5s, max: 9s}"))
    #expect(found.plan != nil)
    #expect(found.report.contains("bound how long an answer holds"), "\(found.report)")
    let shared = decode(
      "defaults: {upstream: {resolve: {every: 5s, min: 9s}}}\n" + file("1m"))
    #expect(shared.report.contains("bound how long an answer holds"), "\(shared.report)")
  }

  @Test func services() throws {
    let found = decode(
      file("ttl", endpoints: "[\"srv:_pg._tcp.test.\", {address: \"srv:db.consul\", priority: 3}]"))
    let plan = try #require(found.plan, "\(found.report)")
    #expect(
      plan.upstreams[0].endpoints.map(\.address) == [
        .service(name: "_pg._tcp.test."), .service(name: "db.consul"),
      ])
    #expect(plan.upstreams[0].endpoints.map(\.address.description)[1] == "srv:db.consul")
    #expect(found.report == "")
    #expect(report(file("30s", endpoints: "[\"srv:_pg._tcp.test\"]")) == "")
  }

  @Test(arguments: [
    ("\"srv:\"", "write it like `srv:_postgres._tcp.example.org`"),
    ("\"srv:db.test:5432\"", "write `srv:db.test`, or `db.test:5432` for a host"),
    ("\"srv:-x\"", "has no valid host name"), ("\"srv:a..b\"", "has no valid host name"),
    ("{address: \"srv:db.test\", weight: 2}", "leave out `weight`"),
    ("{address: \"srv:db.test\", weight: 0}", "leave out `weight`"),
  ])
  func serviceSlips(_ endpoint: String, _ expected: String) {
    let text = report(file("ttl", endpoints: "[\(endpoint)]"))
    #expect(text.contains(expected), "\(text)")
    #expect(text.contains(": error: "), "\(text)")
  }

  @Test func aCheckCannotGoToAService() {
    let text = report(
      """
      routes: {r: {listen: ":1", to: u}}
      upstreams:
        u: {endpoints: ["10.0.0.1:1"], check: {tcp: {}, address: "srv:db.test"}}
      """)
    #expect(text.contains("is a service, but a check needs an IP address"), "\(text)")
  }
}
