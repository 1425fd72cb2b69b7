// SPDX-License-Identifier: Apache-2.0
// How each policy chooses one position of a tier. What has no room or may not be picked is in none of the
// trees; what has failed this session already has to be passed over here. That is rare, so draws are
// simply made again, and only then it is looked around.

import Balancing

extension Roster {
  /// How many draws may find endpoints that have failed the session before it is looked around.
  private static var drawsMax: Int { 16 }

  /// Whether a session that these have failed may have a member, as far as its leaf tells.
  func isOpen(_ position: Int, _ tried: UInt64) -> Bool {
    tried & members[position].triedBit == 0 && rooms[position] > 0
  }

  /// A member at random, by weight × share.
  func draw(_ tried: UInt64, _ random: inout SplitMix64) -> Int? {
    if tried == 0 { return rooms.draw(&random) }
    // Few of them: exactly, by those that are left.
    if members.count <= 64 {
      let total = members.indices.reduce(0) { isOpen($1, tried) ? $0 + rooms[$1] : $0 }
      guard total > 0 else { return nil }
      var point = random.next(below: total)
      var last: Int?
      for position in members.indices where isOpen(position, tried) {
        let weight = rooms[position]
        if point < weight { return position }
        point -= weight
        last = position
      }
      return last
    }
    for _ in 0..<Roster.drawsMax {
      guard let position = rooms.draw(&random) else { return nil }
      if tried & members[position].triedBit == 0 { return position }
    }
    let start = Int(random.next(below: UInt64(members.count)))
    return next(from: start, tried) ?? first(tried)
  }

  /// The first member in the order of the file.
  func first(_ tried: UInt64) -> Int? {
    next(from: 0, tried)
  }

  private func next(from start: Int, _ tried: UInt64) -> Int? {
    var found = rooms.next(from: start)
    while let position = found, tried & members[position].triedBit != 0 {
      found = rooms.next(from: position + 1)
    }
    return found
  }

  /// Two members at random by weight × share, different ones if there are two.
  func drawTwo(_ tried: UInt64, _ random: inout SplitMix64) -> (Int, Int)? {
    if tried == 0 { return rooms.drawTwo(&random) }
    guard let one = draw(tried, &random) else { return nil }
    let other = draw(tried | members[one].triedBit, &random) ?? one
    return (one, other)
  }

  /// Of two members the one with fewer sessions per weight.
  func lessLoaded(_ two: (Int, Int)?) -> Int? {
    guard let (one, other) = two else { return nil }
    let left = (sessions(one) + 1) * usableWeight(other)
    let right = (sessions(other) + 1) * usableWeight(one)
    return left <= right ? one : other
  }

  /// The member with the fewest sessions per weight × share; which one of several is left to chance.
  func least(_ tried: UInt64, _ random: inout SplitMix64) -> Int? {
    guard let loads else { return nil }
    // Again when a leaf was behind; it is not any more.
    for _ in 0..<8 {
      guard var position = loads.draw(&random) else { return nil }
      if tried & members[position].triedBit != 0 {
        guard
          let other = loads.least(
            &random, where: { tried & members[$0].triedBit == 0 })
        else { return nil }
        position = other
      }
      if verifyLoad(position) { return position }
    }
    return draw(tried, &random)
  }
}
