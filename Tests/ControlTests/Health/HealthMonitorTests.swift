// SPDX-License-Identifier: Apache-2.0
// Many checks over time: verdicts and what is said about them, subjects that come, change and go.

import Addressing
import EventLoop
import Plan
import Reactor
import Testing

@testable import Control

/// A monitor on the current loop, with what it has told.
private final class Rig: @unchecked Sendable {
  // SAFETY: made and used on one loop's thread.
  private final class Changes: @unchecked Sendable {
    // SAFETY: as above.
    var all: [String] = []
  }

  let log = CollectedLog()
  let monitor: HealthMonitor
  private let task: Task<Void, any Error>
  private let told = Changes()
  /// The changes that were told, in order.
  var changes: [String] { told.all }

  init(_ subjects: [HealthSubject] = []) {
    guard let loop = Loop.current else { preconditionFailure("not on a loop") }
    let monitor = HealthMonitor(on: loop, logger: log.logger, seed: 1) { [told] id, isUp in
      told.all.append("\(id.upstream)/\(id.ordinal) \(isUp ? "up" : "down")")
    }
    self.monitor = monitor
    task = loop.spawn(name: "health") { await monitor.run() }
    monitor.replace(with: subjects)
  }

  /// Ends all checks and waits for that.
  func stop() async throws {
    task.cancel()
    try await task.value
  }

  /// The status of the first subject.
  var status: HealthStatus? { monitor.statuses().first }
}

private func every(
  _ milliseconds: Int, _ kind: HealthCheckPlan.Kind = .tcp, rise: Int = 2, fall: Int = 3,
  timeout: Duration = .seconds(20)
) -> HealthCheckPlan {
  HealthCheckPlan(
    kind, up: .milliseconds(milliseconds), timeout: timeout, rise: rise, fall: fall)
}

@Suite struct HealthMonitorTests {
  private let ok = CheckedServer.Behaviour.answer(["HTTP/1.1 200 OK\r\n\r\n"])
  private let ill = CheckedServer.Behaviour.answer(["HTTP/1.1 503 No\r\n\r\n"])
  private let http = HealthCheckPlan.Kind.http(HTTPCheckPlan())

