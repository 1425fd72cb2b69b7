// SPDX-License-Identifier: Apache-2.0
// From plan to topology: names become addresses, one endpoint each.

import Addressing
import Plan
import Testing

@testable import Control
@testable import DataPlane

@Suite("Topology builder")
struct TopologyBuilderTests {
  private let spare = SocketAddress.v4(.loopback, port: 9)

  @Test("A name with several addresses becomes several endpoints that tell both")
  func names() throws {
    let plan = samplePlan([.name(host: "db", port: 5432), .socket(spare)])
    let addresses = try ["10.0.0.1", "fd00::1"].map { try #require(IPAddress($0)) }
    let topology = TopologyBuilder(
      plan: plan, names: ["db": .addresses(addresses)], builtins: [:]
    ).build(listeners: [], sessionsMax: 10)
    #expect(
      topology.endpoints.map(\.name) == [
        "db(10.0.0.1:5432)", "db([fd00::1]:5432)", "127.0.0.1:9",
      ])
    #expect(topology.upstreams[0].tiers.flatMap { $0 }.map(\.position) == [0, 1, 2])
  }

  @Test("Builtin services are reached by the sockets they were given")
  func builtins() {
    let plan = samplePlan([.builtin(.echo), .builtin(.echo)])
    let topology = TopologyBuilder(plan: plan, names: [:], builtins: [.echo: spare])
      .build(listeners: [], sessionsMax: 10)
    #expect(topology.endpoints.map(\.name) == ["builtin:echo", "builtin:echo"])
  }

  @Test("Priorities become tiers, the most preferred first")
  func tiers() {
    var plan = samplePlan([.socket(spare), .socket(spare), .socket(spare)])
    plan.upstreams[0].endpoints[0].priority = 7
    plan.upstreams[0].endpoints[2].priority = 7
    let topology = TopologyBuilder(plan: plan, names: [:], builtins: [:])
      .build(listeners: [], sessionsMax: 10)
    #expect(topology.upstreams[0].tiers.map { $0.map(\.position) } == [[1], [0, 2]])
  }

  @Test("Endpoints of one upstream are not those of another")
  func upstreams() {
    var plan = samplePlan([.socket(spare), .socket(spare)])
    plan.upstreams.append(
      UpstreamPlan(name: "v", endpoints: [EndpointPlan(address: .socket(spare))]))
    let topology = TopologyBuilder(plan: plan, names: [:], builtins: [:])
      .build(listeners: [], sessionsMax: 10)
    #expect(topology.upstreams[1].tiers.map { $0.map(\.position) } == [[2]])
  }

  @Test("Every name that has no address is told, with its upstream and endpoint")
  func unresolved() {
    let plan = samplePlan([
      .name(host: "a", port: 1), .name(host: "good", port: 2), .name(host: "b", port: 3),
    ])
    let reasons = TopologyBuilder.unresolved(
      in: plan, ["a": .failed("gone"), "good": .addresses([]), "b": .failed("away")])
    #expect(
      reasons == [
        "upstream u, endpoint a:1: cannot look up a: gone",
        "upstream u, endpoint b:3: cannot look up b: away",
      ])
  }

  @Test("The names to look up are those of all upstreams, each once")
  func namesOfPlan() {
    let plan = samplePlan([
      .name(host: "a", port: 1), .name(host: "a", port: 2), .socket(spare), .builtin(.echo),
    ])
    #expect(TopologyBuilder.names(in: plan) == ["a"])
  }
}
