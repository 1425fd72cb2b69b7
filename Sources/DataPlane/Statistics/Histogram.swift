// SPDX-License-Identifier: Apache-2.0
// Counts of durations in buckets with fixed bounds, so that histograms of all routes and all times
// can be added up and compared.

/// The number of durations in each bucket, and their sum.
public struct Histogram: Sendable, Equatable {
  /// The inclusive upper bound of each bucket in nanoseconds, ascending. Longer durations are in one more
  /// bucket.
  public let boundsNanoseconds: [UInt64]
  /// The number of durations in each bucket, not cumulative: one more than there are bounds.
  public let counts: [UInt64]
  /// All durations together, in nanoseconds.
  public let sumNanoseconds: UInt64

  /// How many durations there are.
  public var count: UInt64 { counts.reduce(0, &+) }
}

/// The place of a histogram among an entity's counters: a count per bucket, then the sum.
struct HistogramLayout {
  let boundsNanoseconds: [UInt64]
  /// The counter of the first bucket.
  let start: Int

  /// One past the last counter.
  var end: Int { start + boundsNanoseconds.count + 2 }
  private var sum: Int { end - 1 }

  func note(_ nanoseconds: UInt64, in block: CounterBlock) {
    // A handful of comparisons, once or twice in a session's life.
    let bucket =
      boundsNanoseconds.firstIndex { nanoseconds <= $0 } ?? boundsNanoseconds.count
    block.add(1, to: start + bucket)
    block.add(nanoseconds, to: sum)
  }

  func read(from table: CounterTable) -> Histogram {
    Histogram(
      boundsNanoseconds: boundsNanoseconds, counts: (start..<sum).map { table.sum($0) },
      sumNanoseconds: table.sum(sum))
  }
}
