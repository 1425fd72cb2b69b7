// SPDX-License-Identifier: Apache-2.0
// The least per weight, and fair dice among equals.

import Balancing
import Testing

@Suite struct LeastConnectionsTests {
  private func pick(
    _ weights: [Int], _ loads: [Int], _ random: inout SplitMix64, where isUsable: (Int) -> Bool
  ) -> Int? {
    LeastConnections.pick(
      count: weights.count, weight: { weights[$0] }, load: { loads[$0] }, random: &random,
      where: isUsable)
  }

  @Test func weightsDivideLoads() {
    var random = SplitMix64(seed: 1)
    #expect(pick([1, 2], [1, 2], &random) { _ in true } == 1)
    #expect(pick([1, 2], [0, 2], &random) { _ in true } == 0)
    #expect(pick([1, 2], [0, 0], &random) { _ in true } == 1)
  }

  @Test func whatHasNoWeightOrIsUnusableIsNeverPicked() {
    var random = SplitMix64(seed: 1)
    #expect(pick([0, 1, 1], [0, 9, 0], &random) { $0 != 2 } == 1)
    #expect(pick([0, 1], [0, 0], &random) { $0 != 1 } == nil)
    #expect(pick([], [], &random) { _ in true } == nil)
  }

  @Test func tiesAreBrokenEvenly() {
    var random = SplitMix64(seed: 7)
    var counts = [0, 0, 0, 0]
    for _ in 0..<8000 {
      counts[pick([1, 1, 1, 1], [3, 3, 3, 3], &random) { _ in true } ?? 0] += 1
    }
    for count in counts { #expect(abs(count - 2000) < 250) }
  }
}
