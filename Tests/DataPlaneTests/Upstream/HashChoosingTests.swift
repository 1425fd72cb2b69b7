// SPDX-License-Identifier: Apache-2.0
// Clients that belong to endpoints: from every worker, after a restart, and while others come and go.

import Addressing
import Balancing
import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct HashChoosingTests {
  static let hashes: [BalancePolicy] = [.sourceHash(HashPlan()), .maglev(HashPlan())]

  private func owners(_ topology: Topology, worker: Int = 0, keys: UInt64 = 2000) -> [Int] {
    var picking = Picking(topology, worker: worker)
    return (0..<keys).map { picking.visit(key: $0 &* 0x1234_5678_9ABC_DEF1) }
  }

  @Test(arguments: hashes)
  func everyWorkerAndEveryStartAgrees(_ balance: BalancePolicy) throws {
    let weights = [1, 2, 3, 4]
    let topology = try Topology.of(balance, weights)
    let all = owners(topology)
    #expect(owners(topology, worker: 3) == all)
    #expect(owners(try Topology.of(balance, weights)) == all)
    let counts = weights.indices.map { position in Double(all.count { $0 == position }) }
    #expect(chiSquare(counts, weights.map { Double($0) }) < 16.3, "\(counts)")
  }

  @Test(arguments: hashes)
  func whoGoesDownMovesNobodyElseAndAllAreBackAfterwards(_ balance: BalancePolicy) throws {
    let topology = try Topology.of(balance, [Int](repeating: 1, count: 10))
    let all = owners(topology)
    for gone in [3, 7] {
      topology.mark(gone, .down)
      let less = owners(topology)
      #expect(zip(all, less).allSatisfy { $0 == $1 || $0 == gone })
      // His own go to all others.
      let moved = Set(zip(all, less).filter { $0.0 == gone }.map(\.1))
      #expect(moved.count == 9)
      topology.mark(gone, .up)
      #expect(owners(topology) == all)
    }
  }

  @Test func whoIsRemovedMovesNobodyElseWithSourceHashAndFewWithMaglev() throws {
    let weights = [Int](repeating: 1, count: 10)
    for balance in HashChoosingTests.hashes {
      let all = owners(try Topology.of(balance, weights))
      for gone in [0, 4, 9] {
        var plan = UpstreamPlan(
          name: "u", balance: balance, endpoints: (0..<10).map { EndpointPlan(port: $0 + 1) })
        plan.endpoints.remove(at: gone)
        let less = owners(try Topology.of(plan)).map { $0 < gone ? $0 : $0 + 1 }
        let stayed = zip(all, less).filter { $0.0 != gone }
        let moved = stayed.count { $0.0 != $0.1 }
        if case .sourceHash = balance { #expect(moved == 0) }
        #expect(moved * 50 <= stayed.count, "\(balance): \(moved)")
      }
    }
  }

  @Test(arguments: hashes)
  func withFewLeftClientsStillKeepTheirs(_ balance: BalancePolicy) throws {
    let topology = try Topology.of(balance, [Int](repeating: 1, count: 300))
    for position in 0..<298 { topology.mark(position, .down) }
    let some = owners(topology, keys: 300)
    #expect(Set(some) == [298, 299])
    #expect(owners(topology, worker: 2, keys: 300) == some)
  }

  @Test func boundedLoadKeepsEverybodyNearItsShare() throws {
    for percent in [110, 150] {
      let plan = HashPlan(tableSize: 1021, loadPercent: percent)
      let topology = try Topology.of(.maglev(plan), [1, 1, 1, 1, 4])
      var picking = Picking(topology)
      // One client alone would fill one endpoint.
      for count in 1...800 {
        let position = picking.take(key: count % 4 == 0 ? UInt64(count) : 1)
        let weight = position == 4 ? 4 : 1
        let bound = (percent * count * weight + 799) / 800
        #expect(topology.sessions(position) <= bound, "\(count)")
      }
      var least = Picking(topology, worker: 1)
      #expect(least.take(key: 1) >= 0)
    }
    let unbounded = try Topology.of(.maglev(HashPlan(tableSize: 1021)), [1, 1])
    var picking = Picking(unbounded)
    #expect(Set((0..<100).map { _ in picking.take(key: 1) }).count == 1)
  }

  /// A plan whose two routes lead to one upstream with this key.
  private func rig(_ key: HashPlan.Key, hashKeys: [String?] = [nil, nil]) throws -> Rig {
    var plan = RigPlan(ports: (9000..<9010).map { $0 })
    plan.upstreams[0].balance = .sourceHash(HashPlan(key: key, tableSize: 1021))
    plan.routes = hashKeys.enumerated().map { number, hashKey in
      RoutePlan(
        name: "r\(number)", listen: [.port(UInt16(number + 1))], upstream: UpstreamIndex(0),
        hashKey: hashKey)
    }
    let rig = try Rig(plan)
    for port in 9000..<9010 { rig.kernel.serve(UInt16(port), .accepts) }
    return rig
  }

  private func endpoints(_ rig: Rig, _ clients: [(route: Int, address: IPv4Address)]) -> [Int] {
    let addresses = clients.enumerated().map { number, client in
      PeerAddress(.v4(client.address, port: UInt16(1000 + number)))
    }
    for (client, address) in zip(clients, addresses) {
      _ = rig.kernel.connectClient(
        to: rig.listeners[client.route], from: address, receiveCapacity: nil, sendCapacity: nil)
      rig.settle()
    }
    _ = rig.tearDown()
    let ends = rig.takeEnds()
    return addresses.compactMap { address in
      ends.first { $0.client == address }?.endpoint?.position
    }
  }

  private func address(_ last: UInt32, net: UInt32 = 0x0A01_0200) -> IPv4Address {
    IPv4Address(rawValue: net + last)
  }

  @Test func theKeyIsTheAddressAndNotThePort() throws {
    let found = endpoints(
      try rig(.source), (0..<40).map { (0, address(UInt32($0 / 2))) })
    #expect(found.count == 40)
    for pair in 0..<20 { #expect(found[2 * pair] == found[2 * pair + 1]) }
    #expect(Set(found).count > 4)
  }

  @Test func theKeyIsThePrefix() throws {
    let clients = (0..<20).map { (0, address(UInt32($0))) }
    #expect(Set(endpoints(try rig(.prefix(v4: 24, v6: 64)), clients)).count == 1)
    let nets = (0..<20).map { (0, address(1, net: 0x0A01_0000 + UInt32($0) << 8)) }
    #expect(Set(endpoints(try rig(.prefix(v4: 24, v6: 64)), nets)).count > 4)
  }

  @Test func theKeyIsTheRoute() throws {
    let clients = (0..<20).map { ($0 % 2, address(UInt32($0))) }
    let same = endpoints(try rig(.route, hashKeys: ["orders", "orders"]), clients)
    #expect(Set(same).count == 1)
    let others = try ["a", "b", "c", "d"].map { name in
      Set(endpoints(try rig(.route, hashKeys: [name, nil]), [(0, address(1))]))
    }
    #expect(Set(others).count > 1)
  }

  @Test func prefixesAreCutOffWhereTheyAreToldTo() {
    func cut(_ address: SocketAddress, _ v4: Int, _ v6: Int) -> [UInt64]? {
      PeerAddress(address).prefix(v4: v4, v6: v6).map { [$0.high, $0.low] }
    }
    let v4 = SocketAddress.v4(IPv4Address(rawValue: 0x0A01_02FF), port: 5)
    #expect(cut(v4, 32, 128) == [0, 0x0A01_02FF])
    #expect(cut(v4, 24, 64) == [0, 0x0A01_0200])
    #expect(cut(v4, 1, 64) == [0, 0])
    let mapped = SocketAddress.v6(IPv6Address(high: 0, low: 0xFFFF_0A01_02FF), port: 5)
    #expect(cut(mapped, 24, 64) == [0, 0x0A01_0200])
    let v6 = SocketAddress.v6(IPv6Address(high: 0x2001_0DB8_0000_00FF, low: 7), port: 5)
    #expect(cut(v6, 32, 128) == [0x2001_0DB8_0000_00FF, 7])
    #expect(cut(v6, 32, 64) == [0x2001_0DB8_0000_00FF, 0])
    #expect(cut(v6, 32, 56) == [0x2001_0DB8_0000_0000, 0])
    #expect(PeerAddress.unix.prefix(v4: 32, v6: 128) == nil)
  }
}
