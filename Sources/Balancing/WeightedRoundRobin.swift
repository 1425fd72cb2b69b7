// SPDX-License-Identifier: Apache-2.0
// Smooth weighted round robin as stride scheduling (Waldspurger and Weihl, 1995): each entry has a
// pass, the entry with the smallest pass is picked, and its pass grows by a stride that is inversely
// proportional to its weight. At every moment each entry has had its share to within one pick, so a
// heavy endpoint gets no bursts. With a heap a pick takes O(log n), where the common "add weights,
// take the largest, subtract the total" takes O(n).

/// Picks positions in turn, by weight, interleaved. A value: picks change only this value.
public struct WeightedRoundRobin: Sendable {
  private struct Entry {
    var pass: UInt64
    let stride: UInt64
    let position: Int

    /// Equal passes go by position, so that the order is the same every time.
    static func < (left: Entry, right: Entry) -> Bool {
      left.pass != right.pass ? left.pass < right.pass : left.position < right.position
    }
  }

  private static let scale: UInt64 = 1 << 32
  /// Above this all passes are lowered together, so that they never overflow.
  private static let passMax: UInt64 = 1 << 62

  private var heap: [Entry] = []

  /// Starts a cycle over the positions of `weights`. A weight of 0 is never picked. `offset` starts
  /// that many picks into the cycle, so that several workers do not all begin with the same
  /// endpoint.
  ///
  /// Weights must be within 0...65,535.
  public init(weights: [Int], offset: Int = 0) {
    for (position, weight) in weights.enumerated() where weight > 0 {
      precondition(weight <= 65_535)
      let stride = WeightedRoundRobin.scale / UInt64(weight)
      // Starting half a stride in centres each entry's picks in the cycle.
      push(Entry(pass: stride / 2, stride: stride, position: position), count: heap.count)
    }
    let cycle = weights.reduce(0, +)
    guard cycle > 0 else { return }
    for _ in 0..<(offset % cycle) { _ = pick { _ in true } }
  }

  /// The next position that `isUsable`; `nil` when there is none. Positions that are passed over
  /// lose their turn and do not make up for it later.
  public mutating func pick(where isUsable: (Int) -> Bool) -> Int? {
    // Unusable entries move behind the heap's end, and back once the search is over.
    var count = heap.count
    while count > 0, !isUsable(heap[0].position) {
      count -= 1
      heap.swapAt(0, count)
      siftDown(count: count)
    }
    guard count > 0 else {
      for restored in 0..<heap.count { siftUp(restored) }
      return nil
    }
    let picked = heap[0]
    heap[0].pass += picked.stride
    siftDown(count: count)
    while count < heap.count {
      // A skipped entry's pass is not after the picked one's: its turn has come and gone.
      heap[count].pass = picked.pass + heap[count].stride
      siftUp(count)
      count += 1
    }
    if picked.pass > WeightedRoundRobin.passMax { lowerPasses(by: picked.pass) }
    return picked.position
  }

  private mutating func lowerPasses(by amount: UInt64) {
    for index in heap.indices {
      assert(heap[index].pass >= amount)
      heap[index].pass -= amount
    }
  }

  // MARK: The heap: heap[0] is the smallest, children of i are 2i+1 and 2i+2.

  private mutating func push(_ entry: Entry, count: Int) {
    heap.append(entry)
    siftUp(count)
  }

  private mutating func siftUp(_ start: Int) {
    var child = start
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child] < heap[parent] else { return }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  private mutating func siftDown(count: Int) {
    var parent = 0
    while true {
      var smallest = parent
      for child in (2 * parent + 1)...(2 * parent + 2) where child < count {
        if heap[child] < heap[smallest] { smallest = child }
      }
      guard smallest != parent else { return }
      heap.swapAt(parent, smallest)
      parent = smallest
    }
  }
}
