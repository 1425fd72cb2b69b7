// SPDX-License-Identifier: Apache-2.0
// Services become endpoints, and an endpoint stays what it is whatever its record says.

import Addressing
import Plan
import Testing

@testable import Control
@testable import DataPlane

@Suite("Topology ledger: services")
struct TopologyLedgerServiceTests {
  private let question = NameQuestion(name: "_pg._tcp.test", kind: .service, source: .servers([]))

  private func server(
    _ target: String, _ address: UInt32, priority: UInt16 = 0, weight: UInt16 = 1
  ) -> ServiceEndpoint {
    ServiceEndpoint(
      id: ServiceEndpoint.ID(
        target: target, address: .v4(IPv4Address(rawValue: address)), port: 5432),
      priority: priority, weight: weight)
  }

  private var plan: ProxyPlan {
    var plan = samplePlan([.service(name: "_pg._tcp.test")])
    plan.upstreams[0].endpoints[0].priority = 2
    plan.upstreams[0].endpoints[0].sessionsMax = 7
    return plan
  }

  @Test("Ports, weights and tiers are those of the records")
  func endpoints() {
    let topology = Book().build(
      plan,
      names: [
        question: .service([
          server("a", 1, priority: 9), server("b", 2, weight: 10), server("c", 3, weight: 30),
        ])
      ])
    #expect(
      topology.endpoints.map(\.name) == [
        "a(0.0.0.1:5432)", "b(0.0.0.2:5432)", "c(0.0.0.3:5432)",
      ])
    #expect(topology.endpoints.map(\.host) == ["a", "b", "c"])
    #expect(topology.endpoints.map(\.sessionsMax) == [7, 7, 7])
    let tiers = topology.upstreams[0].tiers
    #expect(tiers.map { $0.map(\.endpoint.position) } == [[1, 2], [0]])
    #expect(tiers.map { $0.map(\.weight) } == [[1, 3], [1]])
  }

  @Test("Other weights and priorities leave an endpoint its state; another address makes another")
  func keeps() {
    let book = Book()
    let first = book.build(
      plan, names: [question: .service([server("a", 1), server("b", 2)])])
    let second = book.build(
      plan,
      names: [question: .service([server("b", 2, priority: 5), server("a", 1, weight: 9)])])
    #expect(second.endpoints.count == 2)
    for position in 0..<2 {
      #expect(first.endpoints[position].state === second.endpoints[position].state)
    }
    #expect(second.upstreams[0].tiers.map { $0.map(\.endpoint.position) } == [[0], [1]])
    let third = book.build(plan, names: [question: .service([server("a", 1), server("b", 3)])])
    #expect(third.endpoints.map(\.isRetired) == [false, true, false])
    #expect(third.endpoints[0].state === first.endpoints[0].state)
  }

  @Test("The same answer in another order makes no new topology")
  func rotation() {
    let book = Book()
    let first = book.build(
      plan, names: [question: .service([server("a", 1), server("b", 2)])])
    let second = book.build(
      plan, names: [question: .service([server("b", 2), server("a", 1)])])
    #expect(first === second)
  }
}
