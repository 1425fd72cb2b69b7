// SPDX-License-Identifier: Apache-2.0
// A tier whose trees are behind what its members' counts say, as they are for a moment while other threads
// change them: a pick must find the place all the same, and count it once.

import Balancing
import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct RosterTests {
  private func topology(
    _ balance: BalancePolicy = .roundRobin, _ bounds: [Int?] = [2, 2, 2], priorities: [Int]? = nil
  ) throws -> Topology {
    try .of(
      UpstreamPlan(
        name: "u", balance: balance,
        endpoints: bounds.enumerated().map { number, bound in
          EndpointPlan(
            port: UInt16(number + 1), sessionsMax: bound, priority: priorities?[number] ?? 0)
        }))
  }

  /// The tree says that a member has no room, which is not so.
  private func hide(_ topology: Topology, _ positions: [Int]) {
    for position in positions {
      guard let seat = topology.endpoints[position].seat else { continue }
      seat.roster.rooms[seat.position] = 0
      seat.roster.loads?[seat.position] = nil
    }
  }

  @Test(arguments: [
    BalancePolicy.roundRobin, .random, .leastConnections, .powerOfTwo, .first,
    .maglev(HashPlan()), .peakEWMA(EWMAPlan()),
  ])
  func aPlaceThatATreeHidesIsFoundAndCountedOnce(_ balance: BalancePolicy) throws {
    let topology = try topology(balance)
    hide(topology, [0, 1, 2])
    var picking = Picking(topology)
    let position = picking.take(key: 7)
    #expect((0..<3).contains(position))
    #expect((0..<3).map(topology.sessions).reduce(0, +) == 1)
    #expect(topology.sessions(position) == 1)
    #expect(topology.upstreams[0].state.sessions.value == 1)
  }

  @Test func whatIsFoundThatWayIsRightInTheTreeAfterwards() throws {
    let topology = try topology(.leastConnections)
    hide(topology, [0, 1, 2])
    var picking = Picking(topology)
    let position = picking.take()
    let roster = topology.upstreams[0].rosters[0]
    #expect(roster.rooms[position] > 0)
    #expect(roster.loads?[position] != nil)
  }

  @Test func onlyMembersThatAreFullAreFull() throws {
    let topology = try topology(.random, [1, 1, 1])
    var picking = Picking(topology)
    for _ in 0..<3 { _ = picking.take() }
    hide(topology, [0, 1, 2])
    #expect(picking.pick() == .full)
    topology.end(1)
    hide(topology, [1])
    #expect(picking.take() == 1)
    #expect(picking.pick() == .full)
    #expect((0..<3).map(topology.sessions) == [1, 1, 1])
  }

  @Test func aHiddenPlaceOfALaterTierIsFoundToo() throws {
    let topology = try topology(.random, [1, 1], priorities: [0, 1])
    var picking = Picking(topology)
    #expect(picking.take() == 0)
    hide(topology, [0, 1])
    #expect(picking.take() == 1)
    #expect(picking.pick() == .full)
  }

  @Test func aHiddenMemberThatHasFailedTheSessionIsNotTaken() throws {
    let topology = try topology(.random)
    hide(topology, [0, 1, 2])
    let bits = topology.endpoints.map(\.triedBit)
    var picking = Picking(topology)
    #expect(picking.take(tried: bits[0] | bits[1]) == 2)
    hide(topology, [2])
    #expect(picking.pick(tried: bits[0] | bits[1] | bits[2]) == .tried)
  }

  @Test func aHiddenMemberThatIsDownIsNotTaken() throws {
    let topology = try topology(.random)
    topology.mark(0, .down)
    topology.mark(1, .ejected)
    hide(topology, [2])
    var picking = Picking(topology)
    #expect(picking.take() == 2)
    topology.mark(2, .down)
    #expect(picking.pick() == .unavailable)
  }

  @Test func takingByTheCountsAloneStopsAtTheBounds() throws {
    let topology = try topology(.random, [1, 2])
    let roster = topology.upstreams[0].rosters[0]
    #expect((0..<4).map { _ in roster.takeOpen(0)?.position } == [0, 1, 1, nil])
    topology.giveBack(EndpointIndex(1))
    #expect(roster.takeOpen(topology.endpoints[1].triedBit) == nil)
    #expect(roster.takeOpen(topology.endpoints[0].triedBit)?.position == 1)
    #expect(topology.rosterFaults == [])
  }
}
