// SPDX-License-Identifier: Apache-2.0
// Waiting for a place (`queue`) and for an endpoint (`hold`): who waits, in which order they go on, how
// fast, and what becomes of those who cannot.

import Plan
import Reactor
import Testing

@testable import DataPlane

/// A rig with one upstream in which sessions may wait.
private func waitingRig(
  ports: [UInt16] = [9000], sessionsMax: Int? = nil, upstreamMax: Int? = nil,
  queue: QueuePlan? = nil, hold: HoldPlan? = nil, workers: Int = 1
) throws -> Rig {
  var plan = RigPlan(ports: ports)
  plan.workers = workers
  plan.upstreams[0].endpoints = ports.map { EndpointPlan(port: $0, sessionsMax: sessionsMax) }
  plan.upstreams[0].sessionsMax = upstreamMax
  plan.upstreams[0].queue = queue
  plan.upstreams[0].hold = hold
  return try Rig(plan)
}

extension Rig {
  fileprivate var waiting: (queued: Int, held: Int) { topology.upstreams[0].state.room.waiting }
  fileprivate var statistics: UpstreamStatistics { topology.upstreams[0].state.statistics() }

  /// Clients that say their number, in the order of their arrival.
  fileprivate func connectClients(_ count: Int, from first: Int = 0) -> [FakeStream] {
    (first..<first + count).map { number in
      let client = connectClient()
      client.write("\(number) ")
      settle()
      return client
    }
  }

  fileprivate func expectNothingLeft() {
    for worker in workers where worker.link.inbox.post(.resetAll(.killed)) {}
    settle()
    #expect(leftovers == [])
    #expect(tearDown() == [])
  }
}

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

@Suite struct HoldTests {
  private let hold = HoldPlan(timeout: .seconds(10), length: 1000, ratePerSecond: 50)

  @Test(arguments: [1, 2])
  func clientsGoOnAtTheRateOnceAnEndpointIsUp(workers: Int) throws {
    let rig = try waitingRig(hold: hold, workers: workers)
    let server = rig.kernel.serve(9000, .accepts)
    rig.topology.mark(0, .down)
    _ = rig.connectClients(40)
    rig.advance(milliseconds: 3000)
    #expect(server.attemptCount == 0)
    #expect(rig.waiting == (0, 40))
    rig.topology.mark(0, .up)
    rig.advance(milliseconds: 100, step: 5)
    #expect((3...7).contains(server.accepted.count))
    rig.advance(milliseconds: 300, step: 5)
    #expect((18...22).contains(server.accepted.count))
    rig.advance(milliseconds: 500, step: 5)
    #expect(server.accepted.count == 40)
    // In the order of their arrival.
    #expect(server.accepted.map { $0.readText() } == (0..<40).map { "\($0) " })
    rig.expectNothingLeft()
  }

  @Test func newcomersGoBehindThoseWhoAreHeld() throws {
    let rig = try waitingRig(hold: hold)
    let server = rig.kernel.serve(9000, .accepts)
    rig.topology.mark(0, .down)
    _ = rig.connectClients(10)
    rig.topology.mark(0, .up)
    rig.advance(milliseconds: 50, step: 5)
    _ = rig.connectClients(1, from: 10)
    rig.advance(milliseconds: 400, step: 5)
    #expect(server.accepted.map { $0.readText() } == (0..<11).map { "\($0) " })
    // Now that nobody waits, nobody is held up.
    _ = rig.connectClients(1, from: 11)
    #expect(server.accepted.count == 12)
    rig.expectNothingLeft()
  }

  @Test func whoeverHasBeenHeldTooLongIsReset() throws {
    let rig = try waitingRig(
      hold: HoldPlan(timeout: .milliseconds(300), length: 2, ratePerSecond: 50))
    rig.kernel.serve(9000, .accepts)
    rig.topology.mark(0, .down)
    let clients = rig.connectClients(3)
    #expect(clients[2].readEnd() == .failed(.connectionReset))
    let full = rig.takeEnds().first?.end
    #expect(full == SessionEnd(origin: .proxy, reason: .holdFull, phase: .waiting))
    rig.advance(milliseconds: 310)
    #expect(clients[..<2].allSatisfy { $0.readEnd() == .failed(.connectionReset) })
    #expect(rig.takeEnds().allSatisfy { $0.end?.reason == .holdTimedOut })
    #expect(rig.statistics.holdTimeouts == 2)
    #expect(rig.statistics.holdOverflows == 1)
    rig.expectNothingLeft()
  }

