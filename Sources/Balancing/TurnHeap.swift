// SPDX-License-Identifier: Apache-2.0
// A heap of moments in virtual time, which are fractions: a whole part, and a rest in parts of a
// weight. Comparing them never rounds, so those that are due at the same moment are found to be.

/// A moment in virtual time.
struct VirtualTime: Sendable {
  /// How many units one pick takes an entry of weight 1.
  static let unit = 1 << 20

  var whole: Int
  /// In 0..<`weight`.
  var rest: Int
  /// What `rest` is divided by, more than 0.
  var weight: Int

  /// The moment one pick later, for an entry of this weight.
  var next: VirtualTime {
    let (quotient, remainder) = VirtualTime.unit.quotientAndRemainder(dividingBy: weight)
    var sum = rest + remainder
    var carry = 0
    if sum >= weight {
      sum -= weight
      carry = 1
    }
    return VirtualTime(whole: whole + quotient + carry, rest: sum, weight: weight)
  }

  /// The same moment, or a little before it, in parts of another weight.
  func inParts(of other: Int) -> VirtualTime {
    let part = weight.dividingFullWidth(rest.multipliedFullWidth(by: other)).quotient
    return VirtualTime(whole: whole, rest: part, weight: other)
  }

  func isBefore(_ other: VirtualTime) -> Bool {
    if whole != other.whole { return whole < other.whole }
    return rest * other.weight < other.rest * weight
  }
}

/// When an entry is due.
struct Turn: Sendable {
  var at: VirtualTime
  /// Who comes first of several at the same moment.
  var rank: Int32
  /// Whose turn it is.
  var entry: Int32

  func isBefore(_ other: Turn) -> Bool {
    if at.isBefore(other.at) { return true }
    return rank < other.rank && !other.at.isBefore(at)
  }
}

/// Turns, the next one first. Whoever owns it remembers where each entry stands, in `slots`.
struct TurnHeap: Sendable {
  private var turns: [Turn] = []

  var first: Turn? { turns.first }
  var isEmpty: Bool { turns.isEmpty }

  subscript(slot: Int) -> Turn { turns[slot] }

  mutating func insert(_ turn: Turn, _ slots: inout [Int32]) {
    turns.append(turn)
    rise(turns.count - 1, turn, &slots)
  }

  /// Puts another turn of the same entry in the place of the first.
  mutating func replaceFirst(_ turn: Turn, _ slots: inout [Int32]) {
    assert(turns[0].entry == turn.entry)
    sink(0, turn, &slots)
  }

  mutating func remove(at slot: Int, _ slots: inout [Int32]) {
    let last = turns.removeLast()
    guard slot < turns.count else { return }
    if slot > 0, last.isBefore(turns[(slot - 1) / 2]) {
      rise(slot, last, &slots)
    } else {
      sink(slot, last, &slots)
    }
  }

  private mutating func rise(_ start: Int, _ turn: Turn, _ slots: inout [Int32]) {
    var slot = start
    while slot > 0 {
      let parent = (slot - 1) / 2
      guard turn.isBefore(turns[parent]) else { break }
      place(turns[parent], at: slot, &slots)
      slot = parent
    }
    place(turn, at: slot, &slots)
  }

  private mutating func sink(_ start: Int, _ turn: Turn, _ slots: inout [Int32]) {
    var slot = start
    while true {
      var child = 2 * slot + 1
      guard child < turns.count else { break }
      if child + 1 < turns.count, turns[child + 1].isBefore(turns[child]) { child += 1 }
      guard turns[child].isBefore(turn) else { break }
      place(turns[child], at: slot, &slots)
      slot = child
    }
    place(turn, at: slot, &slots)
  }

  private mutating func place(_ turn: Turn, at slot: Int, _ slots: inout [Int32]) {
    turns[slot] = turn
    slots[Int(turn.entry)] = Int32(slot)
  }
}
