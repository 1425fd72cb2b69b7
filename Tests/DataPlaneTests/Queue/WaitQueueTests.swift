// SPDX-License-Identifier: Apache-2.0
// The queue of an upstream by itself: the order of sessions, and what becomes of places that are granted.

import Balancing
import Reactor
import Testing

@testable import DataPlane

@Suite struct WaitQueueTests {
  private let queue = WaitQueue()

  private func enter(
    _ number: Int, _ kind: WaitQueue.Kind = .place, tried: UInt64 = 0, max: Int = 100,
    sequence: UInt32? = nil, at moment: UInt64 = 1
  ) throws -> QueueEntry {
    try queue.enter(number, kind, tried: tried, max: max, sequence: sequence, at: moment)
  }

  // MARK: Order

  @Test func sessionsGoOnInTheOrderOfTheirArrivalOverAllWorkers() throws {
    for number in 0..<6 {
      _ = try queue.enter(number, worker: number % 3)
    }
    var places = FreePlaces([4])
    let grants = queue.handOut(&places)
    #expect(grants.map(\.number) == [0, 1, 2, 3])
    #expect(grants.map(\.worker) == [0, 1, 2, 0])
    #expect(queue.waiting == (2, 0))
    #expect(queue.pass(0)?.number == 4)
  }

