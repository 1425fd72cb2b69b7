// SPDX-License-Identifier: Apache-2.0
// From the numbers of service records (RFC 2782) to ours. A record's weight is a share among the
// records of its priority, 0 to 65535, where 0 is not none but next to nothing; a weight here is 0 to 256,
// where 0 is none. A server with several addresses has its share once, not once for each.

import Addressing
import Plan

/// A server that a service record names, at one of its addresses.
struct ServiceEndpoint: Hashable, Sendable {
  /// What it is: where it serves, and under which name.
  struct ID: Hashable, Sendable {
    let target: String
    let address: IPAddress
    let port: UInt16
  }

  let id: ID
  var priority: UInt16
  var weight: UInt16
}

/// The share and the tier of an endpoint of a service.
struct ServiceShare: Hashable {
  let weight: Int
  /// 0 for the priority that is used first, and on.
  let tier: Int
}

extension ServiceShare {
  /// The shares of all endpoints of a service, in their order.
  static func shares(of endpoints: [ServiceEndpoint]) -> [ServiceShare] {
    let priorities = Set(endpoints.map(\.priority)).sorted()
    let tiers = Dictionary(
      uniqueKeysWithValues: priorities.enumerated().map { ($0.element, $0.offset) })
    var shares = endpoints.map { ServiceShare(weight: 1, tier: tiers[$0.priority] ?? 0) }
    for tier in priorities.indices {
      let members = endpoints.indices.filter { shares[$0].tier == tier }
      for (member, weight) in zip(members, weights(of: members.map { endpoints[$0] })) {
        shares[member] = ServiceShare(weight: weight, tier: tier)
      }
    }
    return shares
  }

  /// The weights of endpoints of one priority: in the proportion of the records' as long as 1 to 256 can
  /// tell it, and as near as that goes beyond.
  private static func weights(of endpoints: [ServiceEndpoint]) -> [Int] {
    struct Server: Hashable {
      let target: String
      let port: UInt16
    }
    let servers = endpoints.map { Server(target: $0.id.target, port: $0.id.port) }
    let counts = Dictionary(servers.map { ($0, 1) }, uniquingKeysWith: +)
    let parts = multiple(of: counts.values)
    let areAllZero = endpoints.allSatisfy { $0.weight == 0 }
    var weights = zip(endpoints, servers).map { endpoint, server in
      (areAllZero ? 1 : Int(endpoint.weight)) * max(1, parts / (counts[server] ?? 1))
    }
    let divisor = weights.reduce(0, greatestDivisor)
    if divisor > 1 { weights = weights.map { $0 / divisor } }
    let largest = weights.max() ?? 1
    let weightMax = EndpointPlan.weightMax
    guard largest <= weightMax else {
      return weights.map { max(1, ($0 * weightMax + largest / 2) / largest) }
    }
    // So that next to nothing is as little as it can be.
    let scale = weights.contains(0) ? weightMax / largest : 1
    return weights.map { max(1, $0 * scale) }
  }

  /// Beyond this, shares of servers with different numbers of addresses are only near.
  private static let multipleMax = 1 << 20

  private static func multiple(of numbers: some Sequence<Int>) -> Int {
    var multiple = 1
    for number in numbers {
      let next = multiple / greatestDivisor(multiple, number) * number
      guard next <= multipleMax else { return multipleMax }
      multiple = next
    }
    return multiple
  }

  private static func greatestDivisor(_ a: Int, _ b: Int) -> Int {
    var (a, b) = (a, b)
    while b != 0 { (a, b) = (b, a % b) }
    return a
  }
}
