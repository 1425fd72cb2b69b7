// SPDX-License-Identifier: Apache-2.0
// From plans to topologies: names become addresses, one endpoint each; what stays keeps its slot and
// its state, and a slot goes to another only when nobody can refer to it any more.

import Addressing
import Plan
import Testing

@testable import Control
@testable import DataPlane

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

  @Test("By default failures to connect count where an upstream has more than one endpoint")
  func countedFailures() throws {
    func counted(_ plan: ProxyPlan, _ names: [NameQuestion: Resolution] = [:]) -> [Int] {
      let topology = Book().build(plan, names: names)
      #expect(topology.endpoints.allSatisfy { $0.countsOnlyConnects })
      return topology.endpoints.map(\.failuresMax)
    }
    #expect(counted(samplePlan([.socket(spare)])) == [0])
    var plan = samplePlan([.socket(spare), .socket(spare)])
    #expect(counted(plan) == [3, 3])
    plan.upstreams[0].endpoints[1].weight = 0
    #expect(counted(plan) == [0, 0])
    let addresses = try ["10.0.0.1", "fd00::1"].map { try #require(IPAddress($0)) }
    let named = samplePlan([.name(host: "db", port: 5432)])
    #expect(counted(named, ["db": .addresses(addresses)]) == [3, 3])
    #expect(counted(named, ["db": .addresses([addresses[0]])]) == [0])
  }

  @Test("With a policy of its own, an upstream counts all failures; without one, none")
  func countedFailuresOfOthers() {
    var plan = samplePlan([.socket(spare)])
    plan.upstreams[0].outlier = OutlierPlan(failures: 7)
    let own = Book().build(plan).endpoints[0]
    #expect(own.failuresMax == 7)
    #expect(!own.countsOnlyConnects)
    plan.upstreams[0].endpoints.append(plan.upstreams[0].endpoints[0])
    plan.upstreams[0].outlier = nil
    #expect(Book().build(plan).endpoints.map(\.failuresMax) == [0, 0])
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

@Suite("Topology ledger: what stays")
struct TopologyLedgerKeepingTests {
  private func plan(
    _ ports: [UInt16], upstream: String = "u", route: String = "r", listen: [UInt16] = [1]
  ) -> ProxyPlan {
    var plan = samplePlan(
      ports.map { .socket(.v4(.loopback, port: $0)) }, listen: listen.map { .port($0) })
    plan.upstreams[0].name = upstream
    plan.routes[0].name = route
    return plan
  }

  @Test("Everything that stays has the same slot and the same state, in whatever order it comes")
  func order() {
    let book = Book()
    let first = book.build(plan([1, 2, 3], listen: [1, 2]))
    let second = book.build(plan([3, 4, 1, 2], listen: [9, 2, 1]))
    #expect(second.version == first.version + 1)
    #expect(second.upstreams[0].tiers[0].map(\.endpoint.position) == [2, 3, 0, 1])
    for position in 0..<3 {
      #expect(first.endpoints[position].state === second.endpoints[position].state)
      #expect(first.endpoints[position].number == second.endpoints[position].number)
    }
    #expect(first.routes[0].state === second.routes[0].state)
    for position in 0..<2 {
      #expect(first.listeners[position].state === second.listeners[position].state)
    }
    #expect(first.sessions === second.sessions)
  }

  @Test("Weights, priorities and bounds do not change what an endpoint is")
  func settings() {
    let book = Book()
    let first = book.build(plan([1, 2]))
    var changed = plan([1, 2])
    changed.upstreams[0].endpoints[0].weight = 7
    changed.upstreams[0].endpoints[1].priority = 1
    changed.upstreams[0].endpoints[1].sessionsMax = 5
    changed.upstreams[0].connect = .seconds(9)
    changed.routes[0].sessionsMax = 3
    let second = book.build(changed)
    #expect(first.endpoints[0].state === second.endpoints[0].state)
    #expect(first.endpoints[1].state === second.endpoints[1].state)
    #expect(second.endpoints[1].sessionsMax == 5)
    #expect(first.routes[0].state === second.routes[0].state)
    #expect(second.routes[0].sessionsMax == 3)
  }

  @Test(
    "An endpoint of another upstream is another endpoint; a route of another name another route")
  func others() {
    let book = Book()
    let first = book.build(plan([1]))
    let second = book.build(plan([1], upstream: "v", route: "s"))
    #expect(second.endpoints.count == 2)
    #expect(first.endpoints[0].state !== second.endpoints[1].state)
    #expect(second.endpoints.map(\.isRetired) == [true, false])
    #expect(second.routes.map(\.isRetired) == [true, false])
    #expect(second.upstreams.map(\.isRetired) == [true, false])
    // The listener is the same, and leads elsewhere.
    #expect(second.listeners.map(\.route) == [RouteIndex(1)])
    #expect(first.listeners[0].state === second.listeners[0].state)
  }

  @Test("Endpoints that are the same otherwise are told apart by their order")
  func duplicates() {
    let book = Book()
    let first = book.build(plan([5, 5]))
    let second = book.build(plan([5]))
    #expect(first.endpoints[0].state !== first.endpoints[1].state)
    #expect(second.endpoints.map(\.isRetired) == [false, true])
    let third = book.build(plan([5, 5]))
    #expect(third.endpoints[1].state === first.endpoints[1].state)
  }

  @Test("Whose turn it is goes on while the members and their shares are the same")
  func turns() {
    let book = Book()
    #expect(book.build(plan([1, 2])).upstreams[0].turnsVersion == 1)
    var changed = plan([1, 2], listen: [1, 2])
    changed.upstreams[0].connect = .seconds(9)
    #expect(book.build(changed).upstreams[0].turnsVersion == 1)
    changed.upstreams[0].endpoints[0].weight = 2
    #expect(book.build(changed).upstreams[0].turnsVersion == 3)
    changed.upstreams[0].balance = .leastConnections
    #expect(book.build(changed).upstreams[0].turnsVersion == 4)
  }

  @Test("Nothing new makes no new topology, in whatever order a name's addresses come")
  func rotation() throws {
    let book = Book()
    let plan = samplePlan([.name(host: "db", port: 1)])
    let addresses = try ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map { try #require(IPAddress($0)) }
    let first = book.build(plan, names: ["db": .addresses(addresses)])
    let second = book.build(plan, names: ["db": .addresses(addresses.reversed())])
    #expect(first === second)
    // One goes, one comes: the others stay before it.
    let newcomer = try #require(IPAddress("10.0.0.9"))
    let third = book.build(
      plan, names: ["db": .addresses([newcomer, addresses[2], addresses[0]])])
    let names = third.upstreams[0].tiers[0].map { third.endpoints[$0.endpoint.position].name }
    #expect(names == ["db(10.0.0.1:1)", "db(10.0.0.3:1)", "db(10.0.0.9:1)"])
  }

  @Test("What comes back before it is forgotten has its state again")
  func comesBack() {
    let book = Book()
    let first = book.build(plan([1, 2]))
    first.endpoints[1].state.availability = .down
    first.noteChange(of: EndpointIndex(1))
    book.build(plan([1]))
    let third = book.build(plan([1, 2]))
    #expect(third.endpoints[1].state === first.endpoints[1].state)
    #expect(third.endpoints[1].state.availability == .down)
    #expect(!third.endpoints[1].isRetired)
  }

  @Test("Numbers within an upstream differ, and are not given anew at once")
  func numbers() {
    let book = Book()
    #expect(book.build(plan([1, 2])).endpoints.map(\.number) == [0, 1])
    book.confirm()
    for port in 3...200 as ClosedRange<UInt16> {
      let before = book.ledger.current?.endpoints.last { !$0.isRetired }?.number
      let topology = book.build(plan([1, port]))
      let live = topology.endpoints.filter { !$0.isRetired }
      #expect(Set(live.map(\.number)).count == 2)
      #expect(!live.map(\.number).dropFirst().contains(before ?? -1))
      book.confirm()
    }
  }
}

@Suite("Topology ledger: slots")
struct TopologyLedgerSlotTests {
  private func plan(_ port: UInt16) -> ProxyPlan {
    samplePlan([.socket(.v4(.loopback, port: port))], listen: [.port(1)])
  }

  /// Goes on to new endpoints, all confirmed, until a slot is used again; `nil` if that does not
  /// happen within six. Returns after how many.
  private func changesUntilReuse(_ book: Book, from port: UInt16 = 100) -> Int? {
    for change in 0..<6 as Range<UInt16> {
      let before = book.ledger.current?.endpoints.count
      let topology = book.build(plan(port + change))
      book.confirm()
      book.reader.read()
      if topology.endpoints.count == before { return Int(change) }
    }
    return nil
  }

  @Test("A slot is used again when nobody can refer to it")
  func reuse() {
    let book = Book()
    book.build(plan(1))
    #expect(changesUntilReuse(book) != nil)
    for port in 200..<300 as Range<UInt16> {
      #expect(book.build(plan(port)).endpoints.count <= 4)
      book.confirm()
      book.reader.read()
    }
  }

  @Test("Not before every worker has confirmed that nothing leads there")
  func unconfirmed() {
    let book = Book(workers: 2)
    book.build(plan(1))
    for port in 2..<8 as Range<UInt16> {
      let topology = book.build(plan(port))
      #expect(topology.endpoints.count == Int(port))
      book.ledger.note(worker: 0, isUsing: topology.version)
      book.reader.read()
    }
    book.confirm()
    #expect(changesUntilReuse(book) != nil)
  }

  @Test("Not before its last session is over, connected or not")
  func session() {
    let book = Book()
    let first = book.build(plan(1))
    first.endpoints[0].state.counters(of: 0).hold()
    for port in 2..<20 as Range<UInt16> {
      let topology = book.build(plan(port))
      #expect(topology.endpoints[0].state === first.endpoints[0].state)
      book.confirm()
      book.reader.read()
    }
    first.endpoints[0].state.counters(of: 0).release()
    for port in 20..<26 as Range<UInt16> {
      book.build(plan(port))
      book.confirm()
      book.reader.read()
    }
    #expect(book.ledger.current?.endpoints[0].state !== first.endpoints[0].state)
  }

  @Test("Not before its records are read")
  func records() {
    let book = Book()
    book.build(plan(1))
    for port in 2..<8 as Range<UInt16> {
      #expect(book.build(plan(port)).endpoints.count == Int(port))
      book.confirm()
    }
    #expect(book.reader.wanted > 0)
    book.reader.read()
    #expect(changesUntilReuse(book) != nil)
  }

  @Test("Without anybody who reads records, that is not waited for")
  func noReader() {
    let ledger = TopologyLedger(workers: 1, records: nil)
    for port in 1..<50 as Range<UInt16> {
      let topology = ledger.build(
        plan(port), names: [:], builtins: [:],
        listeners: [], sessionsMax: 10)
      #expect(topology.endpoints.count <= 4)
      ledger.note(worker: 0, isUsing: topology.version)
    }
  }

  @Test("A route with sessions keeps its upstream, and that its endpoints")
  func heldByRoute() {
    let book = Book()
    let first = book.build(plan(1))
    first.routes[0].state.sessions.add()
    func goOn(_ range: Range<UInt16>) {
      for port in range {
        var next = plan(port)
        next.routes[0].name = "r\(port)"
        next.upstreams[0].name = "u\(port)"
        book.build(next)
        book.confirm()
        book.reader.read()
      }
    }
    goOn(2..<20)
    let now = book.ledger.current
    #expect(now?.routes[0].name == "r")
    #expect(now?.upstreams[0].name == "u")
    #expect(now?.endpoints[0].state === first.endpoints[0].state)
    #expect(now?.routes.count ?? 0 <= 5)
    first.routes[0].state.sessions.giveBack()
    goOn(20..<30)
    let later = book.ledger.current
    #expect(later?.routes[0].name != "r")
    #expect(later?.upstreams[0].name != "u")
    #expect(later?.endpoints[0].state !== first.endpoints[0].state)
  }

  @Test("A topology that no worker uses any more is released")
  func release() {
    let book = Book(workers: 2)
    weak var first: Topology?
    do { first = book.build(plan(1)) }
    let second = book.build(plan(2))
    book.ledger.note(worker: 0, isUsing: second.version)
    #expect(first != nil)
    book.ledger.note(worker: 1, isUsing: second.version)
    #expect(first == nil)
    #expect(book.ledger.confirmedVersion == second.version)
  }
}
