// SPDX-License-Identifier: Apache-2.0
// The shares that service records ask for are those that endpoints get, as near as 256 steps go.

import Addressing
import Balancing
import Testing

@testable import Control

@Suite("ServiceShare")
struct ServiceSharesTests {
  private func endpoint(
    _ target: String, _ weight: UInt16, priority: UInt16 = 0, address: UInt32 = 1
  ) -> ServiceEndpoint {
    ServiceEndpoint(
      id: ServiceEndpoint.ID(
        target: target, address: .v4(IPv4Address(rawValue: address)), port: 1),
      priority: priority, weight: weight)
  }

  private func weights(_ weights: [UInt16]) -> [Int] {
    let endpoints = weights.enumerated().map { endpoint("t\($0.offset)", $0.element) }
    return ServiceShare.shares(of: endpoints).map(\.weight)
  }

  @Test("Proportions that fit are kept exactly, in small numbers")
  func exact() {
    #expect(weights([10, 20, 70]) == [1, 2, 7])
    #expect(weights([65535, 65535]) == [1, 1])
    #expect(weights([1, 256]) == [1, 256])
    #expect(weights([5]) == [1])
  }

  @Test("Beyond 256 they are as near as it goes, and nobody is left out")
  func rounded() {
    #expect(weights([1, 65535]) == [1, 256])
    #expect(weights([30000, 60001]) == [128, 256])
  }

  @Test("A weight of 0 is next to nothing beside others, and an equal share among its like")
  func zero() {
    #expect(weights([0, 0, 0]) == [1, 1, 1])
    #expect(weights([0, 10]) == [1, 256])
    #expect(weights([0, 10, 20]) == [1, 128, 256])
  }

  @Test("Priorities become tiers in their order, each with weights of its own")
  func tiers() {
    let shares = ServiceShare.shares(of: [
      endpoint("a", 5, priority: 20), endpoint("b", 10, priority: 20),
      endpoint("c", 7, priority: 3),
    ])
    #expect(shares.map(\.tier) == [1, 1, 0])
    #expect(shares.map(\.weight) == [1, 2, 1])
  }

  @Test("A server with several addresses has its share once")
  func addresses() {
    let shares = ServiceShare.shares(of: [
      endpoint("a", 10, address: 1), endpoint("a", 10, address: 2), endpoint("b", 10, address: 3),
    ])
    #expect(shares.map(\.weight) == [1, 1, 2])
  }

  @Test("Shares are those of the records, within a step", arguments: 0..<50 as Range<UInt64>)
  func near(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let count = Int.random(in: 1...20, using: &random)
    let records = (0..<count).map { _ in
      UInt16.random(in: 0...(Bool.random(using: &random) ? 65535 : 300), using: &random)
    }
    let found = weights(records)
    #expect(found.allSatisfy { (1...256).contains($0) }, "seed \(seed): \(records) \(found)")
    guard let largest = records.max(), largest > 0, let most = found.max() else { return }
    for (record, weight) in zip(records, found) {
      let wanted = Double(record) / Double(largest) * Double(most)
      #expect(
        abs(wanted - Double(weight)) <= 1, "seed \(seed): \(record) of \(largest) is \(weight)")
    }
  }
}
