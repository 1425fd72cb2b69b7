// SPDX-License-Identifier: Apache-2.0
// Weights as a tree of sums: a draw by weight takes as many steps as the tree has levels, and is exact as
// soon as a weight has changed. As a rule it takes fewer: a position that is drawn from all alike, and
// accepted with the probability of its weight in parts of the largest one, has the same chances
// (von Neumann, 1951), and costs the same however many positions there are.

/// Weights by position, for any number of threads, without a lock.
public final class WeightTree: Sendable {
  private enum Sum: TreeRule {
    static var empty: UInt64 { 0 }
    static func merge(_ left: UInt64, _ right: UInt64) -> UInt64 { left &+ right }
  }

  /// So many positions are tried before the tree is asked.
  private static var triesMax: Int { 4 }

  private let tree: SharedTree<Sum>
  /// No weight is larger, and trying makes sense while the sum is this or more: one in four is accepted.
  private let weightMax: UInt64
  private let totalForTries: UInt64

  /// `count` weights of 0, none of which will be larger than `weightMax`, 1 to 2³².
  public init(count: Int, weightMax: UInt64) {
    precondition(weightMax > 0 && weightMax <= 1 << 32)
    tree = SharedTree(count: count)
    self.weightMax = weightMax
    totalForTries = max(1, UInt64(count) * weightMax / 4)
  }

  /// How many positions there are.
  public var count: Int { tree.count }

  /// The sum of all weights.
  public var total: UInt64 { tree.root }

  /// The weight of a position. Changing one takes O(log n).
  public subscript(position: Int) -> UInt64 {
    get { tree[position] }
    set {
      assert(newValue <= weightMax)
      tree.set(newValue, at: position)
    }
  }

  /// A position, each with the probability of its weight; `nil` when there is none of any weight.
  public func draw(_ random: inout SplitMix64) -> Int? {
    if total >= totalForTries {
      for _ in 0..<WeightTree.triesMax {
        if let position = tryOne(&random) { return position }
      }
    }
    return find(in: { random.next(below: $0) })
  }

  /// The position that these bits mean: the same one as long as all weights are the same.
  public func draw(bits: UInt64) -> Int? {
    find(in: { bits.multipliedFullWidth(by: $0).high })
  }

  /// Two different positions, the second by the weights of the others; twice the same one when there is no
  /// other, `nil` when there is none at all.
  public func drawTwo(_ random: inout SplitMix64) -> (Int, Int)? {
    guard let first = draw(&random) else { return nil }
    if total >= totalForTries {
      for _ in 0..<WeightTree.triesMax {
        if let second = tryOne(&random), second != first { return (first, second) }
      }
    }
    let (before, weight) = (self.before(first), self[first])
    let second = find(
      in: { total in
        guard total > weight else { return 0 }
        let point = random.next(below: total - weight)
        return point < before ? point : point + weight
      })
    return (first, second ?? first)
  }

  /// The first position from `start` on that has a weight. Steps over whole branches that have none.
  public func next(from start: Int) -> Int? {
    var position = start
    while position < tree.count {
      if tree.word(0, position) > 0 { return position }
      var level = 0
      var node = position
      while level + 1 < tree.levels, node % 16 == 0, tree.word(level + 1, node / 16) == 0 {
        node /= 16
        level += 1
      }
      position = (node + 1) << (4 * level)
    }
    return nil
  }

  /// A position from all alike, if chance accepts its weight.
  private func tryOne(_ random: inout SplitMix64) -> Int? {
    let (position, rest) = random.next().multipliedFullWidth(by: UInt64(tree.count))
    // Where in the position's part of the range the number lies is as random as the position.
    let level = rest.multipliedFullWidth(by: weightMax).high
    return level < tree.word(0, Int(position)) ? Int(position) : nil
  }

  /// The sum of the weights before a position.
  private func before(_ position: Int) -> UInt64 {
    var sum: UInt64 = 0
    var node = position
    for level in 0..<(tree.levels - 1) {
      for sibling in (node & ~15)..<node { sum += tree.word(level, sibling) }
      node /= 16
    }
    return sum
  }

  /// The position in whose share a point lies that `choose` picks below the total.
  private func find(in choose: (_ total: UInt64) -> UInt64) -> Int? {
    // Again when others have changed weights in between; they do not all the time.
    for _ in 0..<8 {
      let total = tree.root
      guard total > 0 else { return nil }
      let point = choose(total)
      if let found = descend(to: point) { return found }
    }
    return next(from: 0)
  }

  private func descend(to point: UInt64) -> Int? {
    var rest = point
    var node = 0
    var level = tree.levels - 1
    while level > 0 {
      level -= 1
      node *= 16
      let end = node + 16
      var weight = tree.word(level, node)
      while rest >= weight {
        rest -= weight
        node += 1
        guard node < end else { return nil }
        weight = tree.word(level, node)
      }
      if level == 0 { return node }
    }
    return nil
  }
}
