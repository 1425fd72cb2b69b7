// SPDX-License-Identifier: Apache-2.0
// Random plans, one after another, with workers that confirm them when they like, sessions that end
// when they like and a log that reads when it likes: whatever they refer to stays what it was.

import Addressing
import Balancing
import Plan
import Testing

@testable import Control
@testable import DataPlane

/// Workers, sessions and an access log as far as the ledger can tell them from real ones, at random.
private final class LedgerWalk {
  private struct Reference {
    let listener: ListenerIndex
    let route: RouteIndex
    let endpoint: EndpointIndex
    /// What the record of it must tell.
    let names: [String]
    let worker: Int
    let topology: Topology
  }

  private var random: SplitMix64
  private let workers = 3
  private let book: Book
  private var using: [Topology] = []
  private var open: [Reference] = []
  private var unread: [Reference] = []
  private(set) var complaints: [String] = []
  private(set) var endedCount = 0
  private(set) var reusedCount = 0

  init(seed: UInt64) {
    random = SplitMix64(seed: seed)
    book = Book(workers: workers)
    using = Array(repeating: book.build(plan()), count: workers)
  }

  private func below(_ bound: Int) -> Int { Int(random.next(below: UInt64(bound))) }

  private func plan() -> ProxyPlan {
    let upstreams = (0...below(2)).map { _ in "u\(below(4))" }
    var plan = samplePlan([])
    plan.upstreams = Set(upstreams).sorted().map { name in
      UpstreamPlan(
        name: name,
        endpoints: (0...below(4)).map { _ in
          EndpointPlan(address: .socket(.v4(.loopback, port: UInt16(1 + below(12)))))
        })
    }
    plan.routes = Set((0...below(2)).map { _ in "r\(below(5))" }).sorted().map { name in
      RoutePlan(name: name, listen: [], upstream: UpstreamIndex(below(plan.upstreams.count)))
    }
    for port in Set((0...below(4)).map { _ in UInt16(1 + below(9)) }).sorted() {
      plan.routes[below(plan.routes.count)].listen.append(.port(port))
    }
    return plan
  }

  func step() {
    switch below(10) {
    case 0, 1: change()
    case 2, 3:
      let worker = below(workers)
      guard let current = book.ledger.current else { return }
      using[worker] = current
      book.ledger.note(worker: worker, isUsing: current.version)
    case 4, 5, 6: begin()
    case 7, 8: end()
    default: read()
    }
  }

  private func change() {
    let before = book.ledger.current
    let topology = book.build(plan())
    for reference in open + unread where names(reference, topology) != reference.names {
      complaints.append("\(names(reference, topology)) instead of \(reference.names)")
    }
    guard let before, before !== topology else { return }
    for (position, endpoint) in topology.endpoints.enumerated() {
      if position < before.endpoints.count, endpoint.state !== before.endpoints[position].state {
        reusedCount += 1
      }
      guard !endpoint.isRetired else { continue }
      let twins = before.endpoints.filter {
        $0.name == endpoint.name && $0.upstreamName == endpoint.upstreamName && !$0.isRetired
      }
      // Whoever is alone with its name has the state it had.
      let now = topology.endpoints.count {
        $0.name == endpoint.name && $0.upstreamName == endpoint.upstreamName && !$0.isRetired
      }
      if twins.count == 1, now == 1, twins[0].state !== endpoint.state {
        complaints.append("\(endpoint.name) of \(endpoint.upstreamName) lost its state")
      }
    }
    var owners: [ObjectIdentifier: String] = [:]
    for endpoint in before.endpoints + topology.endpoints {
      let owner = "\(endpoint.upstreamName) \(endpoint.name)"
      let known = owners.updateValue(owner, forKey: ObjectIdentifier(endpoint.state))
      if let known, known != owner { complaints.append("\(owner) has the state of \(known)") }
    }
  }

  private func names(_ reference: Reference, _ topology: Topology) -> [String] {
    [
      topology.listeners[reference.listener.position].name,
      topology.routes[reference.route.position].name,
      topology.endpoints[reference.endpoint.position].name,
    ]
  }

  /// A session by the topology that some worker uses; sometimes of a route that is gone already, for
  /// a session that has begun earlier may look for an endpoint again.
  private func begin() {
    let worker = below(workers)
    let topology = using[worker]
    var listener = ListenerIndex(0)
    var route = RouteIndex(0)
    if let earlier = open.filter({ $0.worker == worker }).randomElement(using: &random),
      below(2) == 0
    {
      (listener, route) = (earlier.listener, earlier.route)
    } else {
      let live = topology.listeners.indices.filter { !topology.listeners[$0].isRetired }
      guard let position = live.randomElement(using: &random) else { return }
      listener = ListenerIndex(position)
      route = topology.listeners[position].route
    }
    let upstream = topology.upstreams[topology.routes[route.position].upstream]
    guard let member = upstream.tiers.joined().randomElement(using: &random) else { return }
    topology.listeners[listener.position].state.counters(of: worker).noteCame()
    topology.routes[route.position].state.sessions.add()
    topology.endpoints[member.endpoint.position].state.counters(of: worker).hold()
    let reference = Reference(
      listener: listener, route: route, endpoint: member.endpoint, names: [], worker: worker,
      topology: topology)
    open.append(
      Reference(
        listener: listener, route: route, endpoint: member.endpoint,
        names: names(reference, topology), worker: worker, topology: topology))
  }

  private func end() {
    guard !open.isEmpty else { return }
    let reference = open.remove(at: below(open.count))
    unread.append(reference)
    endedCount += 1
    let topology = reference.topology
    topology.endpoints[reference.endpoint.position].state.counters(of: reference.worker).release()
    topology.listeners[reference.listener.position].state.counters(of: reference.worker).noteLeft()
    topology.routes[reference.route.position].state.sessions.giveBack()
  }

  private func read() {
    unread = []
    book.reader.read()
  }

  var sizes: [Int] {
    guard let current = book.ledger.current else { return [] }
    return [
      current.listeners.count, current.routes.count, current.upstreams.count,
      current.endpoints.count,
    ]
  }
}

@Suite("Topology ledger: random plans")
struct TopologyLedgerWalkTests {
  @Test("Slots and states are those of one entity as long as anybody may refer to them")
  func walk() {
    var ended = 0
    var reused = 0
    for seed in 0..<40 as Range<UInt64> {
      let walk = LedgerWalk(seed: seed)
      for _ in 0..<600 { walk.step() }
      #expect(walk.complaints.isEmpty, "seed \(seed): \(walk.complaints.prefix(5))")
      ended += walk.endedCount
      reused += walk.reusedCount
      // There are 9 addresses, 5 routes, 4 upstreams and 48 endpoints that can be told apart, but for
      // duplicates.
      #expect(zip(walk.sizes, [9, 5, 4, 150]).allSatisfy { $0 <= $1 }, "\(walk.sizes)")
    }
    #expect(ended > 1000)
    #expect(reused > 500)
  }
}
