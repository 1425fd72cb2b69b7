// SPDX-License-Identifier: Apache-2.0
// Something that has happened or has not, and tasks that wait until it has: what asyncio calls an Event.

import Reactor

/// A flag that tasks wait for. Any thread may set, clear and ask; tasks of any loop may wait.
public final class Event: Sendable {
  private struct State {
    var isSet: Bool
    var waiters = Waiters()
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
      return state.waiters.popAll()
    }
    for waiter in waiters { waiter.wake() }
  }

  /// It has not happened yet: who waits from now on waits for the next `set`.
  public func clear() {
    state.withLock { $0.isSet = false }
  }

  /// Suspends the calling task, which must run on a loop, until it has happened; not at all if it has.
  public func wait(until deadline: Instant = .distantFuture) async throws(WaitError) {
    if isSet { return }
    let engine = Loop.ofTask.engine
    var number: UInt64?
    let wake = await Loop.ofTask.park("event", until: deadline) { id in
      // It may have been set, by another thread, since.
      number = state.withLock { state in
        state.isSet ? nil : state.waiters.add(Waiter(engine: engine, id: id))
      }
      if number == nil { engine.wake(id, .ready) }
    }
    if wake != .ready, let number { state.withLock { state in _ = state.waiters.remove(number) } }
    try wake.check()
  }
}
