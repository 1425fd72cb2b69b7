// SPDX-License-Identifier: Apache-2.0
// Who gets how much, by policy, also while endpoints come and go and several workers pick.

import Balancing
import Plan
import Reactor
import Testing

@testable import Control
@testable import DataPlane

@Suite struct ChoosingTests {
  static let all: [BalancePolicy] = [
    .roundRobin, .random, .leastConnections, .powerOfTwo, .first,
    .sourceHash(HashPlan(tableSize: 251)), .maglev(HashPlan(tableSize: 251)),
    .peakEWMA(EWMAPlan()),
  ]

  // MARK: All policies

  /// A worker that is late counts in the roster of an earlier topology. That of the latest one must
  /// know of it once all have come, even if nobody ever came to the topology that it was made for.
  @Test func whatWasCountedInAnEarlierRosterIsKnownWhenAllHaveCome() throws {
    var plan = RigPlan(ports: [1, 2])
    plan.workers = 2
    plan.upstreams[0].balance = .leastConnections
    let rig = try Rig(plan)
    defer { _ = rig.tearDown() }
    var late = Picking(rig.topology)
    rig.change(only: []) { $0.upstreams[0].endpoints.append(EndpointPlan(port: 3)) }
    _ = late.take()
    rig.change(only: []) { $0.sessionsMax = 999 }
    #expect(rig.topology.rosterFaults.count == 1)
    for worker in 0..<2 { rig.ledger.note(worker: worker, isUsing: rig.topology.version) }
    #expect(rig.topology.rosterFaults == [])
  }

  @Test(arguments: all)
  func onlyWhoMayBePickedAndHasRoomIsPicked(_ balance: BalancePolicy) throws {
    let topology = try Topology.of(
      UpstreamPlan(
        name: "u", balance: balance,
        endpoints: (0..<6).map { EndpointPlan(port: UInt16($0 + 1), sessionsMax: 2) }))
    topology.mark(1, .down)
    topology.mark(2, .ejected)
    var picking = Picking(topology)
    // 3 has failed the session.
    let picks = (0..<6).map { picking.take(tried: 1 << 3, key: UInt64($0)) }
    #expect(picks.sorted() == [0, 0, 4, 4, 5, 5])
    #expect(picking.pick(tried: 1 << 3, key: 7) == .full)
    #expect(picking.pick(tried: 0b111101, key: 7) == .tried)
    #expect(picking.take(key: 7) == 3)
    topology.end(4)
    #expect(picking.take(tried: 1 << 3, key: 9) == 4)
    #expect(topology.upstreams[0].state.sessions.value == 7)
    #expect(topology.rosterFaults == [])
  }

  @Test(arguments: all)
  func inPanicEverybodyServesAndWithoutQuorumNobody(_ balance: BalancePolicy) throws {
    let topology = try Topology.of(balance, [1, 0, 1])
    topology.mark(0, .down)
    topology.mark(2, .ejected)
    var picking = Picking(topology)
    #expect(picking.pick() == .unavailable)
    topology.upstreams[0].state.serving = .panic
    topology.noteChange(ofUpstream: 0)
    var picks = Set((0..<40).map { picking.visit(tried: $0 % 2 == 0 ? 1 : 4, key: $0) })
    #expect(picks == [0, 2])
    topology.mark(0, .up)
    topology.upstreams[0].state.serving = .none
    topology.noteChange(ofUpstream: 0)
    #expect(picking.pick() == .unavailable)
    topology.upstreams[0].state.serving = .healthy
    topology.noteChange(ofUpstream: 0)
    picks = Set((0..<40).map { picking.visit(key: $0) })
    #expect(picks == [0])
    #expect(topology.rosterFaults == [])
  }

  @Test(arguments: all)
  func withMoreThan64EndpointsAnotherOneIsFoundToo(_ balance: BalancePolicy) throws {
    let topology = try Topology.of(balance, [Int](repeating: 1, count: 200))
    var picking = Picking(topology)
    var tried: UInt64 = 0
    for attempt in 0..<64 {
      let position = picking.visit(tried: tried, key: 5)
      #expect(position >= 0, "attempt \(attempt)")
      guard position >= 0 else { return }
      let bit = topology.endpoints[position].triedBit
      #expect(tried & bit == 0)
      tried |= bit
    }
    #expect(picking.pick(tried: tried) == .tried)
  }

