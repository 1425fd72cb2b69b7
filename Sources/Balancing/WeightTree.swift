// SPDX-License-Identifier: Apache-2.0
// Weights as a tree of sums: a draw by weight takes as many steps as the tree has levels, and is exact as
// soon as a weight has changed.

/// Weights by position, for any number of threads, without a lock.
public final class WeightTree: Sendable {
  private enum Sum: TreeRule {
    static var empty: UInt64 { 0 }
    static func merge(_ left: UInt64, _ right: UInt64) -> UInt64 { left &+ right }
  }

  private let tree: SharedTree<Sum>

  /// `count` weights of 0.
  public init(count: Int) {
    tree = SharedTree(count: count)
  }

  /// How many positions there are.
  public var count: Int { tree.count }

  /// The sum of all weights.
  public var total: UInt64 { tree.root }

  /// The weight of a position, 0 to 2³². Changing one takes O(log n).
  public subscript(position: Int) -> UInt64 {
    get { tree[position] }
    set {
      assert(newValue <= 1 << 32)
      tree.set(newValue, at: position)
    }
  }

  /// A position, each with the probability of its weight; `nil` when there is none of any weight.
  public func draw(_ random: inout SplitMix64) -> Int? {
    find(in: { random.next(below: $0) })?.position
  }

  /// The position that these bits mean: the same one as long as all weights are the same.
  public func draw(bits: UInt64) -> Int? {
    find(in: { bits.multipliedFullWidth(by: $0).high })?.position
  }

  /// Two different positions, the second by the weights of the others; twice the same one when there is no
  /// other, `nil` when there is none at all.
  public func drawTwo(_ random: inout SplitMix64) -> (Int, Int)? {
    guard let first = find(in: { random.next(below: $0) }) else { return nil }
    let second = find(
      in: { total in
        guard total > first.weight else { return 0 }
        let point = random.next(below: total - first.weight)
        return point < first.before ? point : point + first.weight
      })
    return (first.position, second?.position ?? first.position)
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

  /// The position in whose share a point lies that `choose` picks below the total.
  private func find(
    in choose: (_ total: UInt64) -> UInt64
  ) -> (position: Int, before: UInt64, weight: UInt64)? {
    // Again when others have changed weights in between; they do not all the time.
    for _ in 0..<8 {
      let total = tree.root
      guard total > 0 else { return nil }
      let point = choose(total)
      if let found = descend(to: point) { return found }
    }
    guard let position = next(from: 0) else { return nil }
    return (position, 0, tree[position])
  }

  private func descend(
    to point: UInt64
  ) -> (position: Int, before: UInt64, weight: UInt64)? {
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
      if level == 0 { return (node, point - rest, weight) }
    }
    return nil
  }
}
