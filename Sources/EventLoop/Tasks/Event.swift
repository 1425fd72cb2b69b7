// SPDX-License-Identifier: Apache-2.0
// Something that has happened or has not, and tasks that wait until it has: what asyncio calls an Event.

import Reactor

/// A flag that tasks wait for. Any thread may set, clear and ask; tasks of any loop may wait.
public final class Event: Sendable {
  private struct Waiter {
    let engine: LoopEngine
    let id: WaitID
  }

  private struct State: ~Copyable {
    var isSet = false
    /// By number, which grows, so that they are woken in the order they came.
    var waiters: [UInt64: Waiter] = [:]
    var lastNumber: UInt64 = 0
  }

  private let state: Lock<State>

  /// An event that has not happened, or has, if `isSet`.
  public init(isSet: Bool = false) {
    state = Lock(State(isSet: isSet))
  }

  /// Whether it has happened.
  public var isSet: Bool { state.withLock { $0.isSet } }

  /// It has happened: every task that waits goes on, even if it is cleared before that task runs.
  public func set() {
    let waiters = state.withLock { state in
      state.isSet = true
      defer { state.waiters = [:] }
      return state.waiters
    }
    guard !waiters.isEmpty else { return }
    for (_, waiter) in waiters.sorted(by: { $0.key < $1.key }) {
      if waiter.engine.isOnThread {
        waiter.engine.wake(waiter.id, .ready)
      } else {
        waiter.engine.post(.wake(waiter.id))
      }
    }
  }

  /// It has not happened yet: who waits from now on waits for the next `set`.
  public func clear() {
    state.withLock { $0.isSet = false }
  }

  /// Suspends the calling task, which must run on a loop, until it has happened; not at all if it has.
  public func wait(until deadline: Instant = .distantFuture) async throws(WaitError) {
    if isSet { return }
    guard let loop = Loop.current else {
      preconditionFailure("an event serves tasks of a loop: use spawn")
    }
    var number: UInt64 = 0
    let wake = await loop.park("event", until: deadline) { id in
      // It may have been set, by another thread, since.
      number = state.withLock { state in
        guard !state.isSet else { return 0 }
        state.lastNumber += 1
        state.waiters[state.lastNumber] = Waiter(engine: loop.engine, id: id)
        return state.lastNumber
      }
      if number == 0 { loop.engine.wake(id, .ready) }
    }
    switch wake {
    case .ready: return
    case .cancelled:
      forget(number)
      throw .cancelled
    case .deadlinePassed:
      forget(number)
      throw .deadlinePassed
    }
  }

  private func forget(_ number: UInt64) {
    state.withLock { state in _ = state.waiters.removeValue(forKey: number) }
  }
}
