// SPDX-License-Identifier: Apache-2.0
// A waiting room between threads: the same steps as a worker's, without sockets, so that many of them
// happen at the same moment. Nobody looks after the room from outside: a wake-up that is lost is lost.

import Reactor
import Testing

@testable import DataPlane

@Suite struct WaitingRoomThreadTests {
  /// A thread's share: sessions that want a place one after another, each for a moment.
  private final class Sharer: @unchecked Sendable {
    // SAFETY: `inbox` is behind a lock, everything else is used by one thread.
    let number: Int
    let inbox = Lock([(token: Token, ticket: UInt32)]())
    var served = 0
    private var waiting: [Token: (ticket: UInt32, sequence: UInt32)] = [:]

    init(_ number: Int) {
      self.number = number
    }

    func run(_ sessions: Int, _ room: WaitingRoom, _ places: SessionCount, _ all: [Sharer]) {
      for index in 0..<sessions {
        let token = Token(.downstream, index: index, generation: 1)
        if room.isOccupied || !take(places) {
          wait(token, nil, room, places, all)
        } else {
          giveBack(places, room, all)
        }
        receive(room, places, all)
      }
      while !waiting.isEmpty { receive(room, places, all) }
    }

    private func take(_ places: SessionCount) -> Bool {
      places.take(below: 2)
    }

    private func giveBack(_ places: SessionCount, _ room: WaitingRoom, _ all: [Sharer]) {
      served += 1
      places.giveBack()
      if room.isOccupiedAfterChange { releaseNext(room, because: .place, all) }
    }

    private func releaseNext(
      _ room: WaitingRoom, because cause: WaitingRoom.Cause, _ all: [Sharer]
    ) {
      guard let next = room.release(.queue, because: cause) else { return }
      all[next.worker].inbox.withLock { $0.append((next.token, next.ticket)) }
    }

    private func wait(
      _ token: Token, _ before: UInt32?, _ room: WaitingRoom, _ places: SessionCount,
      _ all: [Sharer]
    ) {
      guard
        case .entered(let ticket, let sequence, let isFirst, _) = room.enter(
          worker: number, token: token, kind: .queue, max: .max, sequence: before)
      else { return }
      waiting[token] = (ticket, sequence)
      guard isFirst, take(places) else { return }
      waiting[token] = nil
      if let cause = room.leave(ticket) { releaseNext(room, because: cause, all) }
      giveBack(places, room, all)
    }

    private func receive(_ room: WaitingRoom, _ places: SessionCount, _ all: [Sharer]) {
      let messages = inbox.withLock { inbox in
        defer { inbox = [] }
        return inbox
      }
      for (token, ticket) in messages {
        guard let own = waiting[token], own.ticket == ticket, let look = room.admit(ticket) else {
          continue
        }
        waiting[token] = nil
        let isServed = take(places)
        if isServed {
          giveBack(places, room, all)
        } else {
          wait(token, own.sequence, room, places, all)
        }
        let isBack = waiting[token] != nil
        if let cause = room.settle(look) ?? (isBack ? nil : .following) {
          releaseNext(room, because: cause, all)
        }
      }
    }
  }

  @Test func nobodyIsForgotten() throws {
    let room = WaitingRoom()
    let places = SessionCount()
    let all = (0..<4).map { Sharer($0) }
    let sessions = 5000
    var threads: [Joinable] = []
    for sharer in all {
      threads.append(
        Joinable(try LoopThread(name: "sharer") { sharer.run(sessions, room, places, all) }))
    }
    for thread in threads { thread.join() }
    #expect(all.map(\.served) == Array(repeating: sessions, count: 4))
    #expect(!room.isOccupied)
    #expect(places.value == 0)
  }

  /// A thread that is joined once.
  private final class Joinable {
    private var thread: LoopThread?

    init(_ thread: consuming LoopThread) {
      self.thread = consume thread
    }

    func join() {
      thread.take()?.join()
    }
  }
}
