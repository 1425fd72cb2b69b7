// SPDX-License-Identifier: Apache-2.0
// A tree of sixteen children per node that many threads read and several change, without a lock: a
// node is one atomic word, made of its children's words by a rule. One level of ten thousand leaves is
// four steps away from the root, and the children of a node lie on two lines of cache.
//
// Whoever changes a leaf makes its ancestors anew, from below, and looks again at the children after he
// has written their parent. So the tree is right at rest: the last word written to a node was compared
// with the children after it was written, and whoever changes a child later compares, too. (Everything
// that is compared is sequentially consistent; with less, both could miss each other's word.) While
// others write, a reader may find a parent that does not fit its children, and has to start again.

import Synchronization

/// How the words of children become their parent's.
protocol TreeRule {
  /// The word of a leaf that is not there, and of many of them.
  static var empty: UInt64 { get }
  /// The word of two neighbours together.
  static func merge(_ left: UInt64, _ right: UInt64) -> UInt64
}

/// The tree. All its leaves begin empty.
final class SharedTree<Rule: TreeRule>: Sendable {
  static var width: Int { 16 }

  let count: Int
  /// The number of levels, the leaves included; the last one is the root alone.
  let levels: Int
  /// Where each level begins: 16⁸ leaves are more than anybody has.
  private let starts: [9 of Int]
  // SAFETY: allocated by `init`, freed by `deinit`; every access in between is atomic.
  private nonisolated(unsafe) let nodes: UnsafeMutablePointer<Atomic<UInt64>>

  init(count: Int) {
    precondition(count > 0)
    self.count = count
    var starts = [9 of Int](repeating: 0)
    var levels = 1
    var size = count
    var total = 0
    repeat {
      // Whole groups, so that no node has to know how many children it has.
      size = (size + 15) / 16
      total += size * 16
      starts[levels] = total
      levels += 1
    } while size > 1
    self.levels = levels
    self.starts = starts
    let nodeCount = total + 1
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: nodeCount * MemoryLayout<Atomic<UInt64>>.stride, alignment: 128)
    nodes = memory.assumingMemoryBound(to: Atomic<UInt64>.self)
    for node in 0..<nodeCount { (nodes + node).initialize(to: Atomic(Rule.empty)) }
  }

  deinit {
    UnsafeMutableRawPointer(nodes).deallocate()
  }

  /// The word of all leaves together.
  var root: UInt64 { word(levels - 1, 0) }

  /// The word of a leaf.
  subscript(position: Int) -> UInt64 {
    assert(position >= 0 && position < count)
    return nodes[position].load(ordering: .sequentiallyConsistent)
  }

  /// A word, as it is at the moment.
  func word(_ level: Int, _ node: Int) -> UInt64 {
    nodes[starts[level] + node].load(ordering: .relaxed)
  }

  /// Changes a leaf, and all that is made of it.
  func set(_ word: UInt64, at position: Int) {
    assert(position >= 0 && position < count)
    set(word, 0, position)
    var node = position
    for level in 1..<levels {
      node /= SharedTree.width
      guard renew(level, node) else { return }
    }
  }

  /// Makes a node of its children. Returns whether this thread has written it; if not, whoever did
  /// goes on from there.
  private func renew(_ level: Int, _ node: Int) -> Bool {
    var hasWritten = false
    while true {
      let current = nodes[starts[level] + node].load(ordering: .sequentiallyConsistent)
      let next = merged(level, node)
      if next == current { return hasWritten }
      set(next, level, node)
      hasWritten = true
    }
  }

  private func set(_ word: UInt64, _ level: Int, _ node: Int) {
    nodes[starts[level] + node].store(word, ordering: .sequentiallyConsistent)
  }

  private func merged(_ level: Int, _ node: Int) -> UInt64 {
    let first = starts[level - 1] + node * SharedTree.width
    var word = nodes[first].load(ordering: .sequentiallyConsistent)
    for child in 1..<SharedTree.width {
      word = Rule.merge(word, nodes[first + child].load(ordering: .sequentiallyConsistent))
    }
    return word
  }
}