  /// Threads take and give back, while endpoints go up and down: afterwards everything is right, and nobody
  /// had more sessions than it may.
  @Test(arguments: all)
  func severalWorkersAgreeAtRest(_ balance: BalancePolicy) async throws {
    let topology = try Topology.of(
      UpstreamPlan(
        name: "u", balance: balance,
        endpoints: (0..<40).map {
          EndpointPlan(
            port: UInt16($0 + 1), weight: 1 + $0 % 3, sessionsMax: $0 % 2 == 0 ? 3 : nil,
            priority: $0 / 30)
        }))
    await withTaskGroup(of: Void.self) { group in
      for worker in 0..<3 {
        group.addTask(name: "worker") {
          var picking = Picking(topology, worker: worker)
          var held: [Int] = []
          for step in 0..<1500 {
            if held.count > 30 || (held.count > 0 && picking.random.next(below: 3) == 0) {
              let index = Int(picking.random.next(below: UInt64(held.count)))
              topology.end(held.remove(at: index))
            } else {
              let position = picking.take(key: UInt64(step))
              if position >= 0 { held.append(position) }
            }
          }
          for position in held { topology.end(position) }
        }
      }
      group.addTask(name: "control") {
        var random = SplitMix64(seed: 99)
        for _ in 0..<1500 {
          let endpoint = Int(random.next(below: 40))
          topology.endpoints[endpoint].state.share = Int(1 + random.next(below: 256))
          topology.mark(endpoint, random.next(below: 3) == 0 ? .down : .up)
        }
      }
    }
    #expect(topology.rosterFaults == [])
    #expect(topology.upstreams[0].state.sessions.value == 0)
    for position in 0..<40 { #expect(topology.sessions(position) == 0) }
  }

  // MARK: By weight

  @Test(arguments: [BalancePolicy.random, .roundRobin])
  func sharesFollowWeightsWhileEndpointsComeAndGo(_ balance: BalancePolicy) throws {
    let weights = [1, 4, 2, 0, 9, 3]
    let topology = try Topology.of(balance, weights)
    var picking = Picking(topology)
    for gone in [nil, 4, 1, nil, 0] {
      for position in weights.indices { topology.mark(position, position == gone ? .down : .up) }
      let expected = weights.enumerated().map { $0.0 == gone ? 0 : Double($0.1) }
      let counts = picking.counts(3000)
      let statistic = chiSquare(counts, expected)
      // 4 degrees, 1 in 1,000; in turn, it is not chance.
      #expect(statistic < (balance == .random ? 18.5 : 0.5), "\(counts)")
    }
  }

  @Test(arguments: [BalancePolicy.random, .roundRobin])
  func aSlowStarterGetsItsShareOfItsWeight(_ balance: BalancePolicy) throws {
    let topology = try Topology.of(balance, [2, 2, 2])
    topology.endpoints[1].state.share = 64
    topology.noteChange(of: EndpointIndex(1))
    var picking = Picking(topology)
    let counts = picking.counts(1800)
    #expect(chiSquare(counts, [4, 1, 4]) < 13.8, "\(counts)")
  }

  @Test func aWorkerThatIsFarBehindLooksAtAllAgain() throws {
    let topology = try Topology.of(.roundRobin, [Int](repeating: 1, count: 10))
    var picking = Picking(topology)
    _ = picking.visit()
    for round in 0..<200 { topology.mark(round % 9, round % 2 == 0 ? .down : .up) }
    for position in 0..<9 { topology.mark(position, position < 7 ? .down : .up) }
    let counts = picking.counts(300)
    for (position, count) in counts.enumerated() {
      #expect(abs(count - (position < 7 ? 0 : 100)) <= (position < 7 ? 0 : 1), "\(counts)")
    }
  }

  // MARK: By load

  @Test func leastConnectionsKeepsLoadsEvenByWeight() throws {
    let weights = [1, 2, 3, 0, 4]
    let topology = try Topology.of(.leastConnections, weights)
    var picking = Picking(topology)
    for count in 1...100 {
      #expect(picking.take() >= 0)
      for (position, weight) in weights.enumerated() {
        let share = Double(count * weight) / 10
        #expect(abs(Double(topology.sessions(position)) - share) < 2)
      }
    }
    #expect((0..<5).map(topology.sessions) == [10, 20, 30, 0, 40])
    // Who becomes idle gets the next ones.
    for _ in 0..<10 { topology.end(0) }
    #expect((0..<9).map { _ in picking.take() } == [Int](repeating: 0, count: 9))
  }

  @Test func aLoadThatNobodyToldOfIsFoundOut() throws {
    let topology = try Topology.of(.leastConnections, [1, 1])
    var picking = Picking(topology)
    // As from a worker that uses another topology still.
    for _ in 0..<5 { topology.endpoints[0].state.sessions.add() }
    #expect((0..<4).map { _ in picking.take() } == [1, 1, 1, 1])
  }

  @Test func powerOfTwoPrefersTheLessLoaded() throws {
    let topology = try Topology.of(.powerOfTwo, [1, 1])
    var picking = Picking(topology)
    for _ in 0..<100 { _ = picking.take() }
    #expect(abs(topology.sessions(0) - topology.sessions(1)) <= 1)
    let many = try Topology.of(.powerOfTwo, [Int](repeating: 1, count: 50))
    picking = Picking(many)
    for _ in 0..<5000 { _ = picking.take() }
    // At random alone, the highest would be some 25 above the average.
    #expect((0..<50).map(many.sessions).max() ?? 0 <= 108)
  }

  @Test func firstFillsUpInTheOrderOfTheFile() throws {
    let topology = try Topology.of(
      UpstreamPlan(
        name: "u", balance: .first,
        endpoints: (0..<20).map { EndpointPlan(port: UInt16($0 + 1), sessionsMax: 2) }))
    var picking = Picking(topology)
    #expect((0..<6).map { _ in picking.take() } == [0, 0, 1, 1, 2, 2])
    topology.end(0)
    #expect(picking.take() == 0)
    topology.mark(3, .down)
    #expect(picking.take() == 4)
  }

  // MARK: By latency

  @Test func whoAnswersSoonerGetsMore() throws {
    let topology = try Topology.of(.peakEWMA(EWMAPlan(decay: .seconds(10))), [1, 1])
    var picking = Picking(topology)
    for (position, milliseconds) in [(0, 1), (1, 9)] {
      topology.endpoints[position].state.noteLatency(
        nanoseconds: UInt64(milliseconds) * 1_000_000, at: picking.now,
        decayNanoseconds: 10_000_000_000)
    }
    for _ in 0..<100 { _ = picking.take() }
    // Eight times as many, about: that makes up for the time.
    #expect(abs(topology.sessions(0) - 89) <= 2, "\(topology.sessions(0))")
    // Nobody is avoided for ever.
    picking.now = picking.now.advanced(by: 120_000_000_000)
    for _ in 0..<60 { _ = picking.take() }
    #expect(topology.sessions(1) >= 60, "\(topology.sessions(1))")
  }

  @Test func whoWasNeverMeasuredIsTriedButNotFlooded() throws {
    let topology = try Topology.of(.peakEWMA(EWMAPlan()), [1, 1])
    var picking = Picking(topology)
    topology.endpoints[0].state.noteLatency(
      nanoseconds: 50_000_000, at: picking.now, decayNanoseconds: 10_000_000_000)
    for _ in 0..<20 { _ = picking.take() }
    #expect(topology.sessions(1) == 10)
  }

  // MARK: Tiers

  @Test(arguments: [BalancePolicy.roundRobin, .random, .sourceHash(HashPlan(tableSize: 251))])
  func aTierOfWhichTooLittleIsHealthySpillsOver(_ balance: BalancePolicy) throws {
    let topology = try Topology.of(
      UpstreamPlan(
        name: "u", balance: balance, spillOverPercent: 80,
        endpoints: (0..<12).map { EndpointPlan(port: UInt16($0 + 1), priority: $0 < 10 ? 0 : 1) }))
    var picking = Picking(topology)
    func share(_ picking: inout Picking) -> Double {
      let picks = (0..<4000).map { picking.visit(key: UInt64($0)) }
      return Double(picks.count { $0 < 10 }) / 4000
    }
    #expect(share(&picking) == 1)
    for position in 0..<2 { topology.mark(position, .down) }
    #expect(share(&picking) == 1)
    for position in 2..<6 { topology.mark(position, .down) }
    // Four tenths of it are healthy, half of what is asked for.
    #expect(abs(share(&picking) - 0.5) < 0.04)
    for position in 6..<10 { topology.mark(position, .down) }
    #expect(share(&picking) == 0)
    for position in 0..<4 { topology.mark(position, .up) }
    for position in 10..<12 { topology.mark(position, .down) }
    // What the first leaves is left to nobody.
    #expect(share(&picking) == 1)
  }
}