  @Test func withoutChecksTheHeadTriesNowAndThenAndTheOthersFollow() throws {
    let rig = try waitingRig(ports: [9000, 9001], hold: hold)
    let servers = (9000...9001).map { rig.kernel.serve(UInt16($0), .refuses) }
    _ = rig.connectClients(20)
    #expect(rig.waiting == (0, 20))
    // One of them has found out for all.
    let attempts = servers.map(\.attemptCount).reduce(0, +)
    #expect(attempts == 2)
    rig.advance(milliseconds: 2000)
    // Four times a second, at both endpoints.
    #expect((12...18).contains(servers.map(\.attemptCount).reduce(0, +) - attempts))
    servers[1].manner = .accepts
    rig.advance(milliseconds: 300, step: 5)
    #expect(!servers[1].accepted.isEmpty)
    rig.advance(milliseconds: 500, step: 5)
    #expect(servers[1].accepted.count == 20)
    #expect(servers[1].accepted.first?.readText() == "0 ")
    rig.expectNothingLeft()
  }

  @Test func anEndpointThatAcceptsAndResetsCountsAsOneThatFails() throws {
    let rig = try waitingRig(hold: hold)
    let server = rig.kernel.serve(9000, .resets)
    let clients = rig.connectClients(3)
    #expect(clients.allSatisfy { $0.readEnd() == .wouldBlock })
    rig.advance(milliseconds: 1000)
    server.manner = .accepts
    rig.advance(milliseconds: 500)
    #expect(server.accepted.suffix(3).map { $0.readText() }.contains("0 "))
    #expect(clients.allSatisfy { $0.readEnd() == .wouldBlock })
    rig.expectNothingLeft()
  }

  @Test func ourOwnShortageIsNoReasonToWait() throws {
    let rig = try waitingRig(hold: hold)
    rig.kernel.serve(9000, .hasNoPorts)
    let clients = rig.connectClients(1)
    #expect(clients[0].readEnd() == .failed(.connectionReset))
    #expect(rig.takeEnds().compactMap(\.end).map(\.reason) == [.outOfPorts])
    rig.expectNothingLeft()
  }

  @Test func whenTheHoldIsTakenAwayNobodyIsHeld() throws {
    let rig = try waitingRig(hold: hold)
    rig.kernel.serve(9000, .accepts)
    rig.topology.mark(0, .down)
    let clients = rig.connectClients(3)
    rig.change { $0.upstreams[0].hold = nil }
    rig.settle()
    rig.advance(milliseconds: 20)
    #expect(clients.allSatisfy { $0.readEnd() == .failed(.connectionReset) })
    #expect(Set(rig.takeEnds().compactMap(\.end?.reason)) == [.allDown])
    rig.expectNothingLeft()
  }

