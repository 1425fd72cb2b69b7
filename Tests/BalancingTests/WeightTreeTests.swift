// SPDX-License-Identifier: Apache-2.0
// Draws by weight that are exact, also right after a weight has changed, and sums that are right at rest
// after several threads have changed them.

import Balancing
import Testing

@Suite struct WeightTreeTests {
  /// With `isSparse` the weights are small beside what they might be, so that the tree is asked at once.
  private func tree(_ weights: [UInt64], isSparse: Bool = false) -> WeightTree {
    let tree = WeightTree(
      count: weights.count, weightMax: max(1, weights.max() ?? 1) * (isSparse ? 1000 : 1))
    for (position, weight) in weights.enumerated() { tree[position] = weight }
    return tree
  }

  @Test(arguments: [1, 2, 15, 16, 17, 255, 256, 257, 4097])
  func everyPointIsInTheShareOfItsPosition(_ count: Int) throws {
    var random = SplitMix64(seed: UInt64(count))
    let weights = (0..<count).map { _ in random.next(below: 4) }
    let tree = tree(weights)
    let total = weights.reduce(0, +)
    #expect(tree.total == total)
    try #require(total > 0)
    // All points of a small total, a sample of a large one.
    var expected = weights.enumerated().flatMap { position, weight in
      [Int](repeating: position, count: Int(weight))
    }
    let step = UInt64.max / total
    let found = (0..<total).map { tree.draw(bits: $0 * step + step / 2) ?? -1 }
    #expect(found == expected)
    expected = weights.indices.filter { weights[$0] > 0 }
    var next: [Int] = []
    var position = tree.next(from: 0)
    while let found = position {
      next.append(found)
      position = tree.next(from: found + 1)
    }
    #expect(next == expected)
  }

  @Test func withoutWeightThereIsNothingToDraw() {
    let tree = tree([0, 3, 0])
    var random = SplitMix64(seed: 1)
    #expect(tree.draw(&random) == 1)
    tree[1] = 0
    #expect(tree.draw(&random) == nil)
    #expect(tree.drawTwo(&random) == nil)
    #expect(tree.next(from: 0) == nil)
  }

  @Test(arguments: [false, true])
  func sharesFollowWeights(_ isSparse: Bool) {
    let weights: [UInt64] = [100, 0, 200, 256, 5, 40, 0, 7]
    let tree = tree(weights, isSparse: isSparse)
    var random = SplitMix64(seed: 3)
    var counts = [Double](repeating: 0, count: weights.count)
    for _ in 0..<20_000 { counts[tree.draw(&random) ?? 1] += 1 }
    #expect(chiSquare(counts, weights.map { Double($0) }) < 20.5)  // 5 degrees, 1 in 1,000
  }

  @Test(arguments: [false, true])
  func twoDrawsAreDifferentAndTheSecondIsByTheWeightsOfTheOthers(_ isSparse: Bool) {
    let weights: [UInt64] = [4, 2, 1, 1]
    let tree = tree(weights, isSparse: isSparse)
    var random = SplitMix64(seed: 4)
    var counts = [Double](repeating: 0, count: 16)
    for _ in 0..<20_000 {
      guard let (one, other) = tree.drawTwo(&random) else { continue }
      counts[one * 4 + other] += 1
    }
    var expected = [Double](repeating: 0, count: 16)
    for one in 0..<4 {
      for other in 0..<4 where other != one {
        expected[one * 4 + other] =
          Double(weights[one]) / 8 * Double(weights[other]) / Double(8 - weights[one])
      }
    }
    #expect(chiSquare(counts, expected) < 31.3)  // 11 degrees, 1 in 1,000
    let single = self.tree([0, 5])
    #expect(single.drawTwo(&random).map { $0 == (1, 1) } == true)
  }

  @Test func itIsRightAtRestAfterSeveralThreadsHaveChangedIt() async {
    for seed in 0..<6 {
      let tree = WeightTree(count: 300, weightMax: 2)
      await withTaskGroup(of: Void.self) { group in
        for thread in 0..<4 {
          group.addTask(name: "writer") {
            var random = SplitMix64(seed: UInt64(seed * 4 + thread))
            for _ in 0..<2000 {
              // Others change neighbours, which have the same ancestors.
              let position = Int(random.next(below: 75)) * 4 + thread
              tree[position] = random.next(below: 3)
              if let drawn = tree.draw(&random) { assert(drawn < 300) }
            }
          }
        }
      }
      #expect(tree.total == (0..<300).reduce(0) { $0 + tree[$1] })
    }
  }
}

/// Pearson's statistic of counts whose expectations are in these proportions. What is expected
/// never must not have happened.
func chiSquare(_ counts: [Double], _ weights: [Double]) -> Double {
  let scale = counts.reduce(0, +) / weights.reduce(0, +)
  return zip(counts, weights).reduce(0) { sum, pair in
    let expected = pair.1 * scale
    if expected == 0 { return pair.0 == 0 ? sum : .infinity }
    return sum + (pair.0 - expected) * (pair.0 - expected) / expected
  }
}
