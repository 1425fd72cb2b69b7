// SPDX-License-Identifier: Apache-2.0
// One worker's picks from one upstream, by position, without a connection.

import Balancing
import Plan
import Reactor

@testable import DataPlane

/// A worker that only picks.
struct Picking {
  let topology: Topology
  private var picker: EndpointPicker
  var random: SplitMix64
  var now = Instant(nanoseconds: 1_000_000_000_000)

  init(_ topology: Topology, worker: Int = 0) {
    self.topology = topology
    picker = EndpointPicker(topology.upstreams[0], offset: worker)
    random = SplitMix64(seed: UInt64(worker) + 1)
  }

  mutating func pick(tried: UInt64 = 0, key: UInt64 = 0) -> Pick {
    let upstream = topology.upstreams[0]
    upstream.state.sessions.add()
    let pick = picker.pick(
      upstream, of: topology, tried: tried, key: key, at: now, random: &random)
    if case .endpoint = pick { return pick }
    upstream.state.sessions.giveBack()
    return pick
  }

  /// The position of the endpoint that is picked; -1 for none.
  mutating func take(tried: UInt64 = 0, key: UInt64 = 0) -> Int {
    guard case .endpoint(let endpoint) = pick(tried: tried, key: key) else { return -1 }
    return endpoint.position
  }

  /// The same, for a session that is over at once.
  mutating func visit(tried: UInt64 = 0, key: UInt64 = 0) -> Int {
    let position = take(tried: tried, key: key)
    if position >= 0 { topology.end(position) }
    return position
  }

  /// How often each endpoint was picked in `count` visits.
  mutating func counts(_ count: Int) -> [Double] {
    var counts = [Double](repeating: 0, count: topology.endpoints.count)
    for _ in 0..<count { counts[visit()] += 1 }
    return counts
  }
}

extension Topology {
  /// A topology of one upstream; its endpoints have the positions of the plan.
  static func of(_ plan: UpstreamPlan) throws -> Topology {
    var rigPlan = RigPlan()
    rigPlan.upstreams = [plan]
    let rig = try Rig(rigPlan)
    defer { _ = rig.tearDown() }
    return rig.topology
  }

  /// The same with endpoints of these weights.
  static func of(_ balance: BalancePolicy, _ weights: [Int]) throws -> Topology {
    try of(
      UpstreamPlan(
        name: "u", balance: balance,
        endpoints: weights.enumerated().map { number, weight in
          EndpointPlan(port: UInt16(number + 1), weight: weight)
        }))
  }

  /// The end of a session that was counted by `Picking.pick`.
  func end(_ position: Int) {
    giveBack(EndpointIndex(position))
    upstreams[0].state.sessions.giveBack()
  }

  func sessions(_ position: Int) -> Int { endpoints[position].state.sessions.value }

  /// What is not as the states of the endpoints say, in words. At rest there must be nothing.
  var rosterFaults: [String] {
    upstreams.filter { !$0.isRetired }.flatMap { upstream in
      upstream.rosters.flatMap { roster in
        roster.members.indices.compactMap { position -> String? in
          let member = roster.members[position]
          let mayBePicked = member.state.availability == .up || upstream.state.serving == .panic
          let usable = mayBePicked ? member.weight * member.state.share : 0
          let room = roster.sessions(position) < member.sessionsMax ? usable : 0
          var load: UInt64?
          if room > 0 { load = LoadTree.load(sessions: roster.sessions(position), weight: room) }
          guard roster.usableWeight(position) == usable, roster.rooms[position] == UInt64(room),
            roster.loads == nil || roster.loads?[position] == load
          else { return "\(upstream.name) \(position) of version \(roster.version)" }
          return nil
        }
      }
    }
  }
}

/// Pearson's statistic of counts whose expectations are in these proportions. What is expected
/// never must not have happened.
func chiSquare(_ counts: [Double], _ weights: [Double]) -> Double {
  let scale = counts.reduce(0, +) / weights.reduce(0, +)
  return zip(counts, weights).reduce(0) { sum, pair in
    let expected = pair.1 * scale
    if expected == 0 { return pair.0 == 0 ? sum : .infinity }
    return sum + (pair.0 - expected) * (pair.0 - expected) / expected
  }
}
