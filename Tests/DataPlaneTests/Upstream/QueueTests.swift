// SPDX-License-Identifier: Apache-2.0
// Waiting for a place (`queue`): who waits, in which order they go on, and what becomes of those who cannot.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct QueueTests {
  @Test(arguments: [1, 2, 3])
  func whoeverCameFirstHasTheNextPlace(workers: Int) throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan(), workers: workers)
    let server = rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(10)
    #expect(server.accepted.count == 1)
    #expect(rig.waiting == (9, 0))
    for number in 0..<10 {
      try #require(server.accepted.count == number + 1)
      #expect(server.accepted[number].readText() == "\(number) ")
      clients[number].close()
      server.accepted[number].close()
      rig.settle()
    }
    #expect(rig.takeEnds().allSatisfy { $0.end?.reason == .finished })
    #expect(rig.statistics.queued == 9)
    rig.expectNothingLeft()
  }

  @Test func newcomersGoBehindThoseWhoWait() throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan(), workers: 2)
    let server = rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(2)
    // The place becomes free, and before anybody who waits can have it, somebody else arrives.
    clients[0].reset()
    rig.kernel.carryAll()
    let newcomer = rig.connectClient()
    newcomer.write("late ")
    rig.settle()
    try #require(server.accepted.count == 2)
    #expect(server.accepted[1].readText() == "1 ")
    #expect(rig.waiting == (1, 0))
    clients[1].reset()
    rig.settle()
    #expect(server.accepted.last?.readText() == "late ")
    rig.expectNothingLeft()
  }

  @Test func withoutItsQuorumAnUpstreamPassesNoPlaceOn() throws {
    let rig = try waitingRig(ports: [9000, 9001], sessionsMax: 1, queue: QueuePlan())
    let servers = [rig.kernel.serve(9000, .accepts), rig.kernel.serve(9001, .accepts)]
    let clients = rig.connectClients(3)
    #expect(rig.waiting == (1, 0))
    rig.topology.upstreams[0].state.serving = .none
    rig.topology.noteChange(ofUpstream: 0)
    clients[0].reset()
    // Without the control loop's next look.
    for _ in 0..<10 {
      rig.kernel.carryAll()
      rig.worker.turn()
    }
    #expect(rig.worker.sessions.count == 2)
    #expect(servers.map(\.accepted.count) == [1, 1])
    rig.expectNothingLeft()
  }

  @Test func theBoundOfAnUpstreamIsOneOfAllItsEndpoints() throws {
    let rig = try waitingRig(
      ports: [9000, 9001], upstreamMax: 2, queue: QueuePlan(), workers: 2)
    let servers = [rig.kernel.serve(9000, .accepts), rig.kernel.serve(9001, .accepts)]
    let clients = rig.connectClients(4)
    #expect(servers.map(\.accepted.count).reduce(0, +) == 2)
    #expect(rig.waiting == (2, 0))
    clients[0].reset()
    rig.settle()
    #expect(servers.map(\.accepted.count).reduce(0, +) == 3)
    rig.expectNothingLeft()
  }

  @Test func withoutAQueueAFullUpstreamTurnsClientsAway() throws {
    let rig = try waitingRig(ports: [9000, 9001], upstreamMax: 1)
    rig.kernel.serve(9000, .accepts)
    rig.kernel.serve(9001, .accepts)
    let clients = rig.connectClients(2)
    #expect(clients[1].readEnd() == .failed(.connectionReset))
    #expect(rig.takeEnds().compactMap(\.end).map(\.reason) == [.noEndpoint])
    rig.expectNothingLeft()
  }

  @Test func whoeverHasWaitedTooLongIsReset() throws {
    let rig = try waitingRig(
      sessionsMax: 1, queue: QueuePlan(length: 10, timeout: .milliseconds(500)))
    rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(2)
    rig.advance(milliseconds: 490)
    #expect(clients[1].readEnd() == .wouldBlock)
    rig.advance(milliseconds: 20)
    #expect(clients[1].readEnd() == .failed(.connectionReset))
    let end = rig.takeEnds().first?.end
    #expect(end == SessionEnd(origin: .proxy, reason: .queueTimedOut, phase: .waiting))
    #expect(rig.statistics.queueTimeouts == 1)
    #expect(clients[0].readEnd() == .wouldBlock)
    rig.expectNothingLeft()
  }

  @Test func aFullQueueTurnsClientsAway() throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan(length: 2))
    rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(4)
    #expect(clients[2].readEnd() == .wouldBlock)
    #expect(clients[3].readEnd() == .failed(.connectionReset))
    let end = rig.takeEnds().first?.end
    #expect(end == SessionEnd(origin: .proxy, reason: .queueFull, phase: .waiting))
    #expect(rig.statistics.queueOverflows == 1)
    rig.expectNothingLeft()
  }

  @Test func whoeverBreaksWhileItWaitsIsForgotten() throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan())
    let server = rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(3)
    clients[1].reset()
    rig.settle()
    #expect(rig.waiting == (1, 0))
    let end = rig.takeEnds().first?.end
    #expect(end?.origin == .downstream)
    #expect(end?.phase == .waiting)
    clients[0].reset()
    rig.settle()
    #expect(server.accepted.last?.readText() == "2 ")
    rig.expectNothingLeft()
  }

  @Test func whoeverFinishesSendingWhileItWaitsIsServed() throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan())
    let server = rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(2)
    clients[1].shutdownWrite()
    rig.settle()
    clients[0].reset()
    rig.settle()
    try #require(server.accepted.count == 2)
    #expect(server.accepted[1].readText() == "1 ")
    #expect(server.accepted[1].readEnd() == .endOfStream)
    server.accepted[1].write("answer")
    server.accepted[1].close()
    rig.settle()
    #expect(clients[1].readText() == "answer")
    rig.expectNothingLeft()
  }

  @Test func theTimeToConnectBeginsWhenAPlaceIsFree() throws {
    var plan = RigPlan()
    plan.upstreams[0].endpoints = [EndpointPlan(port: 9000, sessionsMax: 1)]
    plan.upstreams[0].queue = QueuePlan(length: 10, timeout: .seconds(60))
    plan.upstreams[0].connect = .seconds(2)
    plan.upstreams[0].attempt = .seconds(2)
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(2)
    rig.advance(milliseconds: 10_000, step: 100)
    server.manner = .isSilent
    clients[0].reset()
    rig.settle()
    rig.advance(milliseconds: 1900)
    #expect(clients[1].readEnd() == .wouldBlock)
    rig.advance(milliseconds: 200)
    #expect(clients[1].readEnd() == .failed(.connectionReset))
    rig.expectNothingLeft()
  }

  @Test func aPlaceThatAReloadMakesIsTaken() throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan())
    let server = rig.kernel.serve(9000, .accepts)
    _ = rig.connectClients(3)
    rig.change { $0.upstreams[0].endpoints[0].sessionsMax = 2 }
    rig.settle()
    rig.advance(milliseconds: 600)
    #expect(server.accepted.count == 2)
    #expect(rig.waiting == (1, 0))
    rig.expectNothingLeft()
  }

  @Test func whenTheQueueIsTakenAwayNobodyWaitsThere() throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan())
    rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(3)
    rig.change { $0.upstreams[0].queue = nil }
    rig.settle()
    rig.advance(milliseconds: 20)
    #expect(clients[1...].allSatisfy { $0.readEnd() == .failed(.connectionReset) })
    #expect(Set(rig.takeEnds().compactMap(\.end?.reason)) == [.noEndpoint])
    rig.expectNothingLeft()
  }

  @Test func whoeverWaitsGoesAlongWhenItsRouteLeadsElsewhere() throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan(), workers: 2)
    rig.kernel.serve(9000, .accepts)
    let other = rig.kernel.serve(9001, .accepts)
    _ = rig.connectClients(4)
    rig.change {
      $0.upstreams = [UpstreamPlan(name: "other", endpoints: [EndpointPlan(port: 9001)])]
    }
    rig.settle()
    #expect(other.accepted.count == 3)
    rig.expectNothingLeft()
  }

  @Test func anEndpointThatRefusesIsNotAskedWithoutPause() throws {
    let rig = try waitingRig(ports: [9000, 9001], sessionsMax: 1, queue: QueuePlan())
    let refusing = rig.kernel.serve(9000, .refusesAtOnce)
    rig.kernel.serve(9001, .accepts)
    _ = rig.connectClients(6)
    let before = refusing.attemptCount
    rig.advance(milliseconds: 1000)
    // The head looks four times a second.
    #expect(refusing.attemptCount - before <= 6)
    rig.expectNothingLeft()
  }

  /// The upstream has room for two, its endpoint for one: each of those who wait finds a place at the
  /// upstream for a moment, and must not have the next one look for it.
  @Test(arguments: [1, 2])
  func whereTheUpstreamHasRoomAndItsEndpointsHaveNoneTheHeadLooksNowAndThen(workers: Int) throws {
    let rig = try waitingRig(
      sessionsMax: 1, upstreamMax: 2, queue: QueuePlan(), workers: workers)
    let server = rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(4)
    rig.advance(milliseconds: 1000)
    #expect(rig.waiting == (3, 0))
    for number in 1..<4 {
      clients[number - 1].reset()
      rig.settle()
      try #require(server.accepted.count == number + 1)
      #expect(server.accepted[number].readText() == "\(number) ")
    }
    rig.expectNothingLeft()
  }

  /// The same when sessions fail after a while at an endpoint that has room: each leaves its place to the
  /// others, who fare no better.
  @Test func sessionsThatFailDoNotLetEachOtherInWithoutPause() throws {
    let rig = try waitingRig(
      ports: [9000, 9001], sessionsMax: 1, upstreamMax: 2, queue: QueuePlan(), workers: 2)
    let refusing = rig.kernel.serve(9000, .refuses)
    rig.kernel.serve(9001, .accepts)
    _ = rig.connectClients(6)
    let before = refusing.attemptCount
    rig.advance(milliseconds: 1000)
    #expect(refusing.attemptCount - before <= 12)
    rig.expectNothingLeft()
  }

  @Test func sessionsThatAreAcceptedAndResetDoNotLetEachOtherInWithoutPause() throws {
    let rig = try waitingRig(
      ports: [9000, 9001, 9002], sessionsMax: 1, upstreamMax: 3, queue: QueuePlan(), workers: 2)
    let servers = [rig.kernel.serve(9000, .resets), rig.kernel.serve(9001, .resets)]
    rig.kernel.serve(9002, .accepts)
    _ = rig.connectClients(6)
    let before = servers.map(\.attemptCount).reduce(0, +)
    rig.advance(milliseconds: 1000)
    #expect(servers.map(\.attemptCount).reduce(0, +) - before <= 40)
    rig.expectNothingLeft()
  }

  @Test func aDrainingWorkerLetsThemWait() throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan())
    let server = rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(2)
    rig.post(.stopAccepting)
    rig.settle()
    #expect(clients[1].readEnd() == .wouldBlock)
    clients[0].reset()
    rig.settle()
    #expect(server.accepted.count == 2)
    #expect(rig.reports[0].finishedCount == 0)
    clients[1].reset()
    rig.settle()
    #expect(rig.reports[0].finishedCount == 1)
    rig.expectNothingLeft()
  }
}
