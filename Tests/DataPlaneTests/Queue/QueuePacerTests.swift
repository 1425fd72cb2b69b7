// SPDX-License-Identifier: Apache-2.0
// When the control loop hands out, and to which sessions: the pacer with a queue and a topology, without
// workers. What sessions make of it is in HoldTests.swift and QueueTests.swift.

import Balancing
import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct QueuePacerTests {
  private let hold = HoldPlan(timeout: .seconds(60), length: 1000, ratePerSecond: 50)

  @Test func aCrowdGoesOnAtTheRateOfTheHold() throws {
    let pacing = try Pacing(hold: hold)
    pacing.topology.mark(0, .down)
    for number in 0..<20 { try pacing.enter(number, .endpoint) }
    pacing.advance(to: 1000)
    #expect(pacing.grants == [])
    pacing.topology.mark(0, .up)
    pacing.advance(to: 1500)
    #expect(pacing.grants.map(\.number) == Array(0..<20))
    // One at once, and the others 20 ms after one another.
    let gaps = zip(pacing.grants, pacing.grants.dropFirst()).map {
      $1.milliseconds - $0.milliseconds
    }
    #expect(gaps.allSatisfy { (19...21).contains($0) }, "\(gaps)")
    #expect((1000...1020).contains(pacing.grants[0].milliseconds))
  }

  @Test func aLateLookMakesUpForWhatFallsBetweenTwoLooksAndNoMore() throws {
    let pacing = try Pacing(hold: HoldPlan(timeout: .seconds(60), ratePerSecond: 1000))
    pacing.topology.mark(0, .down)
    for number in 0..<500 { try pacing.enter(number, .endpoint) }
    pacing.advance(to: 100)
    pacing.topology.mark(0, .up)
    pacing.advance(to: 130)
    let before = pacing.grants.count
    // The control loop was busy for a while: what it has missed is not let go all at once.
    pacing.lookLate(at: 300)
    #expect((15...25).contains(pacing.grants.count - before))
  }

  @Test func sessionsThatCameAfterTheCrowdGoOnFasterAndFaster() throws {
    let pacing = try Pacing(hold: hold)
    pacing.topology.mark(0, .down)
    try pacing.enter(0, .endpoint)
    pacing.advance(to: 300)
    pacing.topology.mark(0, .up)
    pacing.advance(to: 340)
    #expect(pacing.grants.count == 1)
    for number in 1...300 { try pacing.enter(number, .endpoint) }
    var counts: [Int] = []
    for quarter in 1...4 {
      let before = pacing.grants.count
      pacing.advance(to: 340 + 250 * quarter)
      counts.append(pacing.grants.count - before)
    }
    #expect((11...15).contains(counts[0]), "\(counts)")
    #expect(zip(counts, counts.dropFirst()).allSatisfy { $1 * 10 > $0 * 17 }, "\(counts)")
  }

  @Test func whileConnectingFailsTheHeadIsAProbeFourTimesASecond() throws {
    let pacing = try Pacing(hold: hold)
    for number in 0..<20 { try pacing.enter(number, .endpoint, tried: 1) }
    pacing.queue.isFailing = true
    pacing.advance(to: 1100)
    #expect(pacing.grants.map(\.number) == [0, 1, 2, 3])
    #expect(pacing.grants.allSatisfy { $0.isProbe && $0.tried == 0 })
    let moments = [0] + pacing.grants.map(\.milliseconds)
    let gaps = zip(moments, moments.dropFirst()).map { $1 - $0 }
    #expect(gaps.allSatisfy { (250...275).contains($0) }, "\(gaps)")
    // A connection stands: the others follow at the rate.
    pacing.queue.isFailing = false
    pacing.advance(to: 1320)
    #expect((14...17).contains(pacing.grants.count), "\(pacing.grants.count)")
  }

  @Test func anEndpointThatIsBackIsTriedAtOnce() throws {
    let pacing = try Pacing(hold: hold)
    for number in 0..<2 { try pacing.enter(number, .endpoint, tried: 1) }
    pacing.queue.isFailing = true
    pacing.advance(to: 100)
    pacing.topology.mark(0, .down)
    pacing.advance(to: 140)
    pacing.topology.mark(0, .up)
    pacing.advance(to: 180)
    #expect(pacing.grants.first?.number == 0)
    #expect(!pacing.queue.isFailing)
  }

  @Test func thoseThatWaitForAnEndpointWaitForAPlaceOnceAllAreFull() throws {
    let pacing = try Pacing(sessionsMax: 2, queue: QueuePlan(), hold: hold)
    pacing.topology.mark(0, .down)
    for number in 0..<5 { try pacing.enter(number, .endpoint) }
    pacing.advance(to: 100)
    #expect(pacing.queue.waiting == (0, 5))
    pacing.topology.mark(0, .up)
    pacing.advance(to: 200)
    #expect(pacing.grants.map(\.number) == [0, 1])
    #expect(pacing.queue.waiting == (3, 0))
    // Places that no worker hands out, such as those of a bound that was raised, are found by looking.
    pacing.topology.giveBackPlace(EndpointIndex(0))
    pacing.advance(to: 230)
    #expect(pacing.grants.map(\.number) == [0, 1, 2])
  }

  @Test func withoutAQueueThoseThatFindAllFullGoOnWaitingForAnEndpoint() throws {
    let pacing = try Pacing(sessionsMax: 1, hold: hold)
    for number in 0..<3 { try pacing.enter(number, .endpoint) }
    pacing.advance(to: 200)
    #expect(pacing.grants.map(\.number) == [0])
    #expect(pacing.queue.waiting == (0, 2))
    pacing.topology.giveBackPlace(EndpointIndex(0))
    pacing.advance(to: 230)
    #expect(pacing.grants.map(\.number) == [0, 1])
  }

  @Test func thoseThatWaitForAPlaceWaitForAnEndpointOnceNoneIsAvailable() throws {
    let pacing = try Pacing(sessionsMax: 1, queue: QueuePlan(), hold: hold)
    for number in 0..<3 { try pacing.enter(number, .place, tried: 1) }
    pacing.topology.mark(0, .down)
    pacing.advance(to: 50)
    #expect(pacing.queue.waiting == (0, 3))
    #expect(pacing.giveUps == [])
  }

  @Test func withoutAHoldThoseThatWaitForAPlaceAreToldThatNoneCanCome() throws {
    let pacing = try Pacing(sessionsMax: 1, queue: QueuePlan())
    for number in 0..<3 { try pacing.enter(number, .place, tried: 1) }
    pacing.topology.mark(0, .down)
    pacing.advance(to: 270)
    #expect(pacing.giveUps == [0, 1, 2])
    // Their workers end them. As long as they have not, they are told again, four times a second.
    pacing.advance(to: 520)
    #expect(pacing.giveUps == [0, 1, 2, 0, 1, 2])
  }

  @Test func aSessionThatHasFailedEverywhereIsAProbeFourTimesASecond() throws {
    let pacing = try Pacing(sessionsMax: 1, queue: QueuePlan())
    try pacing.enter(0, .place, tried: 1)
    pacing.advance(to: 240)
    #expect(pacing.grants == [])
    pacing.advance(to: 280)
    #expect(pacing.grants.map(\.number) == [0])
    #expect(pacing.grants.map(\.isProbe) == [true])
  }

  @Test func aQueueThatStaysEmptyIsAttendedToForAWhileAndThenNoMore() throws {
    let pacing = try Pacing(hold: hold)
    let entry = try pacing.enter(0, .endpoint)
    pacing.topology.mark(0, .down)
    pacing.advance(to: 100)
    pacing.queue.leave(entry.ticket)
    pacing.advance(to: 1050)
    #expect(!pacing.isDone)
    pacing.advance(to: 1200)
    #expect(pacing.isDone)
    #expect(try pacing.enter(1, .endpoint).isUnattended)
  }

  @Test func aQueueWhoseUpstreamIsGoneIsAttendedToUntilNothingWaits() throws {
    let pacing = try Pacing(hold: hold)
    let entry = try pacing.enter(0, .endpoint)
    pacing.loseUpstream()
    pacing.advance(to: 100)
    #expect(!pacing.isDone)
    pacing.queue.leave(entry.ticket)
    pacing.advance(to: 140)
    #expect(pacing.isDone)
  }
}