  @Test func anEndpointGoesDownAndComesUp() throws {
    try Loop().run {
      let server = try CheckedServer(ok)
      let rig = Rig([sampleSubject(every(10, http), at: server.address, name: "db")])
      #expect(rig.status?.isUp == true)
      #expect(rig.status?.lastDuration == nil)
      #expect(try await soon { rig.status?.goodCount ?? 0 >= 3 })
      #expect(rig.changes == [])
      server.behaviour = ill
      #expect(try await soon { !rig.changes.isEmpty })
      #expect(rig.changes == ["u/0 down"])
      #expect(rig.status?.isUp == false)
      #expect(rig.status?.lastFailure == "status 503")
      #expect(rig.status?.lastDuration ?? .zero > .zero)
      #expect(rig.status?.failedCount == 3)
      server.behaviour = ok
      #expect(try await soon { rig.changes.count == 2 })
      #expect(rig.changes == ["u/0 down", "u/0 up"])
      try await rig.stop()
      #expect(
        rig.log.lines == [
          "warning endpoint is down cause=status 503 endpoint=db upstream=u",
          "error all endpoints are down clients=reset upstream=u",
          "info endpoint is up endpoint=db upstream=u",
          "info an endpoint is up again upstream=u",
        ])
    }
  }

  @Test func onlyFailuresInARowAreAVerdict() throws {
    try Loop().run {
      let server = try CheckedServer(ok)
      server.script = [ill, ok, ill, ill, ok]
      let rig = Rig([sampleSubject(every(10, http, fall: 3), at: server.address)])
      #expect(try await soon { rig.status?.failedCount ?? 0 >= 7 })
      #expect(rig.changes == [])
      server.script = [ill, ill, ill, ok, ill, ok, ok]
      #expect(try await soon { rig.changes.count >= 2 })
      #expect(rig.changes.prefix(2) == ["u/0 down", "u/0 up"])
      try await rig.stop()
    }
  }

  @Test func allDownIsToldOnceAndSoIsTheFirstThatIsBack() throws {
    try Loop().run {
      let servers = try (0..<3).map { _ in try CheckedServer(ok) }
      let others = try CheckedServer(ok)
      let rig = Rig(
        servers.enumerated().map { number, server in
          sampleSubject(
            every(10, http), at: server.address, ordinal: number, name: "e\(number)")
        } + [sampleSubject(every(10, http), at: others.address, upstream: "other")])
      for server in servers { server.behaviour = ill }
      #expect(try await soon { rig.changes.count == 3 })
      #expect(rig.log.lines.filter { $0.hasPrefix("error") }.count == 1)
      #expect(rig.log.lines.last == "error all endpoints are down clients=reset upstream=u")
      servers[1].behaviour = ok
      #expect(try await soon { rig.changes.count == 4 })
      #expect(
        rig.log.lines.suffix(2) == [
          "info endpoint is up endpoint=e1 upstream=u", "info an endpoint is up again upstream=u",
        ])
      servers[2].behaviour = ok
      #expect(try await soon { rig.changes.count == 5 })
      #expect(rig.log.lines.last == "info endpoint is up endpoint=e2 upstream=u")
      try await rig.stop()
    }
  }

  @Test func whoStaysKeepsVerdictAndCounts() throws {
    try Loop().run {
      let server = try CheckedServer(ok)
      let dead = sampleSubject(every(10), at: vacantAddress(), name: "dead")
      let rig = Rig([dead])
      #expect(try await soon { rig.changes == ["u/0 down"] })
      let failed = rig.status?.failedCount ?? 0
      let alive = sampleSubject(every(10, http), at: server.address, name: "alive")
      rig.monitor.replace(with: [alive, dead])
      #expect(rig.monitor.statuses().map(\.name) == ["alive", "dead"])
      #expect(rig.monitor.statuses().map(\.isUp) == [true, false])
      #expect(rig.monitor.statuses()[1].failedCount >= failed)
      #expect(rig.monitor.isUp(alive.id))
      #expect(!rig.monitor.isUp(dead.id))
      #expect(rig.log.lines.last == "info an endpoint is up again upstream=u")
      #expect(try await soon { rig.monitor.statuses()[0].goodCount > 0 })
      // The one that was up goes, so all are down again.
      rig.monitor.replace(with: [dead])
      #expect(rig.log.lines.last == "error all endpoints are down clients=reset upstream=u")
      // Nobody speaks against whom nobody checks.
      rig.monitor.replace(with: [])
      #expect(rig.changes == ["u/0 down", "u/0 up"])
      #expect(rig.monitor.isUp(dead.id))
      #expect(rig.monitor.statuses().isEmpty)
      #expect(
        rig.log.lines.last == "info endpoint is not checked any more endpoint=dead upstream=u")
      try await rig.stop()
    }
  }

  @Test func whatBecomesOfClientsIsTold() throws {
    let down = HealthSubject.Fallback.self
    var plan = UpstreamPlan(name: "u", check: HealthCheckPlan(.tcp), endpoints: [])
    #expect(down.init(plan) == .reset)
    plan.hold = HoldPlan(timeout: .seconds(1))
    #expect(down.init(plan) == .wait)
    plan.panicPercent = 50
    #expect(down.init(plan) == .served)
    for (fallback, line) in [
      (HealthSubject.Fallback.wait, "error all endpoints are down clients=wait upstream=u"),
      (.served, "warning all endpoints are down clients=served upstream=u"),
    ] {
      try Loop().run {
        var subject = sampleSubject(every(10), at: vacantAddress())
        subject.fallback = fallback
        let rig = Rig([subject])
        #expect(try await soon { rig.log.lines.count == 2 })
        #expect(rig.log.lines.last == line)
        try await rig.stop()
      }
    }
  }

  @Test func whoGetsNoSessionsAnywayIsNoHelp() throws {
    try Loop().run {
      let server = try CheckedServer(.silence)
      var spare = sampleSubject(every(10), at: server.address, name: "spare")
      spare.takesSessions = false
      let rig = Rig([sampleSubject(every(10), at: vacantAddress(), name: "dead"), spare])
      #expect(try await soon { rig.log.lines.count == 2 })
      #expect(rig.log.lines.last == "error all endpoints are down clients=reset upstream=u")
      // Another weight is no other check.
      let counted = rig.monitor.statuses()[1].goodCount
      spare.takesSessions = true
      rig.monitor.replace(with: [spare])
      #expect(rig.log.lines.last == "info an endpoint is up again upstream=u")
      #expect(rig.status?.goodCount ?? 0 >= counted)
      try await rig.stop()
    }
  }

  @Test func whoIsRemovedIsNotCheckedAnyMoreWhateverItWaitsFor() throws {
    try Loop().run {
      let hanging = try CheckedServer(.silence)
      let rig = Rig([
        sampleSubject(every(10, http, timeout: .seconds(300)), at: hanging.address),
        sampleSubject(every(86_400_000), at: hanging.address, ordinal: 1),
      ])
      #expect(try await soon { hanging.acceptedCount == 2 && hanging.ends.count == 1 })
      rig.monitor.replace(with: [])
      #expect(try await soon { hanging.ends.count == 2 })
      let names = { Loop.current?.listing.waits.map(\.name) ?? [] }
      #expect(try await soon { !names().contains { $0.contains(" of e") } }, "\(names())")
      #expect(rig.log.lines.isEmpty)
      try await rig.stop()
    }
  }

  @Test func anotherCheckTakesTheOldOnesPlaceAtOnce() throws {
    try Loop().run {
      let server = try CheckedServer(.silence)
      let subject = sampleSubject(
        every(10, http, timeout: .seconds(300)), at: server.address)
      let rig = Rig([subject])
      #expect(try await soon { server.acceptedCount == 1 })
      rig.monitor.replace(with: [sampleSubject(every(10), at: server.address)])
      #expect(try await soon { rig.status?.goodCount ?? 0 >= 2 })
      #expect(rig.status?.failedCount == 0)
      // The same once more changes nothing; and a verdict outlives the check that it came from.
      rig.monitor.replace(with: [sampleSubject(every(10), at: server.address)])
      server.close()
      #expect(try await soon { rig.changes == ["u/0 down"] })
      rig.monitor.replace(with: [sampleSubject(every(86_400_000, fall: 9), at: server.address)])
      #expect(rig.status?.isUp == false)
      try await rig.stop()
    }
  }

  @Test func whatThisProcessLacksIsSaidButHeldAgainstNobody() throws {
    let foreign = IPAddress.v4(IPv4Address(rawValue: 0xC000_0201))
    try Loop().run {
      let server = try CheckedServer(.silence)
      let rig = Rig(
        (0..<3).map {
          sampleSubject(every(10), at: server.address, ordinal: $0, source: [foreign])
        })
      #expect(
        try await soon { rig.monitor.statuses().allSatisfy { $0.impossibleCount > 3 } })
      #expect(rig.monitor.statuses().allSatisfy { $0.isUp && $0.failedCount == 0 })
      #expect(rig.changes.isEmpty)
      let lines = rig.log.lines
      #expect(lines.count < 3, "\(lines)")
      #expect(lines.first?.hasPrefix("warning a check could not be made cause=binding: ") == true)
      try await rig.stop()
    }
  }

  @Test func firstChecksAreSpread() throws {
    try Loop().run {
      let server = try CheckedServer(.silence, isUnix: true)
      let loop = Loop.current
      let began = loop?.now ?? .distantFuture
      let rig = Rig(
        (0..<10).map { sampleSubject(every(200), at: server.address, ordinal: $0) })
      #expect(try await soon { rig.monitor.statuses().allSatisfy { $0.lastDuration != nil } })
      // Ten in 200 ms, the last one 180 ms after the first; a slow machine may take longer.
      let last = rig.monitor.statuses().count
      #expect(last == 10)
      #expect(loop?.now.nanoseconds(since: began) ?? 0 >= 180_000_000)
      try await rig.stop()
    }
  }

  @Test func whatIsCheckedAtAnotherAddressIsKnownByItsOwn() throws {
    try Loop().run {
      let agent = try CheckedServer(.silence)
      let plan = HealthCheckPlan(.tcp, target: .address(agent.address), up: .milliseconds(10))
      let rig = Rig([sampleSubject(plan, at: vacantAddress())])
      #expect(try await soon { rig.status?.goodCount ?? 0 >= 2 })
      agent.close()
      #expect(try await soon { rig.changes == ["u/0 down"] })
      try await rig.stop()
    }
  }

  @Test func endingTheTaskEndsEveryCheck() throws {
    try Loop().run {
      let server = try CheckedServer(.silence)
      let rig = Rig(
        (0..<5).map {
          sampleSubject(
            every(10, http, timeout: .seconds(300)), at: server.address, ordinal: $0)
        })
      #expect(try await soon { server.acceptedCount == 5 })
      try await rig.stop()
      #expect(try await soon { server.ends.count == 5 })
      #expect(rig.log.lines.isEmpty)
    }
  }

  @Test func theLoopEndsWithItsChecks() throws {
    let rig = try Loop().run {
      let server = try CheckedServer(.silence)
      let rig = Rig([
        sampleSubject(every(10, http, timeout: .seconds(300)), at: server.address),
        sampleSubject(every(10), at: vacantAddress()),
      ])
      #expect(try await soon { rig.changes == ["u/0 down"] })
      return rig
    }
    #expect(rig.changes == ["u/0 down"])
  }

  private func beginning(_ initial: HealthCheckPlan.Initial, rise: Int = 2) -> HealthCheckPlan {
    var plan = every(10, http, rise: rise)
    plan.initial = initial
    return plan
  }

  @Test func whoBeginsAsDownServesOnceItHasRisen() throws {
    try Loop().run {
      let server = try CheckedServer(ok)
      let subject = sampleSubject(beginning(.down, rise: 3), at: server.address)
      let rig = Rig([subject])
      #expect(!rig.monitor.isUp(subject.id))
      #expect(rig.monitor.verdict(on: subject.id) == .down)
      #expect(try await soon { !rig.changes.isEmpty })
      #expect(rig.changes == ["u/0 up"])
      #expect(rig.status?.goodCount == 3)
      try await rig.stop()
      // A start is no outage.
      #expect(rig.log.lines == ["info endpoint is up endpoint=e upstream=u"])
    }
  }

  @Test func whoIsUnknownIsDecidedByOneCheck() throws {
    try Loop().run {
      let (well, sick) = (try CheckedServer(ok), try CheckedServer(ill))
      let subjects = [well, sick].enumerated().map {
        sampleSubject(beginning(.unknown), at: $1.address, ordinal: $0, name: "e\($0)")
      }
      let rig = Rig(subjects)
      #expect(rig.monitor.statuses().allSatisfy { $0.isUnknown && !$0.isUp })
      #expect(rig.monitor.verdict(on: subjects[0].id) == .unknown)
      #expect(try await soon { rig.changes.count == 2 })
      #expect(Set(rig.changes) == ["u/0 up", "u/1 down"])
      #expect(rig.monitor.statuses().allSatisfy { !$0.isUnknown })
      try await rig.stop()
      #expect(!rig.log.lines.contains { $0.contains("all endpoints") }, "\(rig.log.lines)")
    }
  }

  @Test func whenNobodyComesUpThatIsTold() throws {
    try Loop().run {
      let server = try CheckedServer(ill)
      let rig = Rig(
        (0..<2).map { sampleSubject(beginning(.down), at: server.address, ordinal: $0) })
      #expect(try await soon { rig.log.lines.count == 3 })
      #expect(rig.changes.count == 2)
      #expect(rig.log.lines.last == "error all endpoints are down clients=reset upstream=u")
      #expect(rig.status?.failedCount ?? 0 < 3)
      server.behaviour = ok
      #expect(try await soon { rig.changes.count == 4 })
      #expect(rig.log.lines.contains("info an endpoint is up again upstream=u"))
      try await rig.stop()
    }
  }

  private func role(_ role: RedisCheckPlan.Role, rise: Int = 1) -> HealthCheckPlan {
    every(10, .redis(RedisCheckPlan(role: role)), rise: rise)
  }

  @Test func anotherRoleIsAnotherPromise() throws {
    try Loop().run {
      let server = try TalkingServer([
        .readAny(14), .send("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"), .readAny(14), .finish,
      ])
      let first = sampleSubject(role(.master), at: server.address)
      let rig = Rig([first])
      #expect(rig.monitor.verdict(on: first.id) == .down)
      #expect(try await soon { rig.changes == ["u/0 up"] })
      // How often it is asked makes no difference to what it has promised.
      rig.monitor.replace(with: [sampleSubject(role(.master, rise: 2), at: server.address)])
      #expect(rig.monitor.isUp(first.id))
      rig.monitor.replace(with: [sampleSubject(role(.replica), at: server.address)])
      #expect(!rig.monitor.isUp(first.id))
      #expect(try await soon { rig.changes == ["u/0 up", "u/0 down"] })
      #expect(rig.status?.lastFailure == "the role is master, and `replica` is asked for")
      try await rig.stop()
    }
  }

  @Test func anotherPasswordIsNoOtherPromise() throws {
    try Loop().run {
      let ask = "*1\r\n$4\r\nROLE\r\n"
      let server = try TalkingServer([
        .readAny(ask.utf8.count), .send("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
      ])
      let first = sampleSubject(role(.master), at: server.address)
      let rig = Rig([first])
      #expect(try await soon { rig.changes == ["u/0 up"] })
      let rotated = every(
        86_400_000, .redis(RedisCheckPlan(role: .master, password: Secret("new"))))
      rig.monitor.replace(with: [sampleSubject(rotated, at: server.address)])
      #expect(rig.monitor.isUp(first.id))
      try await rig.stop()
    }
  }

  @Test func aPromiseIsTheRoleAndWhoIsAskedForIt() {
    func primary(_ password: String, _ database: String = "a") -> HealthCheckPlan.Kind {
      .postgres(
        PostgresCheckPlan(
          role: .primary, user: password, database: database, password: Secret(password)))
    }
    func plan(
      _ kind: HealthCheckPlan.Kind, _ target: HealthCheckPlan.Target = .endpoint
    ) -> HealthCheckPlan { HealthCheckPlan(kind, target: target) }
    let standby = HealthCheckPlan.Kind.postgres(PostgresCheckPlan(role: .standby))
    #expect(plan(primary("new", "b")).promisesNoMore(than: plan(primary("old"))))
    #expect(!plan(standby).promisesNoMore(than: plan(primary("old"))))
    #expect(!plan(primary("old"), .port(1)).promisesNoMore(than: plan(primary("old"))))
    #expect(plan(.tcp).promisesNoMore(than: plan(primary("old"))))
    #expect(!plan(primary("old")).promisesNoMore(than: plan(.tcp)))
    // Of several that all are good, those count that ask for a role.
    let old = HealthCheckPlan.Part(primary("old"))
    let new = HealthCheckPlan.Part(primary("new"))
    let tcp = HealthCheckPlan.Part(.tcp)
    #expect(plan(.allOf([new, tcp])).promisesNoMore(than: plan(.allOf([old]))))
    #expect(plan(.allOf([new, tcp])).promisesNoMore(than: plan(primary("old"))))
    #expect(!plan(.allOf([new, .init(standby)])).promisesNoMore(than: plan(.allOf([old, tcp]))))
    // Of several of which one is enough, nobody knows which it was.
    #expect(plan(.anyOf([new, tcp])).promisesNoMore(than: plan(.anyOf([old, tcp]))))
    #expect(!plan(.anyOf([new, tcp])).promisesNoMore(than: plan(.anyOf([old]))))
    #expect(!plan(primary("new")).promisesNoMore(than: plan(.anyOf([old, tcp]))))
  }

  @Test func anUpstreamsEndpointsAreSubjectsOfTheirOwn() {
    let check = HealthCheckPlan(.tcp)
    let address = SocketAddress.v4(.loopback, port: 1)
    let plan = UpstreamPlan(name: "u", source: [.v6(.loopback)], check: check, endpoints: [])
    let endpoints = [
      ResolvedEndpoint(name: "a", host: "h", address: address),
      ResolvedEndpoint(name: "b", host: nil, address: .v4(.loopback, port: 2)),
      ResolvedEndpoint(name: "c", host: nil, address: address),
      ResolvedEndpoint(name: "d", host: nil, address: address),
    ]
    let subjects = HealthSubject.subjects(of: plan, endpoints)
    #expect(subjects.map(\.id.ordinal) == [0, 0, 0, 1])
    #expect(subjects.map(\.name) == ["a", "b", "c", "d"])
    #expect(subjects.map(\.id.host) == ["h", nil, nil, nil])
    #expect(subjects.allSatisfy { $0.source == [.v6(.loopback)] && $0.check == check })
    #expect(HealthSubject.subjects(of: UpstreamPlan(name: "u", endpoints: []), endpoints).isEmpty)
  }
}
