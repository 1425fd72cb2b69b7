// SPDX-License-Identifier: Apache-2.0
// The plan as workers use it: names resolved to addresses, durations to nanoseconds, references to
// indices, and beside each endpoint and route the few counters that all workers share. It is built
// once off the workers and never changes; what changes are the counters.

import Addressing
import Plan
import Reactor
import Synchronization

/// Which listener of a topology.
public struct ListenerIndex: Hashable, Sendable {
  /// The position in `Topology.listeners`.
  public let rawValue: UInt32
  /// Makes an index from a position.
  public init(_ position: Int) { rawValue = UInt32(position) }
  /// The position in `Topology.listeners`.
  public var position: Int { Int(rawValue) }
}

/// Which route of a topology.
public struct RouteIndex: Hashable, Sendable {
  /// The position in `Topology.routes`.
  public let rawValue: UInt32
  /// Makes an index from a position.
  public init(_ position: Int) { rawValue = UInt32(position) }
  /// The position in `Topology.routes`.
  public var position: Int { Int(rawValue) }
}

/// Which endpoint of a topology.
public struct EndpointIndex: Hashable, Sendable {
  /// The position in `Topology.endpoints`.
  public let rawValue: UInt32
  /// Makes an index from a position.
  public init(_ position: Int) { rawValue = UInt32(position) }
  /// The position in `Topology.endpoints`.
  public var position: Int { Int(rawValue) }
}

/// A number of sessions that several workers count together, with an upper bound.
public final class SessionCount: Sendable {
  /// The bound.
  public let max: Int
  private let count = Atomic<Int>(0)

  /// Starts at none of `max`.
  public init(max: Int) {
    self.max = max
  }

  /// How many there are.
  public var value: Int { count.load(ordering: .relaxed) }

  /// Whether there is no room for one more.
  public var isFull: Bool { value >= max }

  /// Counts one more, unless the bound is reached.
  public func take() -> Bool {
    let (before, _) = count.add(1, ordering: .relaxed)
    if before < max { return true }
    count.subtract(1, ordering: .relaxed)
    return false
  }

  /// Counts one less.
  public func giveBack() {
    let (_, after) = count.subtract(1, ordering: .relaxed)
    assert(after >= 0)
  }
}

/// A route at run time.
public struct Route: Sendable {
  /// The name in the configuration.
  public let name: String
  let idleNanoseconds: UInt64?
  let halfCloseNanoseconds: UInt64?
  let lingerNanoseconds: UInt64
  let access: AccessMoments
  let recordEveryNanoseconds: UInt64?
  /// The position of its upstream in `Topology.upstreams`.
  let upstream: Int
  /// The sessions of the route, over all workers.
  public let sessions: SessionCount

  /// Makes a route of a plan ready to use.
  public init(_ plan: RoutePlan) {
    name = plan.name
    idleNanoseconds = plan.idle?.wholeNanoseconds
    halfCloseNanoseconds = plan.halfClose?.wholeNanoseconds
    lingerNanoseconds = plan.linger.wholeNanoseconds
    access = plan.access
    recordEveryNanoseconds = plan.access.every.map { max(1_000_000, $0.wholeNanoseconds) }
    upstream = plan.upstream.rawValue
    sessions = SessionCount(max: plan.sessionsMax ?? .max)
  }
}

/// An endpoint at run time: one address, only that.
public struct Endpoint: Sendable {
  /// How it is shown: the configured text, with the address where that was a name.
  public let name: String
  let address: KernelAddress
  let weight: Int
  let priority: Int
  /// The sessions at this endpoint, over all workers.
  public let sessions: SessionCount

  /// Makes an endpoint of a plan, at one address, ready to use.
  public init(_ plan: EndpointPlan, name: String, address: SocketAddress) {
    self.name = name
    self.address = KernelAddress(address)
    weight = plan.weight
    priority = plan.priority
    sessions = SessionCount(max: plan.sessionsMax ?? .max)
  }
}

/// An upstream at run time.
public struct Upstream: Sendable {
  /// The name in the configuration.
  public let name: String
  let balance: BalancePolicy
  let connectNanoseconds: UInt64
  let attemptNanoseconds: UInt64
  let options: StreamOptions
  let sources: [(address: KernelAddress, family: Int32)]
  /// Its endpoints by priority, the most preferred first; none of them empty.
  let tiers: [[EndpointIndex]]

  /// Makes an upstream of a plan ready to use. `endpoints` are those of the topology, of which this
  /// upstream owns `range`.
  public init(_ plan: UpstreamPlan, endpoints: [Endpoint], range: Range<Int>) {
    precondition(!range.isEmpty, "an upstream without endpoints")
    name = plan.name
    balance = plan.balance
    connectNanoseconds = plan.connect.wholeNanoseconds
    attemptNanoseconds = plan.attempt.wholeNanoseconds
    options = StreamOptions(plan.tcp)
    sources = plan.source.map {
      let address = KernelAddress(SocketAddress($0, port: 0))
      return (address, address.family)
    }
    let byPriority = Dictionary(grouping: range) { endpoints[$0].priority }
    tiers = byPriority.sorted { $0.key < $1.key }.map { $0.value.map(EndpointIndex.init) }
  }
}

extension StreamOptions {
  /// The options of a plan in the kernel's units.
  public init(_ plan: TCPPlan) {
    func whole(_ duration: Duration?, in unit: UInt64) -> UInt32 {
      guard let nanoseconds = duration?.wholeNanoseconds else { return 0 }
      return UInt32(clamping: max(1, nanoseconds / unit))
    }
    self.init(
      noDelay: plan.noDelay, keepaliveSeconds: whole(plan.keepalive, in: 1_000_000_000),
      userTimeoutMilliseconds: whole(plan.userTimeout, in: 1_000_000),
      unsentBytesMax: UInt32(clamping: plan.unsentBytesMax ?? 0))
  }
}

/// A listening socket as workers see it. Its owner keeps it open until all workers have let go.
public struct Listener: Sendable {
  /// The number of the socket.
  public let descriptor: Int32
  /// What clients connect to, for people.
  public let name: String
  /// Whose clients these are.
  public let route: RouteIndex

  /// Describes a listening socket that somebody else owns.
  public init(descriptor: Int32, name: String, route: RouteIndex) {
    self.descriptor = descriptor
    self.name = name
    self.route = route
  }
}

/// The plan as workers use it. Shared by all, changed by none.
public final class Topology: Sendable {
  /// Where clients arrive.
  public let listeners: [Listener]
  /// From listeners to upstreams.
  public let routes: [Route]
  /// Who serves.
  public let upstreams: [Upstream]
  /// All endpoints of all upstreams.
  public let endpoints: [Endpoint]
  /// All sessions of the process.
  public let sessions: SessionCount

  /// Puts the parts together; their indices must fit.
  public init(
    listeners: [Listener], routes: [Route], upstreams: [Upstream], endpoints: [Endpoint],
    sessions: SessionCount
  ) {
    for listener in listeners { precondition(routes.indices.contains(listener.route.position)) }
    for route in routes { precondition(upstreams.indices.contains(route.upstream)) }
    self.listeners = listeners
    self.routes = routes
    self.upstreams = upstreams
    self.endpoints = endpoints
    self.sessions = sessions
  }
}
