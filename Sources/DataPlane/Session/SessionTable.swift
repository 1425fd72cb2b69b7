// SPDX-License-Identifier: Apache-2.0
// The sessions of a worker: their memory, how events find them, and their deadlines. Deadlines are lazy: moving
// bytes stores the time and touches no timer; when the timer fires, its handler computes whether the deadline
// has moved.

import Reactor

/// Sessions by index, with at most one timer each. Not thread-safe: a worker owns it.
struct SessionTable: ~Copyable {
  private var slab: Slab<Session>
  private(set) var timers: TimerWheel
  private var lastGeneration: UInt32 = 0
  /// Sessions that had work left when their budget was spent, by index and the generation of their client's
  /// connection: those of earlier turns, and those of the current one.
  private var awaitingTurn: [Token] = []
  private var awaitingNextTurn: [Token] = []

  /// An empty table. Throws when there is no address space for `capacity` sessions.
  init(capacity: Int, now: Instant) throws(Errno) {
    let slab = try Slab<Session>(capacity: capacity)
    let timers = try TimerWheel(capacity: capacity, now: now)
    self.slab = slab
    self.timers = timers
  }

  var count: Int { slab.count }

  // MARK: Finding

  /// The session at `index`, `nil` if there is none. The pointer is valid until `remove`.
  func find(_ index: Int) -> UnsafeMutablePointer<Session>? { slab.find(index) }

  /// The session with the connection that a token was made for. `nil` if that registration is gone: the session
  /// has ended, or has closed that connection; its events may still come in the same batch.
  func find(_ token: Token) -> UnsafeMutablePointer<Session>? {
    guard let session = slab.find(token.index) else { return nil }
    let isCurrent =
      switch token.kind {
      case .downstream: session.pointee.downstream.answers(to: token.generation)
      case .upstream: session.pointee.upstream.answers(to: token.generation)
      case .listener, .bell, .descriptor: false
      }
    return isCurrent ? session : nil
  }

  /// The session that has spent its budget, `nil` if it has ended since; its connections may be closed.
  func findAwaiting(_ token: Token) -> UnsafeMutablePointer<Session>? {
    guard let session = slab.find(token.index),
      session.pointee.downstream.generation == token.generation
    else { return nil }
    return session
  }

  /// The first occupied index that is not below `start`.
  func nextIndex(from start: Int) -> Int? { slab.nextIndex(from: start) }

  /// A number for a registration, never used before (it wraps around after 2³² registrations).
  mutating func nextGeneration() -> UInt32 {
    lastGeneration &+= 1
    return lastGeneration
  }

  mutating func insert(_ session: consuming Session) -> Int { slab.insert(session) }

  /// Forgets a session and its timer.
  mutating func remove(_ index: Int) {
    timers.cancel(index)
    _ = slab.remove(index)
  }

  // MARK: Deadlines

  /// When the loop must go on without an event: at once if sessions wait for their turn, else when the next timer
  /// fires; `distantFuture` if none will.
  var nextDeadline: Instant {
    hasTurns ? Instant(nanoseconds: 0) : timers.nextDeadline() ?? .distantFuture
  }

  /// Sets a session's timer to `deadline`; clears it if that is `distantFuture`.
  mutating func arm(_ index: Int, at deadline: Instant) {
    guard deadline != .distantFuture else { return timers.cancel(index) }
    timers.schedule(index, at: deadline)
  }

  /// Removes and returns a session with a timer that has fired, `nil` if there is none left.
  mutating func popDue(at now: Instant) -> Int? { timers.popDue(at: now) }

  // MARK: Turns

  /// Schedules a session that has spent its budget for the next turn.
  mutating func awaitTurn(_ index: Int, _ downstream: borrowing Connection) {
    awaitingNextTurn.append(Token(.downstream, index: index, generation: downstream.generation))
  }

  /// Whether sessions have spent their budget.
  var hasTurns: Bool { !awaitingTurn.isEmpty || !awaitingNextTurn.isEmpty }

  /// The sessions that go on in this turn, until `endTurns`. One that spends its budget meanwhile waits for the
  /// next turn.
  func takeTurns() -> [Token] { awaitingTurn }

  mutating func endTurns() {
    awaitingTurn.removeAll(keepingCapacity: true)
    swap(&awaitingTurn, &awaitingNextTurn)
  }
}
