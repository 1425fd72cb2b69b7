// SPDX-License-Identifier: Apache-2.0
// Shares that are exact, at every moment and not only in the long run.

import Balancing
import Testing

@Suite struct WeightedRoundRobinTests {
  /// Random weights, in one case of three all over the range.
  private func someWeights(_ random: inout SplitMix64, countMax: UInt64 = 30) -> [Int] {
    (0..<Int(1 + random.next(below: countMax))).map { _ in
      Int(random.next(below: random.next(below: 3) == 0 ? 256 : 4))
    }
  }

  @Test func aCycleHoldsExactShares() {
    var turns = WeightedRoundRobin(weights: [5, 1, 0, 2])
    var counts = [0, 0, 0, 0]
    for _ in 0..<80 { counts[turns.pick() ?? 2] += 1 }
    #expect(counts == [50, 10, 0, 20])
  }

  @Test func equalWeightsAreStrictlyInTurn() {
    var turns = WeightedRoundRobin(weights: [7, 7, 7, 7, 7])
    let picks = (0..<50).map { _ in turns.pick() ?? -1 }
    #expect(picks == (0..<50).map { $0 % 5 })
  }

  @Test func aHeavyEntryAndManyLightOnesAlternate() {
    var turns = WeightedRoundRobin(weights: [50] + [Int](repeating: 1, count: 50))
    let picks = (0..<100).map { _ in turns.pick() == 0 }
    for start in 0..<97 {
      #expect(Set(picks[start..<start + 3]).count == 2, "a burst at \(start)")
    }
  }

  @Test func inAnyPrefixEachIsWithinOnePickOfItsShare() {
    var random = SplitMix64(seed: 1)
    for seed in 0..<60 {
      let weights = someWeights(&random)
      let total = weights.reduce(0, +)
      guard total > 0 else { continue }
      var turns = WeightedRoundRobin(weights: weights)
      var counts = [Int](repeating: 0, count: weights.count)
      var worst = 0.0
      for step in 1...min(2 * total, 2000) {
        counts[turns.pick() ?? 0] += 1
        for (position, weight) in weights.enumerated() {
          let share = Double(step) * Double(weight) / Double(total)
          worst = max(worst, abs(Double(counts[position]) - share))
        }
      }
      #expect(worst <= 1, "seed \(seed), weights \(weights)")
    }
  }

  /// Weights change all the time; while they rest, everybody gets his share, and what he was owed
  /// before counts for a pick or two.
  @Test func sharesStayRightWhileWeightsChange() {
    var random = SplitMix64(seed: 2)
    for seed in 0..<30 {
      var weights = someWeights(&random)
      var turns = WeightedRoundRobin(weights: weights)
      for _ in 0..<20 {
        for _ in 0..<1 + random.next(below: 3) {
          let position = Int(random.next(below: UInt64(weights.count)))
          weights[position] = Int(random.next(below: 3) == 0 ? 0 : random.next(below: 256))
          turns.setWeight(weights[position], at: position)
        }
        let total = weights.reduce(0, +)
        guard total > 0 else {
          #expect(turns.pick() == nil)
          continue
        }
        var counts = [Int](repeating: 0, count: weights.count)
        for step in 1...Int(1 + random.next(below: 300)) {
          guard let position = turns.pick() else {
            Issue.record("nobody, seed \(seed)")
            return
          }
          counts[position] += 1
          for (position, weight) in weights.enumerated() {
            let share = Double(step) * Double(weight) / Double(total)
            #expect(abs(Double(counts[position]) - share) < 3, "seed \(seed), \(weights)")
          }
        }
      }
    }
  }

  @Test func whoWasOutDoesNotMakeUpForIt() {
    var turns = WeightedRoundRobin(weights: [1, 1, 1, 1])
    turns.setWeight(0, at: 2)
    for _ in 0..<100 { #expect(turns.pick() != 2) }
    turns.setWeight(1, at: 2)
    let picks = (0..<8).map { _ in turns.pick() }
    #expect(picks.count { $0 == 2 } <= 3)
    #expect(picks.count { $0 == 2 } >= 2)
  }

  @Test func whoIsLeftAloneIsPickedAtOnceAndDoesNotWaitAfterwards() {
    var turns = WeightedRoundRobin(weights: [256, 1, 1])
    turns.setWeight(0, at: 0)
    turns.setWeight(0, at: 2)
    for _ in 0..<10 { #expect(turns.pick() == 1) }
    turns.setWeight(1, at: 2)
    #expect((0..<2).contains { _ in turns.pick() == 2 })
    #expect((0..<4).contains { _ in turns.pick() == 1 })
    for position in 0..<3 { turns.setWeight(0, at: position) }
    #expect(turns.pick() == nil)
  }

  @Test func aGrowingWeightGetsItsShareAtOnce() {
    var turns = WeightedRoundRobin(weights: [65_536, 256])
    for _ in 0..<3 { _ = turns.pick() }
    turns.setWeight(65_536, at: 1)
    #expect((0..<4).contains { _ in turns.pick() == 1 })
  }

  @Test func workersBeginAtDifferentPlaces() {
    let byOffset = (0..<4).map { number -> Int? in
      var turns = WeightedRoundRobin(weights: [1, 1, 1, 1], offset: number)
      return turns.pick()
    }
    #expect(Set(byOffset) == [0, 1, 2, 3])
    let byRotation = (0..<4).map { number -> Int? in
      var turns = WeightedRoundRobin(weights: [1, 1, 1, 1], rotation: number + 4)
      return turns.pick()
    }
    #expect(byRotation == [0, 1, 2, 3])
  }
}
