// SPDX-License-Identifier: Apache-2.0
// How each policy chooses one position of a tier. Members that have no room or may not be picked are in none of the
// trees; members that have failed this session are passed over here. These are rare, so a draw that finds one is
// repeated, and only then all members are searched.

import Balancing
import Reactor

extension Roster {
  /// How many draws may find endpoints that have failed the session before all members are searched.
  private static var drawsMax: Int { 16 }

  /// Whether a member is open, according to its leaf, to a session that the members in `tried` have failed.
  func isOpen(_ position: Int, _ tried: UInt64) -> Bool {
    tried & members[position].triedBit == 0 && rooms[position] > 0
  }

  /// A member at random, by weight × share.
  func draw(_ tried: UInt64, _ random: inout SplitMix64) -> Int? {
    if tried == 0 { return rooms.draw(&random) }
    // With few members: an exact draw from those that are open.
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

  /// Two members at random by weight × share; different ones if at least two are open.
  func drawTwo(_ tried: UInt64, _ random: inout SplitMix64) -> (Int, Int)? {
    if tried == 0 { return rooms.drawTwo(&random) }
    guard let one = draw(tried, &random) else { return nil }
    let other = draw(tried | members[one].triedBit, &random) ?? one
    return (one, other)
  }

  /// The one of two members with fewer sessions per weight.
  func lessLoaded(_ two: (Int, Int)?) -> Int? {
    guard let (one, other) = two else { return nil }
    let left = (sessions(one) + 1) * usableWeight(other)
    let right = (sessions(other) + 1) * usableWeight(one)
    return left <= right ? one : other
  }

  /// The member with the fewest sessions per weight × share; one of several at random.
  func least(_ tried: UInt64, _ random: inout SplitMix64) -> Int? {
    guard let loads else { return nil }
    // Again when a leaf was out of date; `verifyLoad` has corrected it.
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

  // MARK: Hashes

  /// How many of a key's places are tried before the key draws by weight.
  private static var placesMax: Int { 64 }

  /// The member that a key belongs to, or the next one of the key that may be picked and has room. If loads are
  /// bounded, in percent of a member's share of all sessions, a member at its bound is passed over as long as another
  /// one has room (Mirrokni, Thorup and Zadimoghaddam, 2018).
  func owner(of key: UInt64, _ tried: UInt64, loadPercent: Int?) -> Int? {
    guard let places else { return nil }
    let bound = loadPercent.map { LoadBound(percent: $0, self) }
    var passedOver: Int?
    for attempt in 0..<Roster.placesMax {
      guard let position = places.owner(of: key, attempt: attempt), isOpen(position, tried) else {
        continue
      }
      guard let bound, !bound.allows(position, of: self) else { return position }
      if passedOver == nil { passedOver = position }
    }
    // Few members are open, and none of the key's places belongs to them. The key draws among the open members,
    // with the same result as long as these are the same.
    for attempt in Roster.placesMax..<(Roster.placesMax + Roster.drawsMax) {
      let bits = PlaceTable.bits(of: key, attempt: attempt)
      guard let position = rooms.draw(bits: bits) else { return nil }
      guard tried & members[position].triedBit == 0 else { continue }
      guard let bound, !bound.allows(position, of: self) else { return position }
      if passedOver == nil { passedOver = position }
    }
    return passedOver ?? first(tried)
  }

  // MARK: Latency

  /// Added to each latency, in seconds: otherwise an idle endpoint of very little latency would get all sessions.
  private static var latencyFloor: Float { 100e-6 }

  /// The one of two members with the lower product of latency and sessions per weight, the new session included. As
  /// long as one of them was never measured, only sessions count.
  func quicker(_ two: (Int, Int)?, at now: Instant, decayNanoseconds: UInt64) -> Int? {
    guard let (one, other) = two, one != other else { return two?.0 }
    let averages = (members[one].state.averageLatency, members[other].state.averageLatency)
    guard
      let left = averages.0.seconds(at: now.nanoseconds, decayNanoseconds: decayNanoseconds),
      let right = averages.1.seconds(at: now.nanoseconds, decayNanoseconds: decayNanoseconds)
    else { return lessLoaded(two) }
    let leftCost =
      (left + Roster.latencyFloor) * Float(sessions(one) + 1) * Float(usableWeight(other))
    let rightCost =
      (right + Roster.latencyFloor) * Float(sessions(other) + 1) * Float(usableWeight(one))
    return leftCost <= rightCost ? one : other
  }
}

/// The bound on a member's sessions that keeps it near its share.
private struct LoadBound {
  /// Sessions for all weights together, in percent.
  private let total: Int
  private let weight: Int

  init(percent: Int, _ roster: Roster) {
    total = percent * max(1, roster.upstream.sessions.value)
    weight = max(1, roster.healthyWeight)
  }

  func allows(_ position: Int, of roster: Roster) -> Bool {
    let share = total * roster.members[position].weight
    return roster.sessions(position) + 1 <= (share + 100 * weight - 1) / (100 * weight)
  }
}
