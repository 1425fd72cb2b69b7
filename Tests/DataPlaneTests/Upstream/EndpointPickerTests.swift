// SPDX-License-Identifier: Apache-2.0
// From an upstream to an endpoint that is reserved: tiers, bounds, and what was tried.

import Addressing
import Balancing
import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct EndpointPickerTests {
  private func topology(_ plan: UpstreamPlan) throws -> Topology {
    try Topology.of(plan)
  }

  private func picks(
    _ topology: Topology, _ count: Int, tried: UInt64 = 0
  ) -> [Int?] {
    let upstream = topology.upstreams[0]
    var picker = EndpointPicker(upstream, offset: 0)
    var random = SplitMix64(seed: 1)
    return (0..<count).map { _ in
      let pick = picker.pick(
        upstream, of: topology, tried: tried, at: Instant(nanoseconds: 0), random: &random)
      guard case .endpoint(let endpoint) = pick else { return nil }
      return endpoint.position
    }
  }

  @Test(arguments: [BalancePolicy.roundRobin, .leastConnections])
  func aTierIsUsedWhenTheOneBeforeItIsFull(_ balance: BalancePolicy) throws {
    let topology = try topology(
      UpstreamPlan(
        name: "u", balance: balance,
        endpoints: [
          EndpointPlan(port: 1, sessionsMax: 1, priority: 5), EndpointPlan(port: 2, sessionsMax: 2),
        ]))
    #expect(picks(topology, 4) == [1, 1, 0, nil])
    #expect(topology.endpoints.map(\.state.sessions.value) == [1, 2])
  }

  @Test(arguments: [BalancePolicy.roundRobin, .leastConnections])
  func whatWasTriedOrWeighsNothingIsNotPicked(_ balance: BalancePolicy) throws {
    let topology = try topology(
      UpstreamPlan(
        name: "u", balance: balance,
        endpoints: [
          EndpointPlan(port: 1), EndpointPlan(port: 2, weight: 0), EndpointPlan(port: 3),
        ]))
    #expect(picks(topology, 3, tried: 1) == [2, 2, 2])
  }

  @Test(arguments: [BalancePolicy.roundRobin, .leastConnections])
  func whatIsDownIsNotPickedUntilItIsUp(_ balance: BalancePolicy) throws {
    let topology = try topology(
      UpstreamPlan(
        name: "u", balance: balance,
        endpoints: [
          EndpointPlan(port: 1), EndpointPlan(port: 2), EndpointPlan(port: 3, priority: 1),
        ]))
    topology.mark(0, .down)
    #expect(picks(topology, 3) == [1, 1, 1])
    topology.mark(1, .down)
    #expect(picks(topology, 2) == [2, 2])
    topology.mark(0, .up)
    #expect(picks(topology, 2) == [0, 0])
  }

  @Test func anUpstreamIsDownWhenEveryEndpointThatWouldServeIs() throws {
    let topology = try topology(
      UpstreamPlan(
        name: "u",
        endpoints: [
          EndpointPlan(port: 1), EndpointPlan(port: 2, weight: 0),
          EndpointPlan(port: 3, sessionsMax: 1, priority: 1),
        ]))
    #expect(!topology.isAllDown(topology.upstreams[0]))
    topology.mark(0, .down)
    // The other one is full, which is not the same.
    topology.endpoints[2].state.sessions.add()
    #expect(picks(topology, 1) == [nil])
    #expect(!topology.isAllDown(topology.upstreams[0]))
    topology.mark(2, .down)
    #expect(topology.isAllDown(topology.upstreams[0]))
  }

  @Test func withoutAnyWeightNobodyIsDown() throws {
    let topology = try topology(
      UpstreamPlan(name: "u", endpoints: [EndpointPlan(port: 1, weight: 0)]))
    topology.mark(0, .down)
    #expect(!topology.isAllDown(topology.upstreams[0]))
  }

  @Test func sourcesAreTakenInTurnByFamily() throws {
    let sources = ["10.0.0.1", "2001:db8::1", "10.0.0.2"].compactMap { IPAddress($0) }
    let topology = try topology(
      UpstreamPlan(name: "u", source: sources, endpoints: [EndpointPlan(port: 1)]))
    let upstream = topology.upstreams[0]
    var picker = EndpointPicker(upstream, offset: 0)
    let family = upstream.sources[0].family
    let taken = (0..<4).map { _ in picker.source(of: upstream, family: family) }
    #expect(taken == [0, 2, 0, 2])
    #expect(picker.source(of: upstream, family: 1) == nil)
  }
}
