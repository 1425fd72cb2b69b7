// SPDX-License-Identifier: Apache-2.0
// The least per weight, fair dice among equals, and a tree that is right at rest.

import Balancing
import Testing

@Suite struct LoadTreeTests {
  /// A tree with these sessions; no weight: cannot be chosen.
  private func tree(_ weights: [Int], _ sessions: [Int]) -> LoadTree {
    let tree = LoadTree(count: weights.count)
    for (position, weight) in weights.enumerated() where weight > 0 {
      tree[position] = LoadTree.load(sessions: sessions[position], weight: weight)
    }
    return tree
  }

  @Test func weightsDivideLoads() {
    var random = SplitMix64(seed: 1)
    #expect(tree([1, 2], [1, 2]).draw(&random) == 1)
    #expect(tree([1, 2], [0, 2]).draw(&random) == 0)
    #expect(tree([1, 2], [0, 0]).draw(&random) == 1)
    #expect(LoadTree.load(sessions: 2, weight: 3) == LoadTree.load(sessions: 255, weight: 256))
    #expect(
      LoadTree.load(sessions: 1_000_000, weight: 1) < LoadTree.load(sessions: 1_000_001, weight: 1))
  }

  @Test func whatCannotBeChosenIsNot() {
    var random = SplitMix64(seed: 1)
    let tree = tree([0, 1, 1], [0, 9, 0])
    tree[2] = nil
    #expect(tree.draw(&random) == 1)
    tree[1] = nil
    #expect(tree.draw(&random) == nil)
    #expect(tree.least(&random) { _ in true } == nil)
  }

  @Test(arguments: [4, 16, 17, 300])
  func tiesAreBrokenEvenly(_ count: Int) {
    var random = SplitMix64(seed: 7)
    var loads = [Int](repeating: 3, count: count)
    loads[1] = 4
    let tree = tree([Int](repeating: 1, count: count), loads)
    var counts = [Double](repeating: 0, count: count)
    for _ in 0..<(200 * count) { counts[tree.draw(&random) ?? 1] += 1 }
    let expected = loads.map { $0 == 3 ? 1.0 : 0 }
    let degrees = Double(count - 2)
    // About 1 in 1,000 (Wilson and Hilferty, 1931).
    let bound = degrees * pow3(1 - 2 / (9 * degrees) + 3.09 * (2 / (9 * degrees)).squareRoot())
    #expect(chiSquare(counts, expected) < bound)
  }

  private func pow3(_ number: Double) -> Double { number * number * number }

  @Test func itAgreesWithLookingAtAll() {
    var random = SplitMix64(seed: 9)
    for seed in 0..<60 {
      let count = Int(1 + random.next(below: 600))
      let weights = (0..<count).map { _ in Int(random.next(below: 4)) }
      var sessions = (0..<count).map { _ in Int(random.next(below: 5)) }
      let tree = tree(weights, sessions)
      for _ in 0..<20 {
        let changed = Int(random.next(below: UInt64(count)))
        sessions[changed] = Int(random.next(below: 5))
        if weights[changed] > 0 {
          tree[changed] = LoadTree.load(sessions: sessions[changed], weight: weights[changed])
        }
        let loads = weights.indices.map { position -> UInt64? in
          weights[position] == 0
            ? nil : LoadTree.load(sessions: sessions[position], weight: weights[position])
        }
        let drawn = tree.draw(&random)
        #expect(drawn.flatMap { loads[$0] } == loads.compactMap { $0 }.min(), "seed \(seed)")
        let excluded = random.next()
        let isUsable = { (position: Int) in excluded & 1 << UInt64(position % 64) == 0 }
        let least = tree.least(&random, where: isUsable)
        let expected = loads.indices.filter(isUsable).compactMap { loads[$0] }.min()
        #expect(least.flatMap { loads[$0] } == expected, "seed \(seed)")
        if let least { #expect(isUsable(least)) }
      }
    }
  }

  @Test func itIsRightAtRestAfterSeveralThreadsHaveChangedIt() async {
    for seed in 0..<6 {
      let tree = LoadTree(count: 300)
      await withTaskGroup(of: Void.self) { group in
        for thread in 0..<4 {
          group.addTask(name: "writer") {
            var random = SplitMix64(seed: UInt64(seed * 4 + thread))
            for _ in 0..<2000 {
              let position = Int(random.next(below: 75)) * 4 + thread
              tree[position] =
                random.next(below: 4) == 0
                ? nil : LoadTree.load(sessions: Int(random.next(below: 3)), weight: 1)
              _ = tree.draw(&random)
            }
          }
        }
      }
      var random = SplitMix64(seed: UInt64(seed))
      let least = (0..<300).compactMap { tree[$0] }.min()
      var drawn: Set<Int> = []
      for _ in 0..<4000 {
        let position = tree.draw(&random)
        #expect(position.flatMap { tree[$0] } == least)
        if let position { drawn.insert(position) }
      }
      // The numbers of ties are right, too, or some would be drawn never or too seldom.
      #expect(drawn.count == (0..<300).count { tree[$0] == least })
    }
  }
}
