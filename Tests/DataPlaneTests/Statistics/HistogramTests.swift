// SPDX-License-Identifier: Apache-2.0
// Durations in buckets: each in one, the bound itself included.

import Testing

@testable import DataPlane

@Suite struct HistogramTests {
  @Test func everyDurationIsInTheFirstBucketThatHoldsIt() {
    let layout = HistogramLayout(boundsNanoseconds: [10, 20, 50], start: 2)
    let table = CounterTable(counters: layout.end + 1, workers: 2)
    let durations: [UInt64] = [0, 10, 11, 20, 21, 50, 51, 1000]
    for (number, duration) in durations.enumerated() {
      layout.note(duration, in: table.block(of: number % 2))
    }
    let histogram = layout.read(from: table)
    #expect(histogram.boundsNanoseconds == [10, 20, 50])
    #expect(histogram.counts == [2, 2, 2, 2])
    #expect(histogram.count == 8)
    #expect(histogram.sumNanoseconds == durations.reduce(0, +))
    // Nothing beside it was touched.
    #expect([0, 1, layout.end].allSatisfy { table.sum($0) == 0 })
  }
}
