// SPDX-License-Identifier: Apache-2.0
// A bound on how many tasks do something at once: what asyncio calls a Semaphore, and with one permit a
// Lock. Permits are handed over in the order in which they were asked for, so nobody is overtaken.

import Reactor

/// Permits that tasks take and give back. Any thread may give back and ask; tasks of any loop may take.
public final class Semaphore: Sendable {
  private struct State {
    var permits: Int
    var waiters = Waiters()
  }

  private let state: Lock<State>

  /// A semaphore with so many permits, none of them taken.
  public init(_ permits: Int) {
    precondition(permits >= 0)
    state = Lock(State(permits: permits))
  }

  /// How many permits can be taken without waiting.
  public var available: Int { state.withLock { $0.permits } }

  /// Takes a permit; suspends the calling task, which must run on a loop, until there is one for it.
  /// Whoever takes one gives it back with `release`; `withPermit` does both.
  public func acquire(until deadline: Instant = .distantFuture) async throws(WaitError) {
    let engine = Loop.ofTask.engine
    if takeNow() { return }
    var number: UInt64?
    let wake = await Loop.ofTask.park("semaphore", until: deadline) { id in
      // One may have been given back, by another thread, since.
      number = state.withLock { state in
        guard state.permits == 0 else {
          state.permits -= 1
          return nil
        }
        return state.waiters.add(Waiter(engine: engine, id: id))
      }
      if number == nil { engine.wake(id, .ready) }
    }
    if wake != .ready, let number {
      let hasWaited = state.withLock { $0.waiters.remove(number) }
      // Handed over in the moment in which the wait ended: the next one gets it.
      if !hasWaited { release() }
    }
    try wake.check()
  }

  private func takeNow() -> Bool {
    state.withLock { state in
      guard state.permits > 0 else { return false }
      state.permits -= 1
      return true
    }
  }

  /// Gives a permit back, or adds one: to the task that has waited longest, if one does.
  public func release() {
    let waiter = state.withLock { state in
      let waiter = state.waiters.popFirst()
      if waiter == nil { state.permits += 1 }
      return waiter
    }
    waiter?.wake()
  }

  /// Runs `body` with a permit. Throws `WaitError` when none comes in time, and what `body` does.
  public func withPermit<Result>(
    until deadline: Instant = .distantFuture, _ body: () async throws -> Result
  ) async throws -> Result {
    try await acquire(until: deadline)
    defer { release() }
    return try await body()
  }
}
