// SPDX-License-Identifier: Apache-2.0
// From "a session needs an endpoint" to one that is reserved for it: the balancer chooses among those
// that can serve, tier by tier, and the choice is counted before anybody else can make it.

import Balancing
import Plan

/// A worker's view of one upstream: whose turn it is. Loads are shared with other workers through
/// the endpoints' counts.
struct EndpointPicker {
  private var turns: [WeightedRoundRobin]
  private var nextSource = 0

  /// `offset` is the worker's number: workers start at different places of the cycle.
  init(_ upstream: Upstream, endpoints: [Endpoint], offset: Int) {
    turns =
      upstream.balance == .roundRobin
      ? upstream.tiers.map { tier in
        WeightedRoundRobin(weights: tier.map { endpoints[$0.position].weight }, offset: offset)
      } : []
  }

  /// An endpoint of `upstream` with room for one session more, which is counted there; `nil` when
  /// none is left. `tried` are the endpoints that have failed this session, by position in the
  /// topology modulo 64: with more than 64 endpoints an untried one may be passed over, too, which
  /// costs an attempt and bounds what a session remembers.
  mutating func pick(
    _ upstream: Upstream, of topology: Topology, tried: UInt64, random: inout SplitMix64
  ) -> EndpointIndex? {
    var tried = tried
    for (number, tier) in upstream.tiers.enumerated() {
      while true {
        let isUsable = { (position: Int) -> Bool in
          let index = tier[position]
          return tried & index.triedBit == 0
            && !topology.endpoints[index.position].sessions.isFull
        }
        let picked: Int?
        switch upstream.balance {
        case .roundRobin:
          picked = turns[number].pick(where: isUsable)
        case .leastConnections:
          picked = LeastConnections.pick(
            count: tier.count,
            weight: { topology.endpoints[tier[$0].position].weight },
            load: { topology.endpoints[tier[$0].position].sessions.value },
            random: &random, where: isUsable)
        }
        guard let picked else { break }
        let index = tier[picked]
        if topology.endpoints[index.position].sessions.take() { return index }
        // Another worker was faster at the last place.
        tried |= index.triedBit
      }
    }
    return nil
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

extension EndpointIndex {
  /// The bit under which a session remembers that this endpoint has failed it.
  var triedBit: UInt64 { 1 << UInt64(rawValue % 64) }
}
