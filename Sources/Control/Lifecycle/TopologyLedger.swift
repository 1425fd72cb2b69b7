// SPDX-License-Identifier: Apache-2.0
// From plans to topologies, one after another: every endpoint gets its address, a host name with
// several addresses becomes several endpoints, and whatever was in the topology before keeps its slot
// and its state. It is recognised by what it is: a listener by its configured address, routes and
// upstreams by their names, an endpoint by its upstream and its address.
//
// What is gone keeps its slot until nobody can refer to it: every worker has confirmed a topology in
// which nothing leads there, its last session is over, and whoever reads the records has gone
// through all of them since. What leads to an upstream is also a route that is gone itself and has
// sessions left, which may still look for an endpoint.

import Addressing
import DataPlane
import Plan
import Reactor

/// Whoever reads the records that workers write, ring after ring, again and again.
protocol RecordReader: AnyObject {
  /// The number of the first pass over all rings that begins after this call. Has it begin soon.
  func passAfterNow() -> Int
  /// Whether a pass is over.
  func hasCompleted(_ pass: Int) -> Bool
}

/// Makes topologies, and remembers what they share. Used by one thread.
final class TopologyLedger {
  /// All that a topology is made of.
  private struct Source: Equatable {
    let plan: ProxyPlan
    let names: [NameQuestion: Resolution]
    let builtins: [BuiltinService: SocketAddress]
    let listeners: [OpenListener]
    let sessionsMax: Int
  }

  private struct EndpointKey: Hashable {
    enum Place: Hashable {
      /// With the host name that stands for it, if it is given by one: two names of one address are two
      /// servers as far as anybody can tell.
      case address(SocketAddress, host: String?)
      case builtin(BuiltinService)
    }
    let upstream: String
    let place: Place
    /// Tells those apart that are the same otherwise, in the order of the file.
    let ordinal: Int
  }

  private struct EndpointMemory {
    let state: EndpointState
    let number: Int
  }

  private let workers: Int
  private let records: (any RecordReader)?
  private let sessions = SessionCount()
  private var listeners = SlotTable<ListenerKey, ListenerState>()
  private var routes = SlotTable<String, RouteState>()
  private var upstreams = SlotTable<String, UpstreamState>()
  private var endpoints = SlotTable<EndpointKey, EndpointMemory>()
  /// The number that was given last to an endpoint, by upstream.
  private var lastNumbers: [Int: Int] = [:]
  private var source: Source?
  /// The topologies that some worker may use, oldest first. They are kept here so that none is
  /// released on a worker's thread, in the midst of its work.
  private var inUse: [Topology] = []
  private var versions: [Int]

  /// A ledger for `workers` workers whose records `records` reads, if anybody does.
  init(workers: Int, records: (any RecordReader)?) {
    precondition(workers > 0)
    self.workers = workers
    self.records = records
    versions = Array(repeating: 0, count: workers)
  }

  /// The latest topology, `nil` before the first.
  var current: Topology? { inUse.last }

  /// The oldest version that some worker may still use. What was gone in it is out of use.
  var confirmedVersion: Int { versions.min() ?? 0 }

  /// Notes that a worker has gone over to a topology, and so to none before it any more.
  func note(worker: Int, isUsing version: Int) {
    let before = confirmedVersion
    versions[worker] = max(versions[worker], version)
    let confirmed = confirmedVersion
    guard confirmed > before else { return }
    inUse.removeAll { $0.version < confirmed }
    current?.settle(from: before, to: confirmed)
  }

  /// The topology for a plan: the current one if nothing is different. Every name of the plan must
  /// have been looked up with success; in which order its addresses come makes no difference once
  /// they are known. Workers are made with the first topology; every later one must be told to the
  /// reader of records and then to all workers.
  func build(
    _ plan: ProxyPlan, names: [NameQuestion: Resolution], builtins: [BuiltinService: SocketAddress],
    listeners: [OpenListener], sessionsMax: Int
  ) -> Topology {
    let next = Source(
      plan: plan, names: resolutions(for: plan, names), builtins: builtins, listeners: listeners,
      sessionsMax: sessionsMax)
    if let current, next == source { return current }
    source = next
    vacateSlots()
    let topology = build(next)
    if inUse.isEmpty { versions = Array(repeating: topology.version, count: workers) }
    inUse.append(topology)
    return topology
  }

