// SPDX-License-Identifier: Apache-2.0
// How each policy chooses one position of a tier. What has no room or may not be picked is in none of the
// trees; what has failed this session already has to be passed over here. That is rare, so draws are
// simply made again, and only then it is looked around.

import Balancing
import Reactor

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

  // MARK: Hashes

  /// How many of a key's places are looked at before the key draws by weight.
  private static var placesMax: Int { 64 }

  /// The member that a key belongs to, or the next one of the key that may be picked and has room. A
  /// member whose load is bounded, in percent of its share of all sessions, has no room beyond that, as
  /// long as another one has (Mirrokni, Thorup and Zadimoghaddam, 2018).
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
    // Few are left: all of the key's places are somebody else's. It draws among those who are left, always
    // the same as long as these are.
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

  /// Less than this is no difference, in seconds: an idle endpoint of little latency would get everything.
  private static var latencyFloor: Float { 100e-6 }

  /// Of two members the one that answers sooner, times the sessions it would have by its weight. As long as
  /// one was never measured, only the latter counts.
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

/// How many sessions a member may have so that none is far above its share.
private struct LoadBound {
  /// Sessions for all of the weight, in percent.
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