  @Test func whoeverIsHeldMayHaveToQueueThen() throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan(), hold: hold)
    let server = rig.kernel.serve(9000, .accepts)
    rig.topology.mark(0, .down)
    let clients = rig.connectClients(4)
    rig.topology.mark(0, .up)
    rig.advance(milliseconds: 1000)
    #expect(server.accepted.count == 1)
    for number in 0..<4 {
      try #require(server.accepted.count > number)
      #expect(server.accepted[number].readText() == "\(number) ")
      clients[number].reset()
      rig.advance(milliseconds: 300)
    }
    rig.expectNothingLeft()
  }

  @Test func whoeverQueuesIsHeldWhenNobodyIsThereAnyMore() throws {
    let rig = try waitingRig(
      sessionsMax: 1, queue: QueuePlan(length: 10, timeout: .milliseconds(500)),
      hold: HoldPlan(timeout: .seconds(30), ratePerSecond: 50))
    let server = rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(3)
    #expect(rig.waiting == (2, 0))
    rig.topology.mark(0, .down)
    rig.advance(milliseconds: 100)
    let late = rig.connectClients(1, from: 3)
    #expect(rig.waiting == (0, 3))
    rig.advance(milliseconds: 3000)
    #expect((clients + late).allSatisfy { $0.readEnd() == .wouldBlock })
    #expect(rig.statistics.queueTimeouts == 0)
    clients[0].reset()
    rig.settle()
    rig.topology.mark(0, .up)
    rig.advance(milliseconds: 100)
    #expect(server.accepted.count == 2)
    #expect(server.accepted.last?.readText() == "1 ")
    // Those behind have no place now, and most of the time for that is left.
    rig.advance(milliseconds: 300)
    #expect((clients + late).dropFirst().allSatisfy { $0.readEnd() == .wouldBlock })
    #expect(rig.statistics.queued == 2)
    #expect(rig.statistics.held == 3)
    rig.expectNothingLeft()
  }

  @Test func theTimeInTheHoldIsNoneInTheQueue() throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan(), hold: hold)
    rig.kernel.serve(9000, .accepts)
    rig.topology.mark(0, .down)
    let clients = rig.connectClients(2)
    rig.advance(milliseconds: 8000, step: 50)
    rig.topology.mark(0, .up)
    rig.advance(milliseconds: 200)
    #expect(rig.waiting == (1, 0))
    rig.advance(milliseconds: 4700, step: 50)
    #expect(clients[1].readEnd() == .wouldBlock)
    rig.advance(milliseconds: 300, step: 50)
    #expect(clients[1].readEnd() == .failed(.connectionReset))
    #expect(rig.takeEnds().compactMap(\.end?.reason) == [.queueTimedOut])
    rig.expectNothingLeft()
  }

  @Test func moreNewcomersThanTheRateDoNotKeepTheRoomOccupied() throws {
    let rig = try waitingRig(hold: hold)
    let server = rig.kernel.serve(9000, .accepts)
    rig.topology.mark(0, .down)
    _ = rig.connectClients(20)
    rig.advance(milliseconds: 100, step: 5)
    rig.topology.mark(0, .up)
    // Two hundred come per second, and fifty go on.
    for number in 20..<420 {
      _ = rig.connectClients(1, from: number)
      rig.advance(milliseconds: 5, step: 5)
      if number == 80 { #expect((14...17).contains(server.accepted.count)) }
    }
    #expect(rig.waiting == (0, 0))
    // Several go on at once at the end, and the network has an order of its own.
    let texts = server.accepted.map { $0.readText() }
    #expect(texts[..<20].elementsEqual((0..<20).map { "\($0) " }))
    #expect(Set(texts) == Set((0..<420).map { "\($0) " }))
    rig.expectNothingLeft()
  }

  @Test func aQueueWithoutAHoldIsEmptiedWhenAllAreDown() throws {
    let rig = try waitingRig(sessionsMax: 1, queue: QueuePlan(length: 100, timeout: .seconds(60)))
    rig.kernel.serve(9000, .accepts)
    let clients = rig.connectClients(5)
    rig.topology.mark(0, .down)
    rig.advance(milliseconds: 600)
    #expect(clients[1...].allSatisfy { $0.readEnd() == .failed(.connectionReset) })
    #expect(Set(rig.takeEnds().compactMap(\.end?.reason)) == [.allDown])
    #expect(clients[0].readEnd() == .wouldBlock)
    rig.expectNothingLeft()
  }
}

@Suite struct PaceGrowthTests {
  private func moment(_ milliseconds: UInt64) -> Instant {
    Instant(nanoseconds: 1_000_000_000 + milliseconds * 1_000_000)
  }

  @Test func thePaceDoublesFourTimesASecond() {
    var growth = PaceGrowth()
    for milliseconds in 0...1000 as ClosedRange<UInt64> {
      growth.look(now: moment(milliseconds), failures: 7)
      growth.noteRelease()
    }
    #expect(growth.doublings == 4)
    #expect(growth.interval(of: 16_000_000) == 1_000_000)
    for step in 5...100 as ClosedRange<UInt64> { growth.look(now: moment(250 * step), failures: 7) }
    #expect(growth.interval(of: 10_000_000) == PaceGrowth.intervalMin)
  }

  @Test func itBeginsAnewWhenMostFailAndOnlyThen() {
    var growth = PaceGrowth()
    growth.look(now: moment(0), failures: 0)
    for _ in 0..<10 { growth.noteRelease() }
    growth.look(now: moment(250), failures: 5)
    #expect(growth.doublings == 1)
    for _ in 0..<10 { growth.noteRelease() }
    growth.look(now: moment(500), failures: 11)
    #expect(growth.doublings == 0)
  }
}