  /// What is known stays in its order: name servers rotate their answers.
  private func resolutions(
    for plan: ProxyPlan, _ names: [NameQuestion: Resolution]
  ) -> [NameQuestion: Resolution] {
    var result: [NameQuestion: Resolution] = [:]
    for question in plan.questions.keys {
      guard let found = names[question] else {
        preconditionFailure("a name that nobody looked up")
      }
      result[question] = found.ordered(after: source?.names[question])
    }
    return result
  }

  // MARK: Building

  private func build(_ source: Source) -> Topology {
    let version = (current?.version ?? 0) + 1
    let plan = source.plan
    // What is not written anew below is gone from the plan.
    var draft = Draft(retiring: current)
    if current == nil {
      // Thousands are read at once: each of them would be moved some times.
      let count = plan.upstreams.reduce(0) { $0 + $1.endpoints.count }
      endpoints.reserveCapacity(count)
      draft.endpoints.reserveCapacity(count)
    }
    let upstreamPositions = plan.upstreams.map {
      upstreams.claim($0.name, in: version) { UpstreamState() }
    }
    let remembered = rememberedNumbers()
    for (upstream, position) in zip(plan.upstreams, upstreamPositions) {
      var previous: Upstream?
      // Otherwise the slot was another's, who is no more.
      if let current, current.upstreams.indices.contains(position),
        current.upstreams[position].name == upstream.name
      {
        previous = current.upstreams[position]
      }
      let members = addMembers(
        of: upstream, at: position, source, version, remembered[upstream.name] ?? 0,
        &draft.endpoints)
      var next = Upstream(
        upstream, members: members, version: version, state: upstreams.state(position),
        previous: previous)
      next.seat(&draft.endpoints, version: version, previous: previous)
      Draft.put(next, at: position, in: &draft.upstreams)
    }
    let routePositions = plan.routes.map { route in
      routes.claim(route.name, in: version) { RouteState(workers: workers) }
    }
    for (route, position) in zip(plan.routes, routePositions) {
      Draft.put(
        Route(
          route, upstream: upstreamPositions[route.upstream.rawValue],
          state: routes.state(position)), at: position, in: &draft.routes)
    }
    for listener in source.listeners {
      let position = listeners.claim(listener.key, in: version) { ListenerState(workers: workers) }
      Draft.put(
        Listener(
          descriptor: listener.descriptor, generation: listener.generation, name: listener.name,
          route: RouteIndex(routePositions[listener.route]), state: listeners.state(position)),
        at: position, in: &draft.listeners)
    }
    keepReachable(draft, version)
    return Topology(
      version: version, listeners: draft.listeners, routes: draft.routes,
      upstreams: draft.upstreams, endpoints: draft.endpoints, sessions: sessions,
      sessionsMax: source.sessionsMax)
  }

  /// The numbers of all endpoints that have a slot, by upstream, a bit for each. Those that are gone as well:
  /// they may come back.
  private func rememberedNumbers() -> [String: UInt64] {
    var numbers: [String: UInt64] = [:]
    for case let entry? in endpoints.entries {
      numbers[entry.key.upstream, default: 0] |= 1 << UInt64(entry.state.number)
    }
    return numbers
  }

