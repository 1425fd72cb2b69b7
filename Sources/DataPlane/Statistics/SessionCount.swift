// SPDX-License-Identifier: Apache-2.0
// A number that all workers change, because a bound applies to all of them together. The bound itself
// belongs to the plan and may change with it, so it is an argument of each call.

import Synchronization

/// A number of sessions that several workers count together.
public final class SessionCount: Sendable {
  private let count = Atomic<Int>(0)
  /// Whether a worker waits for the count to be lowered.
  private let isAwaited = Atomic<Bool>(false)
  /// Keeps different counts on different cache lines, which processors fetch in pairs.
  private let padding = [14 of Int](repeating: 0)

  /// Starts at 0.
  public init() {}

  /// The number of sessions. When it is 0 and no thread can add to it any more, all records of those sessions are
  /// visible.
  public var value: Int { count.load(ordering: .acquiring) }

  /// Counts one more, unless there are `max` already.
  public func take(below max: Int) -> Bool {
    guard max < .max else {
      add()
      return true
    }
    // The count must not exceed the bound even for a moment: another thread would take it for full, and a session
    // would wait for a place that is free.
    var before = count.load(ordering: .relaxed)
    while before < max {
      let (exchanged, original) = count.weakCompareExchange(
        expected: before, desired: before + 1, ordering: .relaxed)
      if exchanged { return true }
      before = original
    }
    return false
  }

  /// Counts one more, without a bound.
  public func add() {
    count.add(1, ordering: .relaxed)
  }

  /// Counts one less.
  public func giveBack() {
    let (_, after) = count.subtract(1, ordering: .releasing)
    assert(after >= 0)
  }

  /// Leaves a mark for `giveBackToAwaited` and reads the count once more. Returns whether there are fewer than `max`
  /// now; otherwise the next call of `giveBackToAwaited` finds the mark.
  func awaitFree(below max: Int) -> Bool {
    isAwaited.store(true, ordering: .sequentiallyConsistent)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    return count.load(ordering: .acquiring) < max
  }

  /// Counts one less. Returns whether a mark was left since the last call that returned true.
  func giveBackToAwaited() -> Bool {
    giveBack()
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    guard isAwaited.load(ordering: .relaxed) else { return false }
    return isAwaited.exchange(false, ordering: .sequentiallyConsistent)
  }
}
