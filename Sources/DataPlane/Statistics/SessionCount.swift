// SPDX-License-Identifier: Apache-2.0
// A number that all workers change, because a bound is for all of them together. The bound itself
// belongs to the plan and may change with it; so it is told with every question.

import Synchronization

/// A number of sessions that several workers count together.
public final class SessionCount: Sendable {
  private let count = Atomic<Int>(0)

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
}