  /// Adds the endpoints of an upstream, of which there were some with the numbers `remembered`.
  private func addMembers(
    of plan: UpstreamPlan, at upstream: Int, _ source: Source, _ version: Int,
    _ remembered: UInt64, _ all: inout [Endpoint]
  ) -> [(member: Upstream.Member, priority: Int)] {
    var members: [(member: Upstream.Member, priority: Int)] = []
    var ordinals: [EndpointKey.Place: Int] = [:]
    var taken = TakenNumbers(remembered: remembered)
    let upstreamState = upstreams.state(upstream)
    if let current, upstream < current.upstreams.count {
      for member in current.upstreams[upstream].tiers.joined() {
        taken.current |= 1 << UInt64(current.endpoints[member.endpoint.position].number)
      }
    }
    let places = plan.endpoints.map { self.places(of: $0, in: plan, source) }
    let takers = places.reduce(0) { $0 + $1.count { $0.weight > 0 } }
    let failuresMax = plan.outlier?.failuresMax(endpoints: takers) ?? 0
    for (endpoint, places) in zip(plan.endpoints, places) {
      for found in places {
        var place = EndpointKey.Place.address(found.address, host: found.host)
        if case .builtin(let service) = endpoint.address { place = .builtin(service) }
        let key = EndpointKey(
          upstream: plan.name, place: place, ordinal: ordinals[place, default: 0])
        ordinals[place, default: 0] += 1
        let position = endpoints.claim(key, in: version) {
          EndpointMemory(
            state: EndpointState(workers: workers, availability: plan.initialAvailability),
            number: nextNumber(in: upstream, &taken))
        }
        let memory = endpoints.state(position)
        // One that was gone has not been asked since, and workers may see it before its checks are told.
        if plan.initialAvailability != .up, current?.hasInUse(endpoint: position) != true {
          memory.state.availability = plan.initialAvailability
        }
        Draft.put(
          Endpoint(
            endpoint, name: found.name, upstreamName: plan.name, address: found.address,
            host: found.host, ordinal: key.ordinal, number: memory.number,
            failuresMax: failuresMax, countsOnlyConnects: plan.outlier?.scope == .connect,
            state: memory.state, upstreamState: upstreamState),
          at: position, in: &all)
        members.append(
          (
            member: Upstream.Member(EndpointIndex(position), weight: found.weight),
            priority: found.priority
          ))
      }
    }
    return members
  }

  /// A number that no other endpoint of the upstream has, as far as 64 go, and that was not given
  /// lately: sessions that are being connected remember numbers.
  private func nextNumber(in upstream: Int, _ taken: inout TakenNumbers) -> Int {
    var number = ((lastNumbers[upstream] ?? -1) + 1) % 64
    let avoided = taken.remembered != .max ? taken.remembered : taken.current
    while avoided != .max, avoided & 1 << UInt64(number) != 0 { number = (number + 1) % 64 }
    taken.remembered |= 1 << UInt64(number)
    taken.current |= 1 << UInt64(number)
    lastNumbers[upstream] = number
    return number
  }

  /// Where an endpoint of a plan is, for each of its addresses.
  private struct FoundPlace {
    let name: String
    let address: SocketAddress
    /// The host name that stands for that, if it was found by one.
    var host: String?
    let weight: Int
    let priority: Int
  }

  private func places(
    of endpoint: EndpointPlan, in upstream: UpstreamPlan, _ source: Source
  ) -> [FoundPlace] {
    let resolution = upstream.question(for: endpoint).flatMap { source.names[$0] }
    switch (endpoint.address, resolution) {
    case (.socket(let socketAddress), _):
      return [
        FoundPlace(
          name: endpoint.address.description, address: socketAddress, weight: endpoint.weight,
          priority: endpoint.priority)
      ]
    case (.builtin(let service), _):
      guard let socketAddress = source.builtins[service] else {
        preconditionFailure("a builtin service that nobody started")
      }
      return [
        FoundPlace(
          name: endpoint.address.description, address: socketAddress, weight: endpoint.weight,
          priority: endpoint.priority)
      ]
    case (.name(let host, let port), .addresses(let addresses)?):
      return addresses.map {
        let socketAddress = SocketAddress($0, port: port)
        return FoundPlace(
          name: "\(host)(\(socketAddress))", address: socketAddress, host: host,
          weight: endpoint.weight, priority: endpoint.priority)
      }
    case (.service, .service(let servers)?):
      return zip(servers, ServiceShare.shares(of: servers)).map { server, share in
        FoundPlace(
          name: server.id.description,
          address: SocketAddress(server.id.address, port: server.id.port),
          host: server.id.target, weight: share.weight, priority: endpoint.priority + share.tier)
      }
    case (.name, _), (.service, _):
      preconditionFailure("a name that was not looked up with success")
    }
  }

