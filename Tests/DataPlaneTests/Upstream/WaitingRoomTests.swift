// SPDX-License-Identifier: Apache-2.0
// The order in which sessions wait, beside a list that is searched from the front.

import Balancing
import Reactor
import Testing

@testable import DataPlane

@Suite struct WaitingRoomTests {
  private func token(_ number: Int) -> Token {
    Token(.downstream, index: number, generation: UInt32(number))
  }

  private func enter(
    _ room: WaitingRoom, _ number: Int, _ kind: WaitingRoom.Kind = .queue, max: Int = 100,
    sequence: UInt32? = nil
  ) throws -> (ticket: UInt32, sequence: UInt32, isFirst: Bool, isUnattended: Bool) {
    let entry = room.enter(
      worker: 0, token: token(number), kind: kind, max: max, sequence: sequence)
    guard case .entered(let ticket, let sequence, let isFirst, let isUnattended) = entry else {
      throw TurnedAway()
    }
    return (ticket, sequence, isFirst, isUnattended)
  }

  private struct TurnedAway: Error {}

  @Test(arguments: [WaitingRoom.Kind.queue, .hold])
  func whoeverCameFirstIsReleasedFirst(_ kind: WaitingRoom.Kind) throws {
    let room = WaitingRoom()
    for number in 1...3 { _ = try enter(room, number, kind) }
    for number in 1...3 {
      let released = try #require(room.release(kind))
      #expect(released.token == token(number))
      #expect(room.admit(released.ticket))
      #expect(room.settle() == .nothing)
    }
    #expect(room.release(kind) == nil)
  }

  /// There is one place, but there may be endpoints for several.
  @Test func severalMayLookForAnEndpointAndOneForAPlace() throws {
    let room = WaitingRoom()
    for number in 1...4 { _ = try enter(room, number, number < 3 ? .hold : .queue) }
    #expect((1...2).compactMap { _ in room.release(.hold)?.token.index } == [1, 2])
    #expect(room.release(.queue) == nil)
    #expect(room.waiting == (2, 0))
  }

  @Test func onlyTheFirstOneMustLookAgain() throws {
    let room = WaitingRoom()
    let first = try enter(room, 1)
    #expect(first.isFirst)
    #expect(try !enter(room, 2).isFirst)
    // Still ahead of others, until it has looked.
    #expect(room.release(.queue)?.token == token(1))
    #expect(room.admit(first.ticket))
    let third = try enter(room, 3)
    #expect(!third.isFirst)
    room.settle()
    #expect(room.isOccupied)
  }

  @Test func whoeverIsBackHasItsOldPlace() throws {
    let room = WaitingRoom()
    let entries = try (1...4).map { try enter(room, $0, .hold) }
    for _ in 1...2 { _ = room.release(.hold) }
    #expect(room.admit(entries[0].ticket))
    #expect(room.admit(entries[1].ticket))
    _ = try enter(room, 2, .hold, sequence: entries[1].sequence)
    _ = try enter(room, 1, .hold, sequence: entries[0].sequence)
    room.settle()
    room.settle()
    #expect((1...4).compactMap { _ in room.release(.hold)?.token.index } == [1, 2, 3, 4])
  }

  @Test func eachKindHasItsOwnBound() throws {
    let room = WaitingRoom()
    _ = try enter(room, 1, .queue, max: 1)
    #expect(throws: TurnedAway.self) { try enter(room, 2, .queue, max: 1) }
    let held = try enter(room, 3, .hold, max: 1)
    #expect(throws: TurnedAway.self) { try enter(room, 4, .hold, max: 1) }
    // Who was counted once is not turned away by those who came later.
    #expect(!room.leave(held.ticket))
    _ = try enter(room, 5, .hold, max: 1)
    _ = try enter(room, 3, .hold, max: 1, sequence: held.sequence)
    #expect(room.waiting == (1, 2))
  }

  @Test func theHeadIsReleasedForWhatItWaitsForAndNothingElse() throws {
    let room = WaitingRoom()
    _ = try enter(room, 1, .hold)
    _ = try enter(room, 2, .queue)
    #expect(room.release(.queue) == nil)
    #expect(room.headKind == .hold)
    #expect(room.release(.hold)?.token == token(1))
    #expect(room.headKind == .queue)
  }

  @Test func whoeverLeavesSaysWhetherSomebodyElseIsToHaveItsRelease() throws {
    let room = WaitingRoom()
    let first = try enter(room, 1)
    let second = try enter(room, 2)
    _ = room.release(.queue)
    #expect(room.leave(first.ticket))
    #expect(!room.leave(second.ticket))
    #expect(!room.isOccupied)
    #expect(!room.admit(first.ticket))
  }

  @Test func aReleaseCanBeTakenBack() throws {
    let room = WaitingRoom()
    let first = try enter(room, 1)
    _ = try enter(room, 2)
    _ = room.release(.queue)
    room.takeBack(first.ticket)
    #expect(room.waiting == (2, 0))
    #expect(room.release(.queue)?.token == token(1))
  }

