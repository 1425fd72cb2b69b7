// SPDX-License-Identifier: Apache-2.0
// Shares that are exact, at every moment and not only in the long run.

import Balancing
import Testing

@Suite struct WeightedRoundRobinTests {
  @Test func aCycleHoldsExactShares() {
    var turns = WeightedRoundRobin(weights: [5, 1, 0, 2])
    var counts = [0, 0, 0, 0]
    for _ in 0..<80 { counts[turns.pick { _ in true } ?? 2] += 1 }
    #expect(counts == [50, 10, 0, 20])
  }

  @Test func aHeavyEntryAndManyLightOnesAlternate() {
    var turns = WeightedRoundRobin(weights: [50] + [Int](repeating: 1, count: 50))
    let picks = (0..<100).map { _ in turns.pick { _ in true } == 0 }
    for start in 0..<97 {
      #expect(Set(picks[start..<start + 3]).count == 2, "a burst at \(start)")
    }
  }

  @Test func inAnyPrefixEachIsWithinOnePickOfItsShare() {
    var random = SplitMix64(seed: 1)
    for seed in 0..<200 {
      let weights = (0..<Int(1 + random.next(below: 30))).map { _ in
        Int(random.next(below: random.next(below: 3) == 0 ? 256 : 4))
      }
      let total = weights.reduce(0, +)
      guard total > 0 else { continue }
      var turns = WeightedRoundRobin(weights: weights)
      var counts = [Int](repeating: 0, count: weights.count)
      var worst = 0.0
      for step in 1...min(2 * total, 2000) {
        counts[turns.pick { _ in true } ?? 0] += 1
        for (position, weight) in weights.enumerated() {
          let share = Double(step) * Double(weight) / Double(total)
          worst = max(worst, abs(Double(counts[position]) - share))
        }
      }
      #expect(worst <= 1, "seed \(seed), weights \(weights)")
    }
  }

  @Test func whatIsPassedOverDoesNotMakeUpForIt() {
    var turns = WeightedRoundRobin(weights: [1, 1, 1, 1])
    for _ in 0..<100 { #expect(turns.pick { $0 != 2 } != 2) }
    let picks = (0..<8).map { _ in turns.pick { _ in true } }
    #expect(picks.count { $0 == 2 } <= 3)
    #expect(picks.count { $0 == 2 } >= 2)
  }

  @Test func whoIsLeftAloneIsPickedAtOnceAndDoesNotWaitAfterwards() {
    var turns = WeightedRoundRobin(weights: [256, 1, 1])
    for _ in 0..<10 { #expect(turns.pick { $0 == 1 } == 1) }
    #expect((0..<2).contains { _ in turns.pick { $0 != 0 } == 2 })
    #expect((0..<4).contains { _ in turns.pick { $0 != 0 } == 1 })
    #expect(turns.pick { _ in false } == nil)
  }

  @Test func workersBeginAtDifferentPlaces() {
    let first = (0..<4).map { number -> Int? in
      var turns = WeightedRoundRobin(weights: [1, 1, 1, 1], offset: number)
      return turns.pick { _ in true }
    }
    #expect(Set(first) == [0, 1, 2, 3])
  }
}
