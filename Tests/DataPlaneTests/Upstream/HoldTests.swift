// SPDX-License-Identifier: Apache-2.0
// Waiting for an endpoint (`hold`): who waits, how fast they go on, and what becomes of those who cannot.

import Plan
import Reactor
import Testing

@testable import DataPlane

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
