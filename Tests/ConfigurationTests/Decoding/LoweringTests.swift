// SPDX-License-Identifier: Apache-2.0
import Addressing
import Plan
import Testing

@testable import Configuration

@Suite struct LoweringTests {
  @Test func theSmallestFileGetsEveryDefault() {
    let plan = decode("routes: {r: {listen: \":80\", to: \"10.0.0.1:81\"}}").plan
    let upstream = UpstreamPlan(
      name: "r",
      endpoints: [
        EndpointPlan(address: .socket(.v4(IPv4Address(rawValue: 0x0A00_0001), port: 81)))
      ])
    let route = RoutePlan(name: "r", listen: [.port(80)], upstream: UpstreamIndex(0))
    #expect(plan == ProxyPlan(routes: [route], upstreams: [upstream]))
  }

  @Test func everyKeyReachesThePlan() throws {
    let decoded = decode(richFile, ["DB": "db-0.internal", "N": "3"])
    #expect(decoded.report == "")
    let plan = try #require(decoded.plan)
    #expect(plan.workers == .count(3))
    #expect(plan.spin == .microseconds(200))
    #expect(plan.sessionsMax == .count(9000))
    #expect(
      plan.log
        == LogPlan(
          level: .warning, format: .json, access: .file(path: "/var/log/a$b.log"), queueMax: 100))
    #expect(plan.shutdown == ShutdownPlan(delay: .milliseconds(1500), drain: nil))
    #expect(
      plan.relay
        == RelayPlan(
          bufferBytes: 65536, pipes: .count(0), pipeBytes: 1 << 20, turnBytes: 1_000_000,
          coalesce: nil, acceptsPerTurn: 1, eventsPerTurn: 2))
    #expect(plan.routes.map(\.name) == ["cache", "db", "sock"])
    let cache = plan.routes[0]
    #expect(cache.idle == nil)
    #expect(cache.halfCloseTimeout == .seconds(5400))
    #expect(cache.flushTimeout == .milliseconds(100))
    #expect(cache.backlog == 7)
    #expect(cache.tcp == TCPPlan(noDelay: false, keepalive: nil, userTimeout: .seconds(90)))
    #expect(cache.access == AccessMoments(start: false, end: false))
    let db = plan.routes[1]
    #expect(db.idle == .seconds(3600))
    #expect(db.sessionsMax == 500)
    #expect(db.tcp == TCPPlan(noDelay: true, keepalive: nil, userTimeout: nil))
    #expect(db.access == AccessMoments(start: true, end: false, every: .seconds(600)))
    #expect(
      db.listen.map(\.description) == [
        "0.0.0.0:5432", "[::]:5432", "unix:/run/db.sock", "unix:@db", "fd:3",
      ])
    #expect(plan.upstreams.map(\.name) == ["db", "cache", "sock"])
    #expect(db.upstream == UpstreamIndex(0))
    #expect(cache.upstream == UpstreamIndex(1))
    let upstream = plan.upstreams[0]
    #expect(upstream.balance == .leastConnections)
    #expect(upstream.connect == .seconds(2))
    #expect(upstream.attempt == .milliseconds(100))
    #expect(plan.routes.map(\.dropSilentClients) == [true, false, false])
    #expect(plan.upstreams.map(\.avoidTimeWait) == [true, false, false])
    #expect(upstream.source == [.v4(IPv4Address(rawValue: 0x0A00_0005)), .v6(.loopback)])
    #expect(
      upstream.endpoints == [
        EndpointPlan(address: .name(host: "db-0.internal", port: 5432)),
        EndpointPlan(
          address: .name(host: "db-1.internal", port: 5432), weight: 256, sessionsMax: 200),
        EndpointPlan(address: .socket(.unix(path: "/run/spare.sock")), weight: 0, priority: 15),
      ])
    #expect(plan.upstreams[1].connect == .seconds(9))
    #expect(upstream.check?.target != .endpoint)
    #expect(plan.upstreams[1].check == HealthCheckPlan(.tcp))
    let intervals: [ResolvePlan.Interval] = [.never, .every(.seconds(60)), .every(.seconds(60))]
    #expect(plan.upstreams.map(\.resolve.interval) == intervals)
    #expect(plan.admin?.connectionsMax == 8)
    #expect(plan.upstreams[1].endpoints.map(\.address) == [.builtin(.echo), .builtin(.chargen)])
  }

  @Test func aRoutesOwnOffWinsOverADefault() throws {
    let decoded = decode(
      """
      defaults: {route: {idle: 5s, tcp: {keepalive: 7s}}}
      routes:
        a: {listen: ":1", to: "h:1", idle: off, tcp: {keepalive: off}}
        b: {listen: ":2", to: "h:1"}
      """)
    let plan = try #require(decoded.plan)
    #expect(plan.routes[0].idle == nil)
    #expect(plan.routes[0].tcp.keepalive == nil)
    #expect(plan.routes[1].idle == .seconds(5))
    #expect(plan.routes[1].tcp.keepalive == .seconds(7))
  }

  @Test func aReaderMayPauseUnlessTheFileSaysOtherwise() throws {
    let decoded = decode("routes: {a: {listen: \":1\", to: \"h:1\"}}")
    let plan = try #require(decoded.plan)
    for tcp in [plan.routes[0].tcp, plan.upstreams[0].tcp] {
      #expect(tcp.userTimeout == nil)
      #expect(tcp.keepalive == .seconds(60))
    }
  }

  @Test func aDanglingNameIsToldWithTheNearestOne() {
    let text = """
      routes: {r: {listen: ":1", to: databse}}
      upstreams: {database: {endpoints: ["h:1"]}}
      """
    let found = decode(text)
    #expect(found.plan == nil)
    #expect(found.diagnostics.first?.message == "there is no upstream `databse`")
    #expect(found.diagnostics.first?.hints == ["did you mean `database`?"])
  }

  @Test func whatCouldNotBeReadIsToldOnce() {
    #expect(
      messages("routes: {r: {listen: \":1\", to: u}}\nupstreams: {u: \"h:1\"}")
        == ["expected a mapping, found a single value"])
    #expect(
      messages("routes: {r: 5}\nupstreams: {u: {endpoints: [\"h:1\"]}}")
        == ["expected a mapping, found a single value"])
  }

  @Test func anUpstreamWithoutARouteIsLeftOutWithAWarning() throws {
    let found = decode(
      """
      routes: {r: {listen: ":1", to: b}}
      upstreams: {a: {endpoints: ["h:1"]}, b: {endpoints: ["h:2"]}}
      """)
    let plan = try #require(found.plan)
    #expect(plan.upstreams.map(\.name) == ["b"])
    #expect(plan.routes[0].upstream == UpstreamIndex(0))
    #expect(found.diagnostics.map(\.severity) == [.warning])
    #expect(found.diagnostics[0].message == "no route uses this upstream")
  }

  @Test func anInlineUpstreamDoesNotShadowANamedOne() {
    let found = messages(
      """
      routes: {db: {listen: ":1", to: ["h:1"]}, x: {listen: ":2", to: db}}
      upstreams: {db: {endpoints: ["h:1"]}}
      """)
    #expect(
      found == ["the upstream that this route defines would be a second one called `db`"])
  }

  @Test func contradictionsAreWarnings() {
    let found = decode(
      """
      routes: {r: {listen: ":1", to: u}}
      upstreams:
        u:
          attempt: 10s
          endpoints: [{address: "h:1", weight: 0}, {address: "h:1", weight: 0}]
      """)
    #expect(found.plan != nil)
    #expect(
      found.diagnostics.map(\.message) == [
        "every endpoint here has the weight 0, so none of them serves",
        "one attempt may take longer than all attempts together",
        "`h:1` is already an endpoint of this upstream",
      ])
  }
}

