// SPDX-License-Identifier: Apache-2.0
// Loads as a tree of minima: who carries the least per weight is known at the root, and how many do, so
// that a draw among equals takes as many steps as the tree has levels. Counting the new session in makes
// idle positions differ by weight, too, and a weight of 2 mean twice as many sessions from the first on.

/// Loads by position, for any number of threads, without a lock. What is read may be overtaken by others
/// at any time; who relies on it looks at the true load, and corrects the leaf.
public final class LoadTree: Sendable {
  /// A word: the load per weight in the upper forty bits, and how many have that in the lower.
  private enum Least: TreeRule {
    static var empty: UInt64 { LoadTree.never }

    static func merge(_ left: UInt64, _ right: UInt64) -> UInt64 {
      if left >> 24 == right >> 24 { return left &+ (right & 0xFF_FFFF) }
      return min(left, right)
    }
  }

  /// Nobody can be chosen there; none has this load.
  private static let never: UInt64 = .max << 24

  private let tree: SharedTree<Least>

  /// `count` positions that cannot be chosen.
  public init(count: Int) {
    precondition(count < 1 << 24)
    tree = SharedTree(count: count)
  }

  /// A load that can be compared: (`sessions` + 1) / `weight`, to one part in 2²⁸. `weight` must not be 0.
  public static func load(sessions: Int, weight: Int) -> UInt64 {
    assert(sessions >= 0 && weight > 0)
    // The patterns of positive numbers are in the order of the numbers; equal quotients are equal, since
    // division rounds correctly.
    return (Double(sessions + 1) / Double(weight)).bitPattern >> 24
  }

  /// The load of a position (see `load`), `nil` while it cannot be chosen. Changing it takes O(log n).
  public subscript(position: Int) -> UInt64? {
    get {
      let word = tree[position]
      return word == LoadTree.never ? nil : word >> 24
    }
    set { tree.set(newValue.map { $0 << 24 | 1 } ?? LoadTree.never, at: position) }
  }

  /// One of the positions with the least load, each being equally likely, so that workers that see the
  /// same loads do not all choose the same one. `nil` when none can be chosen.
  public func draw(_ random: inout SplitMix64) -> Int? {
    // Again when others have changed loads in between; they do not all the time.
    for _ in 0..<8 {
      guard tree.root >> 24 != LoadTree.never >> 24 else { return nil }
      if let found = descend(&random) { return found }
    }
    return nil
  }

  private func descend(_ random: inout SplitMix64) -> Int? {
    var node = 0
    var level = tree.levels - 1
    while level > 0 {
      level -= 1
      let first = node * 16
      var words = [16 of UInt64](repeating: 0)
      var least = LoadTree.never
      for child in 0..<16 {
        words[child] = tree.word(level, first + child)
        least = Least.merge(least, words[child])
      }
      let ties = least & 0xFF_FFFF
      guard ties > 0 else { return nil }
      var point = random.next(below: ties)
      for child in 0..<16 where words[child] >> 24 == least >> 24 {
        let width = words[child] & 0xFF_FFFF
        node = first + child
        if point < width { break }
        point -= width
      }
    }
    return node
  }

  /// A position of the least load among those that are `usable`; which one of several is left to chance.
  /// For the rare case that `draw` has found one that is not: asks those of less load first, and looks
  /// no further than the first that is.
  public func least(_ random: inout SplitMix64, where isUsable: (Int) -> Bool) -> Int? {
    var best: (position: Int, load: UInt64)?
    search(tree.levels - 1, 0, Int(random.next(below: 16)), &best, isUsable)
    return best?.position
  }

  private func search(
    _ level: Int, _ node: Int, _ turn: Int, _ best: inout (position: Int, load: UInt64)?,
    _ isUsable: (Int) -> Bool
  ) {
    let bound = best?.load ?? LoadTree.never >> 24
    guard tree.word(level, node) >> 24 < bound else { return }
    guard level > 0 else {
      if isUsable(node) { best = (node, tree.word(level, node) >> 24) }
      return
    }
    var visited: UInt16 = 0
    while true {
      var next: (child: Int, load: UInt64)?
      for step in 0..<16 {
        let child = (turn + step) % 16
        let load = tree.word(level - 1, node * 16 + child) >> 24
        guard visited & 1 << UInt16(child) == 0, load < LoadTree.never >> 24 else { continue }
        if next.map({ load < $0.load }) ?? true { next = (child, load) }
      }
      guard let next, best.map({ next.load < $0.load }) ?? true else { return }
      visited |= 1 << UInt16(next.child)
      search(level - 1, node * 16 + next.child, turn, &best, isUsable)
    }
  }
}