  // MARK: Slots

  /// Sessions of a route that is gone may still look for an endpoint of its upstream, also when that
  /// is gone, too.
  private func keepReachable(_ draft: Draft, _ version: Int) {
    for (position, route) in draft.routes.enumerated() where routes.entries[position] != nil {
      upstreams.keepReachable(route.upstream, in: version)
    }
    for position in upstreams.entries.indices
    where upstreams.entries[position]?.reachableUntil == version {
      for member in draft.upstreams[position].tiers.joined() {
        endpoints.keepReachable(member.endpoint.position, in: version)
      }
    }
  }

  /// Lets others have the slots that nobody refers to any more.
  private func vacateSlots() {
    let confirmed = confirmedVersion
    let quietListeners = listeners.quiet(beyond: confirmed) { !$0.isNamed }
    let quietRoutes = routes.quiet(beyond: confirmed) { $0.sessions.value == 0 }
    // Sessions at endpoints that are gone are still its own, should it come back.
    let quietUpstreams = upstreams.quiet(beyond: confirmed) { $0.sessions.value == 0 }
    // A place that is on its way to a session names no endpoint yet.
    let quietEndpoints = endpoints.quiet(beyond: confirmed) {
      !$0.state.isNamed && $0.state.sessions.value == 0
    }
    // Records of their last sessions are in the rings by now, and are read by the next pass at last.
    let found = [quietListeners, quietRoutes, quietUpstreams, quietEndpoints]
    if !found.allSatisfy(\.isEmpty) {
      let pass = records?.passAfterNow() ?? 0
      listeners.await(pass, for: quietListeners)
      routes.await(pass, for: quietRoutes)
      upstreams.await(pass, for: quietUpstreams)
      endpoints.await(pass, for: quietEndpoints)
    }
    let isOver = { [records] (pass: Int) in records?.hasCompleted(pass) ?? true }
    listeners.vacate(where: isOver)
    routes.vacate(where: isOver)
    upstreams.vacate(where: isOver)
    endpoints.vacate(where: isOver)
  }
}

extension UpstreamPlan {
  /// What its endpoints are to workers until somebody knows better. It has to be so from the first moment
  /// on: a session must not get in before the checks have begun.
  fileprivate var initialAvailability: Availability {
    switch check?.initial {
    case nil, .up?: .up
    case .down?, .unknown?: .down
    }
  }
}

extension Topology {
  /// Whether there is an endpoint at a position that is not gone from the plan.
  fileprivate func hasInUse(endpoint position: Int) -> Bool {
    endpoints.indices.contains(position) && !endpoints[position].isRetired
  }
}

/// The numbers of an upstream's endpoints, a bit for each.
private struct TakenNumbers {
  /// Of all that have a slot.
  var remembered: UInt64 = 0
  /// Of those in the current topology, and in the next one as far as it is made.
  var current: UInt64 = 0
}

/// The parts of a topology in the making.
private struct Draft {
  var listeners: [Listener]
  var routes: [Route]
  var upstreams: [Upstream]
  var endpoints: [Endpoint]

  /// Begins with everything that there was, as gone from the plan.
  init(retiring topology: Topology?) {
    listeners = topology?.listeners ?? []
    routes = topology?.routes ?? []
    upstreams = topology?.upstreams ?? []
    endpoints = topology?.endpoints ?? []
    for position in listeners.indices { listeners[position].isRetired = true }
    for position in routes.indices { routes[position].isRetired = true }
    for position in upstreams.indices { upstreams[position].isRetired = true }
    for position in endpoints.indices { endpoints[position].isRetired = true }
  }

  /// Puts an element at the position that it has claimed: an old one, or the next new one.
  static func put<Element>(_ element: Element, at position: Int, in all: inout [Element]) {
    if position < all.count { all[position] = element } else { all.append(element) }
  }
}