  @Test func aSessionThatIsBackHasItsOldPlaceInTheOrder() throws {
    let entries = try (0..<4).map { try enter($0) }
    var places = FreePlaces([2])
    let granted = queue.handOut(&places)
    #expect(granted.map(\.number) == [0, 1])
    for grant in granted { #expect(queue.claim(grant.ticket)) }
    _ = try enter(4)
    _ = try enter(1, sequence: entries[1].sequence)
    _ = try enter(0, sequence: entries[0].sequence)
    var more = FreePlaces([10])
    #expect(queue.handOut(&more).map(\.number) == [0, 1, 2, 3, 4])
  }

  @Test func noMoreAreGrantedThanAskedFor() throws {
    for number in 0..<5 { _ = try enter(number) }
    var places = FreePlaces([5])
    #expect(queue.handOut(&places, max: 2).map(\.number) == [0, 1])
    #expect(places.free == [3])
    #expect(queue.handOut(&places).map(\.number) == [2, 3, 4])
  }

  @Test func theHeadHoldsUpThoseThatWaitForSomethingElse() throws {
    _ = try enter(0, .endpoint)
    _ = try enter(1, .place)
    var places = FreePlaces([2])
    #expect(queue.handOut(&places) == [])
    #expect(queue.pass(0) == nil)
    #expect(queue.head?.kind == .endpoint)
    #expect(queue.handOut(&places, .endpoint).map(\.number) == [0])
    #expect(queue.pass(0)?.number == 1)
    #expect(queue.head == nil)
  }

  // MARK: Bounds

  @Test func eachKindHasItsOwnBound() throws {
    _ = try enter(0, .place, max: 1)
    #expect(throws: QueueIsFull.self) { try enter(1, .place, max: 1) }
    _ = try enter(2, .endpoint, max: 1)
    #expect(throws: QueueIsFull.self) { try enter(3, .endpoint, max: 1) }
    #expect(queue.waiting == (1, 1))
  }

  @Test func aSessionThatReturnsIsNotTurnedAway() throws {
    let entry = try enter(0, max: 1)
    #expect(queue.pass(0)?.number == 0)
    #expect(queue.claim(entry.ticket))
    _ = try enter(1, max: 1)
    let back = try enter(0, max: 1, sequence: entry.sequence)
    #expect(back.sequence == entry.sequence)
    #expect(queue.waiting == (2, 0))
    #expect(queue.pass(0)?.number == 0)
  }

  @Test func aGrantThatIsUnderWayTakesNoRoomInTheQueue() throws {
    _ = try enter(0, max: 1)
    #expect(queue.pass(0)?.number == 0)
    #expect(!queue.isOccupied)
    _ = try enter(1, max: 1)
    #expect(queue.waiting == (1, 0))
  }

  // MARK: Endpoints that have failed a session

  @Test func aSessionIsPassedOverWhereOnlyEndpointsAreFreeThatHaveFailedIt() throws {
    _ = try enter(0, tried: 0b01)
    _ = try enter(1, tried: 0b11)
    _ = try enter(2)
    var places = FreePlaces([1, 0])
    let grants = queue.handOut(&places)
    #expect(grants.map(\.number) == [2])
    #expect(grants.map(\.endpoint) == [0])
    places.free = [1, 1]
    #expect(queue.handOut(&places).map(\.number) == [0])
    // What is left has failed everywhere, and waits for a probe.
    #expect(queue.waiting == (1, 0))
    let probes = queue.handOut(&places, ignoringTried: true)
    #expect(probes.map(\.number) == [1])
    #expect(probes.map(\.isProbe) == [true])
    #expect(probes.map(\.tried) == [0])
  }

  @Test func aPlaceIsPassedToTheFirstSessionThatItsEndpointHasNotFailed() throws {
    _ = try enter(0, tried: 0b01)
    _ = try enter(1, tried: 0b10)
    #expect(queue.pass(0)?.number == 1)
    #expect(queue.pass(0) == nil)
    #expect(queue.pass(1)?.number == 0)
  }

  @Test func forgottenFailuresLetASessionHaveAnyEndpoint() throws {
    _ = try enter(0, tried: 0b01)
    #expect(queue.pass(0) == nil)
    queue.forgetTried()
    #expect(queue.pass(0)?.number == 0)
  }

  @Test func whereNothingIsAvailableNoSessionIsAskedAbout() throws {
    for number in 0..<3 { _ = try enter(number, tried: number == 0 ? 1 : 0) }
    var asked = 0
    let (granted, isFull) = queue.handOut(
      .place,
      pick: { _, _ in
        asked += 1
        return .unavailable
      }, post: { _, _, _ in true }, release: { _ in })
    #expect(granted == 0)
    #expect(!isFull)
    #expect(asked == 1)
  }

  @Test func itIsSaidWhenHandingOutEndedBecauseEverythingIsFull() throws {
    for number in 0..<3 { _ = try enter(number) }
    var places = FreePlaces([2])
    let result = queue.handOut(
      .place, pick: { _, tried in places.pick(tried) }, post: { _, _, _ in true },
      release: { _ in })
    #expect(result == (2, true))
  }

  // MARK: Grants

  @Test func eachPlaceIsGrantedToExactlyOneSession() throws {
    for number in 0..<3 { _ = try enter(number) }
    let first = try #require(queue.pass(0))
    let second = try #require(queue.pass(0))
    var places = FreePlaces([1])
    let third = queue.handOut(&places)
    #expect([first.number, second.number] + third.map(\.number) == [0, 1, 2])
    #expect(queue.pass(0) == nil)
    #expect(queue.handOut(&places) == [])
  }

  @Test func aSessionThatLeavesBeforeAGrantGetsNone() throws {
    let entries = try (0..<3).map { try enter($0) }
    queue.leave(entries[0].ticket)
    queue.leave(entries[1].ticket)
    #expect(queue.waiting == (1, 0))
    #expect(queue.pass(0)?.number == 2)
    #expect(queue.pass(0) == nil)
  }

  @Test func aGrantToASessionThatHasLeftIsRefused() throws {
    let entry = try enter(0)
    #expect(queue.pass(0)?.number == 0)
    #expect(queue.stay(of: entry.ticket) == nil)
    queue.leave(entry.ticket)
    // Its ticket is no other session's as long as the grant is under way.
    #expect(try enter(1).ticket != entry.ticket)
    #expect(!queue.claim(entry.ticket))
    #expect(try enter(2).ticket == entry.ticket)
  }

  @Test func aGrantToASessionThatStillWaitsIsClaimedOnce() throws {
    let entry = try enter(0)
    #expect(queue.pass(0)?.ticket == entry.ticket)
    #expect(queue.claim(entry.ticket))
    #expect(!queue.isOccupied)
    #expect(queue.pass(0) == nil)
  }

  @Test func aPlaceThatAWorkerDoesNotTakeGoesToTheNextSession() throws {
    for number in 0..<3 { _ = try queue.enter(number, worker: number) }
    #expect(queue.pass(0, refusing: [0])?.number == 1)
    #expect(queue.waiting == (2, 0))
    var places = FreePlaces([1])
    #expect(queue.handOut(&places, refusing: [0]).map(\.number) == [2])
    #expect(places.free == [0])
    #expect(queue.pass(0, refusing: [0]) == nil)
    #expect(queue.pass(0)?.number == 0)
  }

  @Test func aPlaceThatNoWorkerTakesIsGivenBack() throws {
    for number in 0..<3 { _ = try enter(number) }
    var places = FreePlaces([2])
    #expect(queue.handOut(&places, refusing: [0]) == [])
    #expect(places.free == [2])
    #expect(queue.waiting == (3, 0))
    #expect(queue.head?.sequence == 1)
  }

  // MARK: On the control loop

  @Test func allSessionsWaitForAnEndpointOnceNoneIsAvailable() throws {
    let entries = try [enter(0, .place), enter(1, .endpoint), enter(2, .place)]
    queue.setKind(.endpoint, at: Instant(nanoseconds: 5))
    #expect(queue.waiting == (0, 3))
    #expect(queue.lastKind == .endpoint)
    let stays = entries.map { queue.stay(of: $0.ticket) }
    #expect(stays.map { $0?.kind } == [.endpoint, .endpoint, .endpoint])
    #expect(stays.map { $0?.since.nanoseconds } == [5, 1, 5])
    queue.setKind(.place, at: Instant(nanoseconds: 9))
    #expect(queue.waiting == (3, 0))
    #expect(entries.map { queue.stay(of: $0.ticket)?.since.nanoseconds } == [9, 9, 9])
    #expect((0..<3).map { _ in queue.pass(0)?.number } == [0, 1, 2])
  }

  @Test func aGrantThatIsUnderWayIsNotChangedByWhatTheOthersWaitFor() throws {
    let entry = try enter(0)
    _ = try enter(1)
    #expect(queue.pass(0)?.number == 0)
    queue.setKind(.endpoint, at: Instant(nanoseconds: 5))
    #expect(queue.waiting == (0, 1))
    #expect(queue.claim(entry.ticket))
  }

  @Test func aQueueIsAttendedToOnceUntilThatIsGivenUp() throws {
    let entry = try enter(0)
    #expect(entry.isUnattended)
    #expect(try !enter(1).isUnattended)
    #expect(!queue.giveUpAttending())
    queue.leave(entry.ticket)
    #expect(!queue.giveUpAttending())
    #expect(queue.pass(0)?.number == 1)
    #expect(queue.giveUpAttending())
    #expect(try enter(2).isUnattended)
  }

  @Test func allThatWaitAreNamedInTheirOrder() throws {
    for number in 0..<3 { _ = try queue.enter(number, worker: 2 - number) }
    #expect(queue.pass(0)?.number == 0)
    #expect(queue.waiters().map(\.worker) == [1, 0])
    #expect(queue.waiters().map(\.token.index) == [1, 2])
  }
}
