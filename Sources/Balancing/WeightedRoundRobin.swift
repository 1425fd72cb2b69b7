// SPDX-License-Identifier: Apache-2.0
// Smooth weighted round robin as an apportionment over time (Tijdeman, 1980): every pick gives each
// entry its share of a pick as credit; of the entries that are in credit the one that would be
// overdue first is picked, and pays a whole pick. At every moment each entry has had its share to
// within one pick, so neither a heavy endpoint nor a crowd of light ones comes in a burst. (Taking
// simply whoever is due next, as stride scheduling does, keeps pairs in step but lets 100 equal
// entries form a queue behind one that weighs as much as all of them together.)

/// Picks positions in turn, by weight, interleaved. A value: picks change only this value.
public struct WeightedRoundRobin: Sendable {
  private struct Entry {
    let position: Int
    let weight: Int
    /// In units of 1 / the weight of all: what it is owed; negative: what it has had in advance.
    var credit = 0
    var isUsable = true
  }

  private var entries: [Entry] = []

  /// Starts a cycle over the positions of `weights`. A weight of 0 is never picked. `offset` starts
  /// that many picks into the cycle, so that several workers do not all begin with the same
  /// endpoint.
  ///
  /// Weights must be within 0...65,535.
  public init(weights: [Int], offset: Int = 0) {
    for (position, weight) in weights.enumerated() where weight > 0 {
      precondition(weight <= 65_535)
      entries.append(Entry(position: position, weight: weight))
    }
    let cycle = weights.reduce(0, +)
    guard cycle > 0 else { return }
    for _ in 0..<(offset % cycle) { _ = pick { _ in true } }
  }

  /// The next position that `isUsable`; `nil` when there is none. Positions that are passed over
  /// lose their turn and do not make up for it later. Takes O(number of positions).
  public mutating func pick(where isUsable: (Int) -> Bool) -> Int? {
    var total = 0
    for index in entries.indices {
      // Asked once: what other threads count may change between two questions.
      entries[index].isUsable = isUsable(entries[index].position)
      if entries[index].isUsable { total += entries[index].weight }
    }
    guard total > 0 else { return nil }
    var best: Int?
    for index in entries.indices where entries[index].isUsable {
      // Credit from before the usable ones changed counts for one pick at most, either way.
      let credit = min(max(entries[index].credit, -total), total) + entries[index].weight
      entries[index].credit = credit
      if best.map({ isBefore(entries[index], entries[$0], total) }) ?? true { best = index }
    }
    guard let best else { return nil }
    entries[best].credit -= total
    return entries[best].position
  }

  /// Whether `left` is to be picked before `right`, which stands before it.
  private func isBefore(_ left: Entry, _ right: Entry, _ total: Int) -> Bool {
    if (left.credit > 0) != (right.credit > 0) { return left.credit > 0 }
    // An entry is overdue once it is owed a whole pick: so many picks from now, without dividing.
    return (total - left.credit) * right.weight < (total - right.credit) * left.weight
  }
}
