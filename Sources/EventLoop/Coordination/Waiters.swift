// SPDX-License-Identifier: Apache-2.0
// Tasks, of any loops, that wait for one thing, in the order in which they came. A plain value: whoever has
// one guards it with a lock, wakes outside of it, and gives up what a task that was woken and at the
// same time cancelled has left.

/// A task that waits on its loop.
struct Waiter: Sendable {
  let engine: LoopEngine
  let id: WaitID

  /// Lets the task run again; nothing if its wait is over. Any thread.
  func wake() {
    if engine.isOnThread { engine.wake(id, .ready) } else { engine.post(.wake(id)) }
  }
}

/// Tasks in the order in which they came.
struct Waiters {
  /// By number, which grows: any of them can go at any time.
  private var waiters: [UInt64: Waiter] = [:]
  private var firstNumber: UInt64 = 0
  private var nextNumber: UInt64 = 0

  var isEmpty: Bool { waiters.isEmpty }

  /// Adds a task at the end. Returns its number.
  mutating func add(_ waiter: Waiter) -> UInt64 {
    waiters[nextNumber] = waiter
    defer { nextNumber += 1 }
    return nextNumber
  }

  /// Removes a task. Returns whether it was still there.
  mutating func remove(_ number: UInt64) -> Bool {
    waiters.removeValue(forKey: number) != nil
  }

  /// Removes the first task.
  mutating func popFirst() -> Waiter? {
    guard !waiters.isEmpty else { return nil }
    while true {
      defer { firstNumber += 1 }
      if let waiter = waiters.removeValue(forKey: firstNumber) { return waiter }
    }
  }

  /// Removes all tasks.
  mutating func popAll() -> [Waiter] {
    defer { waiters = [:] }
    return waiters.sorted { $0.key < $1.key }.map(\.value)
  }
}

extension Loop {
  /// The loop of the calling task; traps where there is none.
  static var ofTask: Loop {
    guard let current else { preconditionFailure("this serves tasks of a loop: use spawn") }
    return current
  }
}