/// A pacer that is called when it wants to be, and what it hands out.
private final class Pacing {
  struct Granted: Equatable {
    let number: Int
    let milliseconds: Int
    let isProbe: Bool
    let tried: UInt64
  }

  private(set) var topology: Topology
  let state: UpstreamState
  private(set) var grants: [Granted] = []
  private(set) var giveUps: [Int] = []
  private var pacer: QueuePacer
  private let start = Instant(nanoseconds: 1_000_000_000)
  private var lookAt: Instant?

  init(sessionsMax: Int? = nil, queue: QueuePlan? = nil, hold: HoldPlan? = nil) throws {
    var plan = UpstreamPlan(
      name: "u", endpoints: [EndpointPlan(port: 9000, sessionsMax: sessionsMax)])
    plan.queue = queue
    plan.hold = hold
    topology = try Topology.of(plan)
    state = topology.upstreams[0].state
    pacer = QueuePacer(state, now: start)
    lookAt = start
  }

  var queue: WaitQueue { state.queue }
  var isDone: Bool { lookAt == nil }

  @discardableResult
  func enter(_ number: Int, _ kind: WaitQueue.Kind, tried: UInt64 = 0) throws -> QueueEntry {
    try queue.enter(number, kind, tried: tried, max: .max)
  }

  /// The plan has another upstream now.
  func loseUpstream() {
    guard let other = try? Topology.of(UpstreamPlan(name: "v", endpoints: [EndpointPlan(port: 1)]))
    else { return }
    topology = other
  }

  /// Looks whenever the pacer wants to, up to a moment.
  func advance(to milliseconds: Int) {
    let end = start.advanced(by: UInt64(milliseconds) * 1_000_000)
    while let now = lookAt, now <= end { look(now) }
  }

  /// Looks once, later than the pacer wants to.
  func lookLate(at milliseconds: Int) {
    look(start.advanced(by: UInt64(milliseconds) * 1_000_000))
  }

  private func look(_ now: Instant) {
    let milliseconds = Int(now.nanoseconds(since: start) / 1_000_000)
    lookAt = pacer.look(topology, now: now) { _, message in
      switch message {
      case .grant(let grant):
        grants.append(
          Granted(
            number: grant.token.index, milliseconds: milliseconds, isProbe: grant.isProbe,
            tried: grant.tried))
      case .giveUp(let token): giveUps.append(token.index)
      default: return false
      }
      return true
    }
  }
}
