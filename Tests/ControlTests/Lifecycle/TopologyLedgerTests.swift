// SPDX-License-Identifier: Apache-2.0
// From plans to topologies: names become addresses, one endpoint each, and what stays keeps its slot
// and its state.

import Addressing
import Plan
import Testing

@testable import Control
@testable import DataPlane

/// Plans, one after another, with a listener for each address that is only a number.
private final class Book {
  let ledger: TopologyLedger
  private let builtins: [BuiltinService: SocketAddress]

  init(
    workers: Int = 1, records: (any RecordReader)? = nil,
    builtins: [BuiltinService: SocketAddress] = [:]
  ) {
    ledger = TopologyLedger(workers: workers, records: records)
    self.builtins = builtins
  }

  @discardableResult
  func build(_ plan: ProxyPlan, names: [String: Resolution] = [:]) -> Topology {
    var listeners: [OpenListener] = []
    for (position, route) in plan.routes.enumerated() {
      for address in route.listen {
        listeners.append(
          OpenListener(
            key: ListenerKey(address: address, ordinal: 0), descriptor: 0, generation: 1,
            name: "\(address)", route: position))
      }
    }
    return ledger.build(
      plan, names: names, builtins: builtins, listeners: listeners, sessionsMax: 10)
  }
}

@Suite("Topology ledger: building")
struct TopologyLedgerBuildingTests {
  private let spare = SocketAddress.v4(.loopback, port: 9)

  @Test("A name with several addresses becomes several endpoints that tell both")
  func names() throws {
    let plan = samplePlan([.name(host: "db", port: 5432), .socket(spare)])
    let addresses = try ["10.0.0.1", "fd00::1"].map { try #require(IPAddress($0)) }
    let topology = Book().build(plan, names: ["db": .addresses(addresses)])
    #expect(
      topology.endpoints.map(\.name) == [
        "db(10.0.0.1:5432)", "db([fd00::1]:5432)", "127.0.0.1:9",
      ])
    #expect(topology.upstreams[0].tiers.joined().map(\.endpoint.position) == [0, 1, 2])
  }

  @Test("Builtin services are reached by the sockets they were given")
  func builtins() {
    let plan = samplePlan([.builtin(.echo), .builtin(.echo)])
    let topology = Book(builtins: [.echo: spare]).build(plan)
    #expect(topology.endpoints.map(\.name) == ["builtin:echo", "builtin:echo"])
  }

  @Test("Priorities become tiers, the most preferred first")
  func tiers() {
    var plan = samplePlan([.socket(spare), .socket(spare), .socket(spare)])
    plan.upstreams[0].endpoints[0].priority = 7
    plan.upstreams[0].endpoints[2].priority = 7
    let topology = Book().build(plan)
    #expect(topology.upstreams[0].tiers.map { $0.map(\.endpoint.position) } == [[1], [0, 2]])
  }

  @Test("Endpoints of one upstream are not those of another")
  func upstreams() {
    var plan = samplePlan([.socket(spare), .socket(spare)])
    plan.upstreams.append(
      UpstreamPlan(name: "v", endpoints: [EndpointPlan(address: .socket(spare))]))
    let topology = Book().build(plan)
    #expect(topology.upstreams[1].tiers.map { $0.map(\.endpoint.position) } == [[2]])
  }
}