  /// A place becomes free while the first one looks, in vain: it is not for the second one.
  @Test func aPlaceThatBecomesFreeWhileOneLooksIsForTheHead() throws {
    let room = WaitingRoom()
    let entries = try (1...2).map { try enter(room, $0) }
    _ = room.release(.queue)
    #expect(room.admit(entries[0].ticket))
    #expect(room.release(.queue, isFollowing: true) == nil)
    #expect(room.release(.queue) == nil)
    #expect(room.release(.queue, isFollowing: true) == nil)
    let back = try enter(room, 1, sequence: entries[0].sequence)
    #expect(room.settle() == .place)
    #expect(room.release(.queue)?.token == token(1))
    // It is said once, and not if there was nothing.
    #expect(room.admit(back.ticket))
    #expect(room.settle() == .nothing)
    #expect(room.release(.queue)?.token == token(2))
    #expect(room.admit(entries[1].ticket))
    #expect(room.release(.queue, isFollowing: true) == nil)
    #expect(room.settle() == .more)
  }

  @Test func whereNobodyLooksNobodyHasMissedAnything() throws {
    let room = WaitingRoom()
    #expect(room.release(.queue) == nil)
    let first = try enter(room, 1)
    _ = room.release(.queue)
    #expect(room.admit(first.ticket))
    #expect(room.settle() == .nothing)
  }

  @Test func whoeverWaitsForAPlaceMayHaveToWaitForAnEndpoint() throws {
    let room = WaitingRoom()
    let entries = try (1...3).map { try enter(room, $0, $0 == 2 ? .hold : .queue) }
    let moment = Instant(nanoseconds: 5)
    room.holdAll(at: moment)
    #expect(room.waiting == (0, 3))
    let stays = entries.map { room.stay(of: $0.ticket) }
    #expect(stays.map(\.kind) == [.hold, .hold, .hold])
    #expect(stays.map { $0.kindSince == moment } == [true, false, true])
    #expect(room.lastKind == .hold)
    #expect((1...3).compactMap { _ in room.release(.hold)?.token.index } == [1, 2, 3])
  }

  @Test func whoeverHasFailedIsNotDrawnInByOthers() throws {
    let room = WaitingRoom()
    let entry = room.enter(worker: 0, token: token(1), kind: .queue, max: 9, hasFailed: true)
    guard case .entered = entry else { throw TurnedAway() }
    #expect(room.release(.queue, isFollowing: true) == nil)
    #expect(room.release(.queue)?.token == token(1))
  }

  @Test func aRoomIsAttendedToOnce() throws {
    let room = WaitingRoom()
    let first = try enter(room, 1, .hold)
    #expect(first.isUnattended)
    #expect(try !enter(room, 2, .hold).isUnattended)
    #expect(!room.giveUpAttending())
    _ = room.release(.hold)
    _ = room.release(.hold)
    #expect(!room.giveUpAttending())
    #expect(room.leave(first.ticket))
    #expect(room.leave(first.ticket + 1))
    #expect(room.giveUpAttending())
    #expect(try enter(room, 3).isUnattended)
  }

  /// Whatever happens in whatever order, the room and a plain list tell the same.
  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func theRoomIsAList(seed: UInt64) throws {
    struct Waiter {
      let number: Int
      let ticket: UInt32
      let sequence: UInt32
      let kind: WaitingRoom.Kind
      var isReleased = false
    }
    var random = SplitMix64(seed: seed)
    let room = WaitingRoom()
    var waiters: [Waiter] = []
    var away: [(number: Int, sequence: UInt32)] = []
    var count = 0
    for _ in 0..<2000 {
      let kind: WaitingRoom.Kind = random.next(below: 2) == 0 ? .queue : .hold
      switch random.next(below: 5) {
      case 0, 1:
        count += 1
        let entry = try enter(room, count, kind, max: .max)
        #expect(entry.isFirst == (waiters.isEmpty && away.isEmpty))
        waiters.append(
          Waiter(number: count, ticket: entry.ticket, sequence: entry.sequence, kind: kind))
      case 2:
        let head = waiters.firstIndex { !$0.isReleased }
        let released = room.release(kind)
        let isTaken = kind == .queue && (!away.isEmpty || waiters.contains { $0.isReleased })
        guard let head, waiters[head].kind == kind, !isTaken else {
          #expect(released == nil, "seed \(seed)")
          continue
        }
        #expect(released?.token == token(waiters[head].number), "seed \(seed)")
        waiters[head].isReleased = true
      case 3 where !waiters.isEmpty:
        let position = Int(random.next(below: UInt64(waiters.count)))
        let waiter = waiters.remove(at: position)
        if waiter.isReleased, random.next(below: 2) == 0 {
          #expect(room.admit(waiter.ticket))
          away.append((waiter.number, waiter.sequence))
        } else {
          #expect(room.leave(waiter.ticket) == waiter.isReleased)
        }
      case 4 where !away.isEmpty:
        let one = away.removeFirst()
        if random.next(below: 2) == 0 {
          let entry = try enter(room, one.number, kind, max: .max, sequence: one.sequence)
          let place = waiters.firstIndex { $0.sequence > one.sequence } ?? waiters.count
          waiters.insert(
            Waiter(number: one.number, ticket: entry.ticket, sequence: one.sequence, kind: kind),
            at: place)
        }
        room.settle()
      default: break
      }
      let waiting = waiters.filter { !$0.isReleased }
      #expect(room.waiting.queued == waiting.count { $0.kind == .queue }, "seed \(seed)")
      #expect(room.waiting.held == waiting.count { $0.kind == .hold }, "seed \(seed)")
      #expect(room.isOccupied == !(waiters.isEmpty && away.isEmpty), "seed \(seed)")
    }
  }
}
