// SPDX-License-Identifier: Apache-2.0
// From "a session needs an endpoint" to one that is reserved for it: the balancer chooses among those
// that can serve, tier by tier, and the choice is counted before anybody else can make it.

import Balancing
import Plan

/// What became of looking for an endpoint.
enum Pick: Equatable {
  /// This one; the session is counted there.
  case endpoint(EndpointIndex)
  /// Of those that may get sessions and have not failed this one, each has as many as it may.
  case full
  /// All that may get sessions have failed this one.
  case tried
  /// No endpoint may get sessions at the moment.
  case unavailable
}

/// A worker's view of one upstream: whose turn it is. Loads and availability are shared with other
/// workers through the endpoints' states.
struct EndpointPicker {
  /// The upstream's `turnsVersion` that this was made for.
  let turnsVersion: Int
  private var turns: [WeightedRoundRobin]
  private var nextSource = 0

  /// `offset` differs from worker to worker: they start at different places of the cycle.
  init(_ upstream: Upstream, offset: Int) {
    turnsVersion = upstream.turnsVersion
    turns =
      upstream.balance == .roundRobin
      ? upstream.tiers.map { tier in
        WeightedRoundRobin(weights: tier.map(\.weight), offset: offset)
      } : []
  }

  /// An endpoint of `upstream` that is up and has room for one session more, which is counted there.
  /// `tried` has the bits of the endpoints that have failed this session:
  /// with more than 64 endpoints an untried one may be passed over, too, which costs an attempt and
  /// bounds what a session remembers.
  mutating func pick(
    _ upstream: Upstream, of topology: Topology, tried: UInt64, random: inout SplitMix64
  ) -> Pick {
    let failed = tried
    var tried = tried
    for (number, tier) in upstream.tiers.enumerated() {
      while true {
        let isUsable = { (position: Int) -> Bool in
          let slot = tier[position].endpoint.position
          return tried & topology.endpoints[slot].triedBit == 0
            && topology.endpoints[slot].state.availability == .up
            && !topology.endpoints[slot].isFull
        }
        let picked: Int?
        switch upstream.balance {
        case .roundRobin:
          picked = turns[number].pick(where: isUsable)
        default:
          picked = LeastConnections.pick(
            count: tier.count,
            weight: { tier[$0].weight },
            load: { topology.endpoints[tier[$0].endpoint.position].state.sessions.value },
            random: &random, where: isUsable)
        }
        guard let picked else { break }
        let slot = tier[picked].endpoint.position
        let max = topology.endpoints[slot].sessionsMax
        if topology.endpoints[slot].state.sessions.take(below: max) {
          return .endpoint(tier[picked].endpoint)
        }
        // Another worker was faster at the last place.
        tried |= topology.endpoints[slot].triedBit
      }
    }
    return reason(upstream, topology, failed)
  }

  /// Why there is none to pick.
  private func reason(_ upstream: Upstream, _ topology: Topology, _ failed: UInt64) -> Pick {
    var reason = Pick.unavailable
    for member in upstream.tiers.joined() where member.weight > 0 {
      let endpoint = topology.endpoints[member.endpoint.position]
      guard endpoint.state.availability == .up else { continue }
      guard failed & endpoint.triedBit != 0 else { return .full }
      reason = .tried
    }
    return reason
  }

  /// The source address for the next connection to an endpoint of `family`, in turn; `nil` leaves
  /// it to the kernel.
  mutating func source(of upstream: Upstream, family: Int32) -> Int? {
    for _ in upstream.sources.indices {
      let candidate = nextSource % upstream.sources.count
      nextSource = (nextSource + 1) % upstream.sources.count
      if upstream.sources[candidate].family == family { return candidate }
    }
    return nil
  }
}

extension Topology {
  /// Whether an upstream has endpoints that would serve, and each of them is down.
  func isAllDown(_ upstream: Upstream) -> Bool {
    var isAnyDown = false
    for tier in upstream.tiers {
      for member in tier where member.weight > 0 {
        guard endpoints[member.endpoint.position].state.availability == .down else { return false }
        isAnyDown = true
      }
    }
    return isAnyDown
  }
}
