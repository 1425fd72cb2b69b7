// SPDX-License-Identifier: Apache-2.0
// Smooth weighted round robin as fair queueing (WF²Q, Bennett and Zhang, 1996): in virtual time every
// entry begins a pick's worth of service when the one before it is over, and is due 1 / weight later; of
// those that have begun, the one that is due first is picked. At every moment each entry has had its
// share to within one pick, so neither a heavy endpoint nor a crowd of light ones comes in a burst.
// (Taking simply whoever is due next, as stride scheduling does, keeps pairs in step but lets 100
// equal entries form a queue behind one that weighs as much as all of them together.)
//
// Entries of one weight are due in the order in which they have begun. So a class of them needs one
// heap, by beginning, and only the classes' first entries are compared by both: those that have begun
// by when they are due, the others by when they begin. A pick changes one entry and its class; there is
// no moment at which thousands of equal entries begin at once.

/// Picks positions in turn, by weight, interleaved. A value: picks change only this value.
public struct WeightedRoundRobin: Sendable {
  /// The entries of one weight.
  private struct WeightClass {
    /// By beginning.
    var turns = TurnHeap()
    /// Whether its first entry has begun; then it is in `begun`, otherwise in `later`.
    var hasBegun = false
  }

  private let count: Int
  private let rotation: Int
  private var weights: [Int32]
  /// Where each entry stands in the heap of its class.
  private var slots: [Int32]
  private var classes: [WeightClass] = []
  private var classOfWeight: [Int: Int] = [:]
  private var vacantClasses: [Int] = []
  /// Where each class stands in its heap.
  private var classSlots: [Int32] = []
  /// Classes whose first entry has begun, by when that is due.
  private var begun = TurnHeap()
  /// The others, by when it begins.
  private var later = TurnHeap()
  private var now = VirtualTime(whole: 0, rest: 0, weight: 1)
  private var total = 0

  /// Starts a cycle over the positions of `weights`. A weight of 0 is never picked. `offset` starts
  /// that many picks into the cycle, so that several workers do not all begin with the same
  /// endpoint. Of those that are due at the same moment the first one from `rotation` on is picked first.
  ///
  /// Weights must be within 0...65,536.
  public init(weights: [Int], offset: Int = 0, rotation: Int = 0) {
    count = weights.count
    self.rotation = rotation
    self.weights = [Int32](repeating: 0, count: weights.count)
    slots = [Int32](repeating: 0, count: weights.count)
    for (position, weight) in weights.enumerated() where weight > 0 {
      setWeight(weight, at: position)
    }
    guard total > 0 else { return }
    for _ in 0..<offset { _ = pick() }
  }

  /// The next position; `nil` when none has a weight. Whoever passes a position over asks again: that
  /// one has then had its turn. Takes O(log n).
  public mutating func pick() -> Int? {
    guard total > 0 else { return nil }
    now = now.next
    while let next = later.first, next.at.isBefore(now) { begin(Int(next.entry)) }
    if begun.isEmpty, let next = later.first {
      // Those that were owed something are gone.
      now = next.at.inParts(of: total)
      begin(Int(next.entry))
    }
    guard let due = begun.first else { return nil }
    let number = Int(due.entry)
    begun.remove(at: 0, &classSlots)
    guard var turn = classes[number].turns.first else { return nil }
    turn.at = turn.at.next
    classes[number].turns.replaceFirst(turn, &slots)
    wait(number)
    return Int(turn.entry)
  }

  /// Changes a weight; 0 takes the position out. Who comes back is owed nothing, who stays keeps what he
  /// is owed, a pick at most. Takes O(log n).
  public mutating func setWeight(_ weight: Int, at position: Int) {
    precondition((0...65_536).contains(weight))
    let before = Int(weights[position])
    guard weight != before else { return }
    var start = now.whole
    if before > 0 {
      let owed = remove(position) - now.whole
      // What it is owed is time by weight.
      if weight > 0 { start += owed * before / weight }
    }
    weights[position] = Int32(weight)
    total += weight - before
    now = total > 0 ? now.inParts(of: total) : VirtualTime(whole: now.whole, rest: 0, weight: 1)
    if weight > 0 { insert(position, from: start) }
  }

  // MARK: Classes

  private mutating func insert(_ position: Int, from start: Int) {
    let weight = Int(weights[position])
    let number = number(of: weight)
    withdraw(number)
    let turn = Turn(
      at: VirtualTime(whole: start, rest: 0, weight: weight),
      rank: Int32((position + count - rotation % count) % count), entry: Int32(position))
    classes[number].turns.insert(turn, &slots)
    wait(number)
  }

  /// Takes a position out of its class; returns when its turn would have begun.
  private mutating func remove(_ position: Int) -> Int {
    let weight = Int(weights[position])
    let number = number(of: weight)
    withdraw(number)
    let slot = Int(slots[position])
    let start = classes[number].turns[slot].at.whole
    classes[number].turns.remove(at: slot, &slots)
    if classes[number].turns.isEmpty {
      classOfWeight[weight] = nil
      vacantClasses.append(number)
    } else {
      wait(number)
    }
    return start
  }

  private mutating func number(of weight: Int) -> Int {
    if let known = classOfWeight[weight] { return known }
    let number = vacantClasses.popLast() ?? classes.count
    if number == classes.count {
      classes.append(WeightClass())
      classSlots.append(0)
    }
    classOfWeight[weight] = number
    return number
  }

  /// The first entry of a class has begun.
  private mutating func begin(_ number: Int) {
    guard var turn = later.first else { return }
    assert(Int(turn.entry) == number)
    later.remove(at: 0, &classSlots)
    turn.at = turn.at.next
    begun.insert(turn, &classSlots)
    classes[number].hasBegun = true
  }

  /// Has a class wait until its first entry begins, which may be at once.
  private mutating func wait(_ number: Int) {
    guard var turn = classes[number].turns.first else { return }
    turn.entry = Int32(number)
    later.insert(turn, &classSlots)
    classes[number].hasBegun = false
  }

  /// Takes a class out of both heaps, before its first entry changes.
  private mutating func withdraw(_ number: Int) {
    guard !classes[number].turns.isEmpty else { return }
    if classes[number].hasBegun {
      begun.remove(at: Int(classSlots[number]), &classSlots)
    } else {
      later.remove(at: Int(classSlots[number]), &classSlots)
    }
  }
}
