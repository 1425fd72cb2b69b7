// SPDX-License-Identifier: Apache-2.0
// The lag of a loop as a histogram: no turn is lost, whichever bucket it is in.

import EventLoop
import Testing

@testable import Admin

@Suite struct MetricsSnapshotTests {
  @Test func theLagOfALoopIsAHistogram() throws {
    let loop = try Loop()
    try loop.run {
      for _ in 0..<20 { try await loop.sleep(for: .milliseconds(1)) }
      let lag = loop.lag
      let seconds = LoopLagMetrics(loop: "control", lag).seconds
      #expect(lag.count > 0)
      #expect(seconds.counts.reduce(0, +) == lag.count)
      #expect(seconds.sum > 0)
      #expect(seconds.bounds.first == 128e-6)
      #expect(seconds.bounds.last == 8.388608)
    }
  }
}
