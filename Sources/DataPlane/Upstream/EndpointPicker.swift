// SPDX-License-Identifier: Apache-2.0
// Picks an endpoint for a session: the balancer chooses among the endpoints that can serve, tier by tier,
// and counts the session at the chosen one at once, so that bounds hold for all workers together. No pick
// looks at all endpoints, except when some have failed the session already and the draws find no other, or
// when all seem to be full.

import Balancing
import Plan
import Reactor

/// The result of looking for an endpoint.
package enum Pick: Equatable {
  /// This endpoint; the session is counted there.
  case endpoint(EndpointIndex)
  /// Every endpoint that may get sessions and has not failed this one is full.
  case full
  /// Every endpoint that may get sessions has failed this one.
  case tried
  /// No endpoint may get sessions at the moment.
  case unavailable
}

/// A worker's turns in one upstream. Loads and availability are shared with other workers through the
/// rosters.
package struct EndpointPicker {
  /// The upstream's `turnsVersion` that this was made for.
  let turnsVersion: Int
  private var turns: [TierTurns]
  private var nextSource = 0

  /// `offset` differs from worker to worker, so that they start at different positions of the cycle.
  /// `rotation` selects the first one of equal endpoints.
  package init(_ upstream: Upstream, offset: Int, rotation: Int = 0) {
    turnsVersion = upstream.turnsVersion
    turns =
      upstream.balance == .roundRobin
      ? upstream.rosters.map { TierTurns($0, offset: offset, rotation: rotation) } : []
  }

  /// An endpoint of `upstream` that may get sessions and has room for one more, which is counted there.
  /// The session must be counted at the upstream already: bounds of load are shares of that count. `tried`
  /// has the bits of the endpoints that have failed this session. With more than 64 endpoints an untried one
  /// may share such a bit and is passed over, too; this bounds what a session stores. `key` is the key of a
  /// hash.
  package mutating func pick(
    _ upstream: Upstream, of topology: Topology, tried: UInt64, key: UInt64 = 0, at now: Instant,
    random: inout SplitMix64
  ) -> Pick {
    guard upstream.state.serving != .none else { return .unavailable }
    let first: Int
    if upstream.hash != nil {
      // The same client finds the same tier.
      var bits = SplitMix64(seed: ~key)
      first = firstTier(of: upstream, &bits)
    } else {
      first = firstTier(of: upstream, &random)
    }
    for step in upstream.rosters.indices {
      let tier = (first + step) % upstream.rosters.count
      let roster = upstream.rosters[tier]
      // Again when other workers took the last place of an endpoint first; this does not go on for long.
      for _ in 0..<64 {
        guard let position = choose(upstream, roster, tier, tried, key, now, &random) else { break }
        if roster.take(position) { return .endpoint(roster.members[position].endpoint) }
      }
    }
    switch EndpointPicker.reason(upstream, tried) {
    case .full:
      // The trees are right at rest: a thread that has changed a leaf and not yet what is above it hides a
      // place. Only looking at all members proves that there is none, and only bounded ones can be full.
      for roster in upstream.rosters {
        if let endpoint = roster.takeOpen(tried) { return .endpoint(endpoint) }
      }
      return .full
    case .tried:
      let endpoint = upstream.lastResort(tried: tried, random: &random)
      return endpoint.map(Pick.endpoint) ?? .tried
    case let reason: return reason
    }
  }

  // MARK: Tiers

  /// The tier to look at first. A tier with too little healthy weight leaves a part of the sessions to those
  /// after it; what all of them leave goes to the first tier with a usable endpoint.
  private func firstTier(of upstream: Upstream, _ random: inout SplitMix64) -> Int {
    guard upstream.spillOverPercent > 0, upstream.rosters.count > 1 else { return 0 }
    for (tier, roster) in upstream.rosters.enumerated() where roster.usableTotal > 0 {
      let healthy = roster.healthyWeight * 100
      let needed = roster.weightTotal * upstream.spillOverPercent
      if healthy >= needed || random.next(below: UInt64(needed)) < UInt64(max(0, healthy)) {
        return tier
      }
    }
    return 0
  }

  /// Why no endpoint can be picked.
  private static func reason(_ upstream: Upstream, _ tried: UInt64) -> Pick {
    guard upstream.rosters.contains(where: { $0.usableTotal > 0 }) else { return .unavailable }
    guard tried != 0 else { return .full }
    for roster in upstream.rosters {
      for (position, member) in roster.members.enumerated()
      where tried & member.triedBit == 0 && roster.usableWeight(position) > 0 {
        return .full
      }
    }
    return .tried
  }

  // MARK: Choosing

  private mutating func choose(
    _ upstream: Upstream, _ roster: Roster, _ tier: Int, _ tried: UInt64, _ key: UInt64,
    _ now: Instant, _ random: inout SplitMix64
  ) -> Int? {
    guard roster.rooms.total > 0 else { return nil }
    switch upstream.balance {
    case .roundRobin:
      // A retry takes no turn: the same endpoint always follows a dead one in the order, and would otherwise
      // lose its turn each time.
      let turn = tried == 0 ? turns[tier].pick(roster, tried) : nil
      return turn ?? roster.draw(tried, &random)
    case .random: return roster.draw(tried, &random)
    case .leastConnections: return roster.least(tried, &random)
    case .powerOfTwo: return roster.lessLoaded(roster.drawTwo(tried, &random))
    case .first: return roster.first(tried)
    case .sourceHash(let plan), .maglev(let plan):
      return roster.owner(of: key, tried, loadPercent: plan.loadPercent)
    case .peakEWMA:
      return roster.quicker(
        roster.drawTwo(tried, &random), at: now, decayNanoseconds: upstream.decayNanoseconds)
    }
  }

  /// The source address for the next connection to an endpoint of `family`, in turn; `nil` if the kernel
  /// chooses it.
  mutating func source(of upstream: Upstream, family: Int32) -> Int? {
    for _ in upstream.sources.indices {
      let candidate = nextSource % upstream.sources.count
      nextSource = (nextSource + 1) % upstream.sources.count
      if upstream.sources[candidate].family == family { return candidate }
    }
    return nil
  }
}

/// One worker's turns in one tier.
private struct TierTurns {
  /// How many endpoints that are full or have failed the session may lose their turn before an endpoint is
  /// drawn at random.
  private static var passesMax: Int { 16 }

  private var turns: WeightedRoundRobin
  /// The roster's changes up to here are in `turns`.
  private var change: UInt64

  init(_ roster: Roster, offset: Int, rotation: Int) {
    change = roster.change
    turns = WeightedRoundRobin(
      weights: roster.members.indices.map(roster.usableWeight), offset: offset, rotation: rotation)
  }

  mutating func pick(_ roster: Roster, _ tried: UInt64) -> Int? {
    if change != roster.change { catchUp(roster) }
    for _ in 0..<TierTurns.passesMax {
      guard let position = turns.pick() else { return nil }
      if roster.isOpen(position, tried) { return position }
    }
    return nil
  }

  private mutating func catchUp(_ roster: Roster) {
    let latest = roster.change
    if latest >= change, latest - change < UInt64(Roster.changesMax) {
      for number in change..<latest { follow(roster, roster.changed(at: number)) }
      // Otherwise some changes were overwritten while they were read.
      if roster.change - change < UInt64(Roster.changesMax) {
        change = latest
        return
      }
    }
    change = roster.change
    for position in roster.members.indices { follow(roster, position) }
  }

  private mutating func follow(_ roster: Roster, _ position: Int) {
    turns.setWeight(roster.usableWeight(position), at: position)
  }
}
