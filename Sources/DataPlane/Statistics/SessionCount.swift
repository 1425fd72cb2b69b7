// SPDX-License-Identifier: Apache-2.0
// A number that all workers change, because a bound is for all of them together. The bound itself
// belongs to the plan and may change with it; so it is told with every question.

import Synchronization

/// A number of sessions that several workers count together.
public final class SessionCount: Sendable {
  private let count = Atomic<Int>(0)
  /// Whether a worker waits for the count to be lowered.
  private let isAwaited = Atomic<Bool>(false)
  /// Keeps counts that different workers change off each other's lines of cache, which processors fetch in
  /// pairs.
  private let padding = [14 of Int](repeating: 0)

  /// Starts at none.
  public init() {}

  /// How many there are. When it is 0 and nobody can add to it any more, all that those sessions
  /// have recorded is visible.
  public var value: Int { count.load(ordering: .acquiring) }

  /// Counts one more, unless there are `max` already.
  public func take(below max: Int) -> Bool {
    guard max < .max else {
      add()
      return true
    }
    // Never one too many for a moment: somebody else would take that for the truth, and wait for a place
    // that is free.
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

  /// Leaves a mark for `giveBackToAwaited` and looks once more. Returns whether there are fewer than `max`
  /// now; otherwise the next one that is given back finds the mark.
  func awaitFree(below max: Int) -> Bool {
    isAwaited.store(true, ordering: .sequentiallyConsistent)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    return count.load(ordering: .acquiring) < max
  }

  /// Counts one less. Returns whether somebody has left a mark since the last time that this was so.
  func giveBackToAwaited() -> Bool {
    giveBack()
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    guard isAwaited.load(ordering: .relaxed) else { return false }
    return isAwaited.exchange(false, ordering: .sequentiallyConsistent)
  }
}
