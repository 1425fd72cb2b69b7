// SPDX-License-Identifier: Apache-2.0
// Pauses at bounds that a session of another worker ends, connections that wait to be watched, and clients
// that have gone before they were served.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct AcceptorTests {
  /// Which bound accepting pauses at.
  enum Bound: CaseIterable { case process, route }

  // MARK: Pauses

  /// Two workers with one session each, and no room for a third. Only the first worker still accepts.
  private func fullRig(_ bound: Bound) throws -> (rig: Rig, server: FakeServer, [FakeStream]) {
    var plan = RigPlan()
    plan.workers = 2
    switch bound {
    case .process: plan.sessionsMax = 2
    case .route: plan.routes[0].sessionsMax = 2
    }
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    var clients: [FakeStream] = []
    for _ in 0..<2 {
      clients.append(rig.connectClient())
      rig.workers[0].turn()
      rig.settle()
    }
    #expect(rig.workers.map { $0.sessions.count } == [1, 1])
    #expect(rig.workers[1].link.inbox.post(.stopAccepting))
    rig.settle()
    return (rig, server, clients)
  }

  @Test func aWorkerThatBeginsWhileARouteIsFullWatchesItLater() throws {
    var plan = RigPlan()
    plan.workers = 2
    plan.routes[0].sessionsMax = 1
    let rig = try Rig(plan)
    do {
      let settings = WorkerSettings(
        number: 1, sessionsMax: plan.sessionsMax, pipesMax: 0, relay: plan.relay, seed: 1)
      let late = try Worker(
        kernel: rig.kernel, settings: settings, topology: rig.topology, records: nil,
        report: { _ in })
      #expect(rig.topology.routes[0].state.sessions.take(below: 1))
      try late.begin(among: [rig.worker.link, late.link])
      let generation = rig.topology.listeners[0].generation
      let isWatching = { late.acceptor.isWatching(ListenerIndex(0), generation: generation) }
      #expect(!isWatching())
      rig.topology.routes[0].state.sessions.giveBack()
      rig.kernel.advance(milliseconds: 600)
      late.turn()
      #expect(isWatching())
      #expect(late.link.inbox.post(.stop))
      late.run()
    }
    #expect(rig.tearDown() == [])
  }

  /// The client whose session a worker has.
  private func client(of worker: Int, in rig: Rig, _ clients: [FakeStream]) -> FakeStream? {
    guard let session = rig.workers[worker].sessions.find(0) else { return nil }
    return rig.kernel.stream(session.pointee.downstream.socket.rawValue)?.peer
  }

  @Test(arguments: Bound.allCases)
  func aPauseEndsAtOnceWhenASessionOfAnotherWorkerEnds(_ bound: Bound) throws {
    let (rig, server, clients) = try fullRig(bound)
    _ = rig.connectClient()
    rig.settle()
    #expect(rig.reports[0].pauses.count == 1)
    #expect(server.accepted.count == 2)
    try #require(client(of: 1, in: rig, clients)).reset()
    // Time stands still: no timer has helped.
    rig.settle()
    #expect(server.accepted.count == 3)
    #expect(rig.workers[0].acceptor.pause.reason == nil)
    #expect(rig.tearDown() == [])
  }

  @Test(arguments: Bound.allCases)
  func everySessionThatEndsElsewhereLetsOneMoreIn(_ bound: Bound) throws {
    let (rig, server, clients) = try fullRig(bound)
    let others = (0..<3).map { _ in rig.connectClient() }
    rig.settle()
    try #require(client(of: 1, in: rig, clients)).reset()
    rig.settle()
    #expect(server.accepted.count == 3)
    #expect(rig.workers[0].acceptor.pause.reason != nil)
    for (number, client) in others.dropLast().enumerated() {
      client.reset()
      rig.settle()
      #expect(server.accepted.count == 4 + number)
    }
    #expect(rig.tearDown() == [])
  }

  @Test func severalWorkersThatHavePausedAllGoOn() throws {
    var plan = RigPlan()
    plan.workers = 3
    plan.sessionsMax = 3
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    let clients = (0..<3).map { _ in
      let client = rig.connectClient()
      rig.settle()
      return client
    }
    // Each worker looks, and pauses.
    for _ in 0..<3 { _ = rig.connectClient() }
    rig.settle()
    #expect(rig.workers.contains { $0.acceptor.pause.reason != nil })
    for client in clients { client.reset() }
    rig.settle()
    #expect(server.accepted.count == 6)
    #expect(rig.tearDown() == [])
  }

  @Test func aFullRouteThatGetsRoomIsWatchedThoughAnotherIsFull() throws {
    var plan = RigPlan()
    plan.routes.append(RoutePlan(name: "b", listen: [.port(2)], upstream: UpstreamIndex(0)))
    for route in 0..<2 { plan.routes[route].sessionsMax = 1 }
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    let first = rig.connectClient(route: 0)
    _ = rig.connectClient(route: 1)
    rig.settle()
    for route in 0..<2 { _ = rig.connectClient(route: route) }
    rig.settle()
    #expect(server.accepted.count == 2)
    first.reset()
    rig.settle()
    #expect(server.accepted.count == 3)
    #expect(rig.worker.acceptor.pause.reason == .routeSessionsMax(RouteIndex(1)))
    #expect(rig.tearDown() == [])
  }

  // MARK: Connections that wait to be watched

  @Test func aParkedConnectionIsServedThoughAcceptingHasStopped() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    rig.kernel.nextRegisterError = .noSpace
    let client = rig.connectClient()
    client.write("hello")
    rig.worker.turn()
    #expect(rig.worker.acceptor.parkedCount == 1)
    rig.post(.stopAccepting)
    rig.settle()
    #expect(rig.reports[0].finishedCount == 0)
    rig.advance(milliseconds: 510)
    #expect(server.accepted.first?.readText() == "hello")
    client.close()
    server.accepted.first?.close()
    rig.settle()
    #expect(rig.reports[0].finishedCount == 1)
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func aConnectionThatCannotBeWatchedYetIsTriedAgainWhileDraining() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    rig.kernel.nextRegisterError = .noSpace
    _ = rig.connectClient()
    rig.worker.turn()
    rig.kernel.nextRegisterError = .noMemory
    rig.post(.stopAccepting)
    rig.settle()
    #expect(server.accepted.isEmpty)
    rig.advance(milliseconds: 510)
    #expect(server.accepted.count == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func aParkedConnectionIsResetWhenTheWorkerStops() throws {
    let rig = try Rig()
    rig.kernel.serve(9000, .accepts)
    rig.kernel.nextRegisterError = .noSpace
    let client = rig.connectClient()
    rig.worker.turn()
    #expect(rig.worker.acceptor.parkedCount == 1)
    #expect(rig.tearDown() == [])
    rig.kernel.carryAll()
    #expect(client.readEnd() == .failed(.connectionReset))
    #expect(rig.leftovers == [])
  }

  // MARK: Clients that are gone

  @Test func aClientThatResetsBeforeItIsAcceptedCostsNoEndpointAnAttempt() throws {
    let rig = try Rig()
    rig.kernel.serve(9000, .accepts)
    rig.connectClient().reset()
    rig.kernel.carryAll()
    rig.settle()
    #expect(rig.worker.counters[.accepted] == 1)
    #expect(rig.worker.counters[.attempts] == 0)
    let end = rig.takeEnds().first?.end
    #expect(end?.origin == .downstream)
    #expect(end?.reason == .reset)
    #expect(end?.phase == .inspecting)
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func whatAClientHasSentBeforeItResetIsDelivered() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    client.write("last words")
    client.carry()
    client.reset()
    rig.kernel.carryAll()
    rig.advance(milliseconds: 200)
    #expect(server.accepted.first?.readText() == "last words")
    #expect(server.accepted.first?.readEnd() == .failed(.connectionReset))
    #expect(rig.takeEnds().compactMap(\.end?.origin) == [.downstream])
    #expect(rig.tearDown() == [])
  }

  @Test(arguments: [false, true])
  func aSilentClientThatFinishesInTheBacklogIsDroppedWhereThatIsWanted(_ isWanted: Bool) throws {
    var plan = RigPlan()
    plan.routes[0].dropSilentClients = isWanted
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    rig.connectClient().close()
    rig.kernel.carryAll()
    rig.settle()
    #expect(rig.worker.counters[.attempts] == (isWanted ? 0 : 1))
    server.accepted.first?.close()
    rig.settle()
    let end = rig.takeEnds().first?.end
    #expect(end?.origin == .downstream)
    #expect(end?.reason == .finished)
    #expect(end?.phase == (isWanted ? .inspecting : .downstreamFinished))
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test(arguments: [false, true])
  func aSilentClientThatFinishesInTheQueueIsDroppedWhereThatIsWanted(_ isWanted: Bool) throws {
    var plan = RigPlan()
    plan.routes[0].dropSilentClients = isWanted
    plan.upstreams[0].endpoints = [EndpointPlan(port: 9000, sessionsMax: 1)]
    plan.upstreams[0].queue = QueuePlan()
    let rig = try Rig(plan)
    rig.kernel.serve(9000, .accepts)
    _ = rig.connectClient()
    rig.settle()
    let silent = rig.connectClient()
    let speaking = rig.connectClient()
    rig.settle()
    speaking.write("request")
    silent.shutdownWrite()
    speaking.shutdownWrite()
    rig.settle()
    #expect(rig.waiting == (isWanted ? 1 : 2, 0))
    let ends = rig.takeEnds().compactMap(\.end)
    let dropped = SessionEnd(origin: .downstream, reason: .finished, phase: .waiting)
    #expect(ends == (isWanted ? [dropped] : []))
    #expect(speaking.readEnd() == .wouldBlock)
    rig.expectNothingLeft()
  }

  @Test func aSilentClientThatFinishesWhileConnectingIsDroppedWhereThatIsWanted() throws {
    var plan = RigPlan()
    plan.routes[0].dropSilentClients = true
    let rig = try Rig(plan)
    rig.kernel.serve(9000, .isSilent)
    let client = rig.connectClient()
    rig.settle()
    #expect(rig.worker.counters[.attempts] == 1)
    client.shutdownWrite()
    rig.settle()
    let end = rig.takeEnds().first?.end
    #expect(end == SessionEnd(origin: .downstream, reason: .finished, phase: .connecting))
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }
}