/// A file with every key in it.
let richFile = #"""
  x-anchors:
    tcp: &tcp {no_delay: true, keepalive: off}
    text: "$not ${EXPANDED}"
  workers: ${N}
  spin: 200us
  max_sessions: 9000
  log: {level: warning, format: json, access: /var/log/a$$b.log, queue: 100}
  shutdown: {delay: 1s500ms, drain: off}
  relay: {buffer: 64KiB, pipes: 0, pipe: 1MiB, turn: 1MB, coalesce: off, accepts: 1, events: 2}
  admin: {listen: "unix:@admin", max_connections: 8, timeout: 1s}
  defaults:
    route: {idle: 1h, half_close_timeout: 1h30m, flush_timeout: 100ms, backlog: 7, log: {access: off}}
    upstream: {balance: least_connections, connect: 9s, attempt: 100ms, check: {tcp: {}}, resolve: 1m}
  routes:
    cache:
      listen: :6379
      to: ["builtin:echo", {address: "builtin:chargen"}]
      idle: off
      drop_silent_clients: true
      tcp: {no_delay: false, keepalive: off, user_timeout: 1m30s}
    db:
      listen: ["0.0.0.0:5432", "[::]:5432", "unix:/run/db.sock", "unix:@db", "fd:3"]
      to: db
      max_sessions: 500
      tcp:
        <<: *tcp
        user_timeout: off
      log: {access: [start, every: 10m]}
    sock: {listen: "127.0.0.1:0", to: "unix:/run/app.sock"}
  upstreams:
    db:
      connect: 2s
      avoid_time_wait: true
      source: ["10.0.0.5", "::1"]
      tcp: *tcp
      resolve: off
      check:
        http: {method: GET, path: /h, host: h, headers: {A: b}, status: [200, 300-399], body: ok}
        every: {up: 2s, down: 1s, changing: 100ms}
        timeout: 1s
        jitter: 20%
        address: "10.0.0.9:80"
      endpoints:
        - "${DB:-other}:5432"
        - {address: "db-1.internal:5432", weight: 256, max_sessions: 200}
        - {address: "unix:/run/spare.sock", weight: 0, priority: 15}
  """#
