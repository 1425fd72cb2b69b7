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

  /// Has somebody look who was released, and go.
  private func pass(_ room: WaitingRoom, _ ticket: UInt32) throws -> WaitingRoom.Cause? {
    room.settle(try #require(room.admit(ticket)))
  }

  @Test(arguments: [WaitingRoom.Kind.queue, .hold], [WaitingRoom.Cause.perhaps, .place])
  func whoeverCameFirstIsReleasedFirst(
    _ kind: WaitingRoom.Kind, because cause: WaitingRoom.Cause
  ) throws {
    let room = WaitingRoom()
    for number in 1...3 { _ = try enter(room, number, kind) }
    for number in 1...3 {
      let released = try #require(room.release(kind, because: cause))
      #expect(released.token == token(number))
      #expect(try pass(room, released.ticket) == nil)
    }
    #expect(room.release(kind, because: cause) == nil)
  }

  /// Each has a place of its own; for an endpoint there may be room for all.
  @Test(arguments: [WaitingRoom.Kind.queue, .hold])
  func severalMayLookAtOnce(_ kind: WaitingRoom.Kind) throws {
    let room = WaitingRoom()
    for number in 1...3 { _ = try enter(room, number, kind) }
    let released = (1...3).map { _ in
      room.release(kind, because: kind == .queue ? .place : .perhaps)
    }
    #expect(released.map { $0?.token.index } == [1, 2, 3])
  }

  @Test(arguments: [WaitingRoom.Cause.following, .perhaps])
  func whoeverLooksWithoutKnowingOfAPlaceLooksAlone(_ cause: WaitingRoom.Cause) throws {
    let room = WaitingRoom()
    for number in 1...3 { _ = try enter(room, number) }
    let first = try #require(room.release(.queue, because: cause))
    for other in [WaitingRoom.Cause.following, .perhaps, .place] {
      #expect(room.release(.queue, because: other) == nil)
    }
    // Those who wait for an endpoint are none of its business.
    _ = try enter(room, 4, .hold)
    #expect(room.release(.hold, because: .perhaps) == nil)
    #expect(try pass(room, first.ticket) == .perhaps)
  }

  @Test func onlyTheFirstOneMustLookAgain() throws {
    let room = WaitingRoom()
    let first = try enter(room, 1)
    #expect(first.isFirst)
    #expect(try !enter(room, 2).isFirst)
    // Still ahead of others, until it has looked.
    #expect(room.release(.queue, because: .place)?.token == token(1))
    let look = try #require(room.admit(first.ticket))
    let third = try enter(room, 3)
    #expect(!third.isFirst)
    room.settle(look)
    #expect(room.isOccupied)
  }

  @Test func whoeverIsBackHasItsOldPlace() throws {
    let room = WaitingRoom()
    let entries = try (1...4).map { try enter(room, $0, .hold) }
    for _ in 1...2 { _ = room.release(.hold, because: .perhaps) }
    let looks = try (0..<2).map { try #require(room.admit(entries[$0].ticket)) }
    _ = try enter(room, 2, .hold, sequence: entries[1].sequence)
    _ = try enter(room, 1, .hold, sequence: entries[0].sequence)
    for look in looks { room.settle(look) }
    let released = (1...4).compactMap { _ in
      room.release(.hold, because: .perhaps)?.token.index
    }
    #expect(released == [1, 2, 3, 4])
  }

  @Test func eachKindHasItsOwnBound() throws {
    let room = WaitingRoom()
    _ = try enter(room, 1, .queue, max: 1)
    #expect(throws: TurnedAway.self) { try enter(room, 2, .queue, max: 1) }
    let held = try enter(room, 3, .hold, max: 1)
    #expect(throws: TurnedAway.self) { try enter(room, 4, .hold, max: 1) }
    // Who was counted once is not turned away by those who came later.
    #expect(room.leave(held.ticket) == nil)
    _ = try enter(room, 5, .hold, max: 1)
    _ = try enter(room, 3, .hold, max: 1, sequence: held.sequence)
    #expect(room.waiting == (1, 2))
  }

  @Test func theHeadIsReleasedForWhatItWaitsForAndNothingElse() throws {
    let room = WaitingRoom()
    _ = try enter(room, 1, .hold)
    _ = try enter(room, 2, .queue)
    #expect(room.release(.queue, because: .place) == nil)
    #expect(room.headKind == .hold)
    #expect(room.release(.hold, because: .perhaps)?.token == token(1))
    #expect(room.headKind == .queue)
  }

  @Test func whoeverLeavesSaysWhetherSomebodyElseIsToHaveItsRelease() throws {
    let room = WaitingRoom()
    let first = try enter(room, 1)
    let second = try enter(room, 2)
    _ = room.release(.queue, because: .place)
    #expect(room.leave(first.ticket) == .place)
    #expect(room.leave(second.ticket) == nil)
    #expect(!room.isOccupied)
    #expect(room.admit(first.ticket) == nil)
  }

  @Test func aReleaseCanBeTakenBack() throws {
    let room = WaitingRoom()
    let first = try enter(room, 1)
    _ = try enter(room, 2)
    _ = room.release(.queue, because: .perhaps)
    room.takeBack(first.ticket)
    #expect(room.waiting == (2, 0))
    #expect(room.release(.queue, because: .perhaps)?.token == token(1))
  }

  /// A place becomes free while the first one looks, in vain: it is not for the second one.
  @Test func aPlaceThatBecomesFreeWhileOneLooksIsForTheHead() throws {
    let room = WaitingRoom()
    let entries = try (1...2).map { try enter(room, $0) }
    _ = room.release(.queue, because: .following)
    let look = try #require(room.admit(entries[0].ticket))
    #expect(room.release(.queue, because: .place) == nil)
    let back = try enter(room, 1, sequence: entries[0].sequence)
    #expect(room.settle(look) == .perhaps)
    #expect(room.release(.queue, because: .perhaps)?.token == token(1))
    // It is said once.
    #expect(try pass(room, back.ticket) == nil)
  }

  /// Nobody else knows of them: they must reach as many, those included whom nobody draws in.
  @Test func eachPlaceThatBecomesFreeWhileOneLooksCounts() throws {
    let room = WaitingRoom()
    _ = try enter(room, 1)
    for number in 2...5 {
      _ = room.enter(worker: 0, token: token(number), kind: .queue, max: 9, hasFailed: true)
    }
    var released = try #require(room.release(.queue, because: .following))
    for _ in 1...3 { #expect(room.release(.queue, because: .place) == nil) }
    for number in 2...4 {
      #expect(try pass(room, released.ticket) == .perhaps)
      released = try #require(room.release(.queue, because: .perhaps))
      #expect(released.token == token(number))
    }
    #expect(try pass(room, released.ticket) == nil)
    #expect(room.release(.queue, because: .following) == nil)
    #expect(room.waiting == (1, 0))
  }

  /// All look for places of their own, and nobody is left at the head to be told of another one.
  @Test func aPlaceThatFindsNobodyIsRemembered() throws {
    let room = WaitingRoom()
    let entries = try (1...2).map { try enter(room, $0) }
    for _ in 1...2 { _ = room.release(.queue, because: .place) }
    let looks = try entries.map { try #require(room.admit($0.ticket)) }
    #expect(room.release(.queue, because: .place) == nil)
    _ = try enter(room, 1, sequence: entries[0].sequence)
    // The last one hears of it.
    #expect(room.settle(looks[0]) == nil)
    #expect(room.settle(looks[1]) == .perhaps)
    #expect(room.release(.queue, because: .perhaps)?.token == token(1))
  }

  @Test func theStrongestReasonIsRememberedOnce() throws {
    let room = WaitingRoom()
    let entries = try (1...3).map { try enter(room, $0) }
    _ = room.release(.queue, because: .place)
    for cause in [WaitingRoom.Cause.following, .perhaps, .following] {
      #expect(room.release(.queue, because: cause) == nil)
    }
    #expect(try pass(room, entries[0].ticket) == .perhaps)
    _ = room.release(.queue, because: .place)
    #expect(room.release(.queue, because: .following) == nil)
    #expect(try pass(room, entries[1].ticket) == .following)
    _ = room.release(.queue, because: .place)
    #expect(try pass(room, entries[2].ticket) == nil)
  }

  @Test func inAnEmptyRoomNothingIsRemembered() throws {
    let room = WaitingRoom()
    #expect(room.release(.queue, because: .place) == nil)
    let first = try enter(room, 1)
    _ = room.release(.queue, because: .perhaps)
    #expect(room.release(.queue, because: .place) == nil)
    #expect(try pass(room, first.ticket) == nil)
    let second = try enter(room, 2)
    _ = room.release(.queue, because: .place)
    #expect(try pass(room, second.ticket) == nil)
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
    let released = (1...3).compactMap { _ in
      room.release(.hold, because: .perhaps)?.token.index
    }
    #expect(released == [1, 2, 3])
  }

  @Test func whoeverHasFailedIsNotDrawnInByOthers() throws {
    let room = WaitingRoom()
    let entry = room.enter(worker: 0, token: token(1), kind: .queue, max: 9, hasFailed: true)
    guard case .entered = entry else { throw TurnedAway() }
    #expect(room.release(.queue, because: .following) == nil)
    #expect(room.release(.queue, because: .perhaps)?.token == token(1))
  }

  @Test func aRoomIsAttendedToOnce() throws {
    let room = WaitingRoom()
    let first = try enter(room, 1, .hold)
    #expect(first.isUnattended)
    #expect(try !enter(room, 2, .hold).isUnattended)
    #expect(!room.giveUpAttending())
    for _ in 1...2 { _ = room.release(.hold, because: .perhaps) }
    #expect(!room.giveUpAttending())
    #expect(room.leave(first.ticket) == .perhaps)
    #expect(room.leave(first.ticket + 1) == .perhaps)
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
      var cause: WaitingRoom.Cause?
      var isReleased: Bool { cause != nil }
    }
    var random = SplitMix64(seed: seed)
    let room = WaitingRoom()
    var waiters: [Waiter] = []
    var away: [(waiter: Waiter, look: WaitingRoom.Look)] = []
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
        let cause: WaitingRoom.Cause = [.following, .perhaps, .place][Int(random.next(below: 3))]
        let lookers = (waiters.filter(\.isReleased) + away.map(\.waiter)).filter {
          $0.kind == .queue
        }
        let isAlone = cause < .place || lookers.contains { $0.cause != .place }
        guard let head, waiters[head].kind == kind, kind == .hold || lookers.isEmpty || !isAlone
        else {
          #expect(room.release(kind, because: cause) == nil, "seed \(seed)")
          continue
        }
        let released = room.release(kind, because: cause)
        #expect(released?.token == token(waiters[head].number), "seed \(seed)")
        waiters[head].cause = cause
      case 3 where !waiters.isEmpty:
        let position = Int(random.next(below: UInt64(waiters.count)))
        let waiter = waiters.remove(at: position)
        if waiter.isReleased, random.next(below: 2) == 0 {
          away.append((waiter, try #require(room.admit(waiter.ticket))))
        } else {
          #expect((room.leave(waiter.ticket) != nil) == waiter.isReleased)
        }
      case 4 where !away.isEmpty:
        let (one, look) = away.removeFirst()
        if random.next(below: 2) == 0 {
          let entry = try enter(room, one.number, kind, max: .max, sequence: one.sequence)
          let place = waiters.firstIndex { $0.sequence > one.sequence } ?? waiters.count
          waiters.insert(
            Waiter(number: one.number, ticket: entry.ticket, sequence: one.sequence, kind: kind),
            at: place)
        }
        let lookers = (waiters.filter(\.isReleased) + away.map(\.waiter)).filter {
          $0.kind == .queue
        }
        if room.settle(look) != nil {
          #expect(lookers.isEmpty, "seed \(seed)")
        }
      default: break
      }
      let waiting = waiters.filter { !$0.isReleased }
      #expect(room.waiting.queued == waiting.count { $0.kind == .queue }, "seed \(seed)")
      #expect(room.waiting.held == waiting.count { $0.kind == .hold }, "seed \(seed)")
      #expect(room.isOccupied == !(waiters.isEmpty && away.isEmpty), "seed \(seed)")
    }
  }
}
