// SPDX-License-Identifier: Apache-2.0
// The plan as workers use it: names resolved to addresses, durations to nanoseconds, references to
// indices. A topology never changes; a new plan, or a name with other addresses, makes a new one, and each
// worker changes to it in one step.
//
// An index is a slot: an entity that is in several topologies has the same index in all of them, and keeps
// its state, an object with counts and availability. An entity that was removed from the plan stays in
// its slot as retired, because sessions that have begun with it still read timeouts, addresses and names
// there. Another entity may get the slot only when nothing can refer to the old one any more.

import Addressing
import Balancing
import Plan
import Reactor

/// The index of a listener.
public struct ListenerIndex: Hashable, Sendable {
  /// The position in `Topology.listeners`.
  public let rawValue: UInt32
  /// Makes an index from a position.
  public init(_ position: Int) { rawValue = UInt32(position) }
  /// The position in `Topology.listeners`.
  public var position: Int { Int(rawValue) }
}

/// The index of a route.
public struct RouteIndex: Hashable, Sendable {
  /// The position in `Topology.routes`.
  public let rawValue: UInt32
  /// Makes an index from a position.
  public init(_ position: Int) { rawValue = UInt32(position) }
  /// The position in `Topology.routes`.
  public var position: Int { Int(rawValue) }
}

/// The index of an endpoint.
public struct EndpointIndex: Hashable, Sendable {
  /// The position in `Topology.endpoints`.
  public let rawValue: UInt32
  /// Makes an index from a position.
  public init(_ position: Int) { rawValue = UInt32(position) }
  /// The position in `Topology.endpoints`.
  public var position: Int { Int(rawValue) }
}

/// A listening socket as workers see it. Its owner keeps it open until no worker uses it any more.
public struct Listener: Sendable {
  /// The socket's descriptor. Not valid for a retired listener.
  public let descriptor: Int32
  /// Distinguishes this socket from others that had the same descriptor or the same slot.
  public let generation: UInt32
  /// The address, as shown in logs.
  public let name: String
  /// The route of its clients.
  public let route: RouteIndex
  /// The state that outlives this topology.
  public let state: ListenerState
  /// Whether it was removed from the plan.
  public var isRetired = false

  /// Describes a listening socket that has another owner.
  public init(
    descriptor: Int32, generation: UInt32, name: String, route: RouteIndex, state: ListenerState
  ) {
    self.descriptor = descriptor
    self.generation = generation
    self.name = name
    self.route = route
    self.state = state
  }
}

/// A route at run time.
public struct Route: Sendable {
  /// The name in the configuration.
  public let name: String
  /// How many sessions it holds at once, over all workers.
  public let sessionsMax: Int
  let idleNanoseconds: UInt64?
  let halfCloseNanoseconds: UInt64?
  /// How long the receiver that is left may make no progress before the bytes that it has not taken are given up.
  let flushNanoseconds: UInt64
  /// Whether a client that finishes without a byte, before an endpoint is connected, is closed without a connection
  /// to one.
  let dropsSilentClients: Bool
  let access: AccessMoments
  let recordEveryNanoseconds: UInt64?
  /// The key of its sessions where the upstream hashes by route.
  let hashKey: UInt64
  /// The position of its upstream in `Topology.upstreams`.
  public let upstream: Int
  /// The state that outlives this topology.
  public let state: RouteState
  /// Whether it was removed from the plan.
  public var isRetired = false

  /// Makes a route of a plan ready to use. `upstream` is a position in `Topology.upstreams`.
  public init(_ plan: RoutePlan, upstream: Int, state: RouteState) {
    name = plan.name
    sessionsMax = plan.sessionsMax ?? .max
    idleNanoseconds = plan.idle?.wholeNanoseconds
    halfCloseNanoseconds = plan.halfCloseTimeout?.wholeNanoseconds
    flushNanoseconds = plan.flushTimeout.wholeNanoseconds
    dropsSilentClients = plan.dropSilentClients
    access = plan.access
    recordEveryNanoseconds = plan.access.every.map { max(1_000_000, $0.wholeNanoseconds) }
    var hash = StableHash()
    hash.add((plan.hashKey ?? plan.name).utf8)
    hashKey = hash.value
    self.upstream = upstream
    self.state = state
  }
}

/// An endpoint at run time: exactly one address.
public struct Endpoint: Sendable {
  /// How it is shown: the configured text, with the address if that was a name.
  public let name: String
  /// The name of its upstream.
  public let upstreamName: String
  /// Its address.
  public let socketAddress: SocketAddress
  /// The host name, if it was configured by one.
  public let host: String?
  /// How many sessions it takes at once, over all workers.
  public let sessionsMax: Int
  let address: KernelAddress
  /// Its number within the upstream, below 64: unique unless the upstream has more than 64 endpoints, including
  /// those that were removed lately.
  public let number: Int
  /// Consecutive failures that are reported; 0: they are not counted.
  let failuresMax: Int
  /// Whether only failures to connect count, and an established connection clears the count. Otherwise also
  /// connections that break before a byte has come back count, and the first byte clears the count.
  let countsOnlyConnects: Bool
  /// Whether the kernel may choose the endpoint's own port for a connection to it, which then leads to itself.
  let mayMeetItself: Bool
  /// Identifies it in hashes: made of its address and name, so that every process computes the same.
  let identity: UInt64
  /// The state that outlives this topology.
  public let state: EndpointState
  /// The state of its upstream, which counts the endpoint's sessions, too.
  let upstreamState: UpstreamState
  /// Whether it was removed from the plan.
  public var isRetired = false
  /// Its position in a roster; `nil` until `Upstream.seat`.
  var seat: Seat?

  /// Makes an endpoint of a plan, at one address, ready to use. `number` must be within 0..<64;
  /// `ordinal` distinguishes endpoints that are equal otherwise, `failuresMax` and
  /// `countsOnlyConnects` are its upstream's (`OutlierPlan`).
  public init(
    _ plan: EndpointPlan, name: String, upstreamName: String, address: SocketAddress,
    host: String? = nil, ordinal: Int = 0, number: Int, failuresMax: Int = 0,
    countsOnlyConnects: Bool = false, state: EndpointState, upstreamState: UpstreamState
  ) {
    self.upstreamState = upstreamState
    self.name = name
    self.host = host
    self.upstreamName = upstreamName
    socketAddress = address
    self.address = KernelAddress(address)
    sessionsMax = plan.sessionsMax ?? .max
    precondition((0..<64).contains(number))
    self.number = number
    self.failuresMax = failuresMax
    self.countsOnlyConnects = countsOnlyConnects
    mayMeetItself = address.port.map(EphemeralPorts.current.contains) ?? false
    self.state = state
    // The address of a built-in endpoint differs from start to start.
    var service: BuiltinService?
    if case .builtin(let named) = plan.address { service = named }
    identity = Endpoint.identity(service, at: address, host: host, ordinal: ordinal)
  }

  private static func identity(
    _ service: BuiltinService?, at address: SocketAddress, host: String?, ordinal: Int
  ) -> UInt64 {
    var hash = StableHash()
    if let service {
      hash.add(0)
      hash.add(service.rawValue.utf8)
    } else {
      switch address {
      case .v4(let ip, let port):
        hash.add(4)
        hash.add(UInt64(ip.rawValue) << 16 | UInt64(port))
      case .v6(let ip, let port, let zone):
        hash.add(6)
        hash.add(ip.high)
        hash.add(ip.low)
        hash.add(UInt64(zone) << 16 | UInt64(port))
      case .unix(let path):
        hash.add(1)
        hash.add(path.utf8)
      case .abstract(let name):
        hash.add(2)
        hash.add(name.utf8)
      }
    }
    hash.add((host ?? "").utf8)
    hash.add(UInt64(ordinal))
    return hash.value
  }

  /// The bit that a session sets when this endpoint has failed it.
  var triedBit: UInt64 { 1 << UInt64(number) }
}

/// An upstream at run time.
public struct Upstream: Sendable {
  /// An endpoint, and its share.
  public struct Member: Hashable, Sendable {
    /// The endpoint.
    public let endpoint: EndpointIndex
    /// Its share of the sessions, 0: none.
    public let weight: Int

    /// Puts both together.
    public init(_ endpoint: EndpointIndex, weight: Int) {
      self.endpoint = endpoint
      self.weight = weight
    }
  }

  /// The name in the configuration.
  public let name: String
  let balance: BalancePolicy
  let connectNanoseconds: UInt64
  let attemptNanoseconds: UInt64
  let options: StreamOptions
  /// Whether the connection to an endpoint is closed by a reset once the client has finished and the endpoint
  /// has acknowledged everything.
  let avoidsTimeWait: Bool
  let sources: [(address: KernelAddress, family: Int32)]
  /// How many sessions it has at once, over all workers.
  public let sessionsMax: Int
  /// What follows after a failed attempt.
  let retry: RetryPolicy
  /// How its sessions wait for a place; `nil`: not at all.
  let queue: QueuePolicy?
  /// How its sessions wait for an endpoint; `nil`: not at all.
  let hold: HoldPolicy?
  /// Its endpoints by priority, the most preferred first; none of them empty.
  public let tiers: [[Member]]
  /// How much of a tier's weight must be healthy for it to get all sessions, in percent.
  let spillOverPercent: Int
  /// The policy's options, if it is a hash.
  let hash: HashPlan?
  /// The policy's options, if it is `peak_ewma`.
  let measure: EWMAPlan.Measure?
  let decayNanoseconds: UInt64
  /// What workers share about each tier; none until `seat`.
  var rosters: [Roster] = []
  /// The version of the topology in which `tiers` or `balance` last changed: workers keep their turns as long as it
  /// is the same.
  let turnsVersion: Int
  /// The state that outlives this topology.
  public let state: UpstreamState
  /// Whether it was removed from the plan.
  public var isRetired = false

  /// Makes an upstream of a plan ready to use in the topology `version`. There must be at least one
  /// member. `previous` is the same upstream in the topology before, if it was there.
  public init(
    _ plan: UpstreamPlan, members: [(member: Member, priority: Int)], version: Int,
    state: UpstreamState, previous: Upstream? = nil
  ) {
    precondition(!members.isEmpty, "an upstream without endpoints")
    name = plan.name
    balance = plan.balance
    spillOverPercent = plan.spillOverPercent
    switch plan.balance {
    case .sourceHash(let plan), .maglev(let plan): hash = plan
    default: hash = nil
    }
    if case .peakEWMA(let plan) = plan.balance {
      measure = plan.measure
      decayNanoseconds = plan.decay.wholeNanoseconds
    } else {
      measure = nil
      decayNanoseconds = 0
    }
    self.state = state
    connectNanoseconds = plan.connect.wholeNanoseconds
    attemptNanoseconds = plan.attempt.wholeNanoseconds
    options = StreamOptions(plan.tcp)
    avoidsTimeWait = plan.avoidTimeWait
    sessionsMax = plan.sessionsMax ?? .max
    retry = RetryPolicy(plan.retry)
    queue = plan.queue.map(QueuePolicy.init)
    hold = plan.hold.map(HoldPolicy.init)
    sources = plan.source.map {
      let address = KernelAddress(SocketAddress($0, port: 0))
      return (address, address.family)
    }
    let byPriority = Dictionary(grouping: members) { $0.priority }
    tiers = byPriority.sorted { $0.key < $1.key }.map { $0.value.map(\.member) }
    if let previous, previous.tiers == tiers, previous.balance == balance {
      turnsVersion = previous.turnsVersion
    } else {
      turnsVersion = version
    }
  }
}

/// The plan as workers use it. Shared by all, changed by none.
public final class Topology: Sendable {
  /// Identifies the topology within the process: each is one more than the one before.
  public let version: Int
  /// Listening sockets, by slot.
  public let listeners: [Listener]
  /// Routes from listeners to upstreams, by slot.
  public let routes: [Route]
  /// Upstreams, by slot.
  public let upstreams: [Upstream]
  /// All endpoints of all upstreams, by slot.
  public let endpoints: [Endpoint]
  /// All sessions of the process.
  public let sessions: SessionCount
  /// How many sessions the process holds at once.
  public let sessionsMax: Int

  /// Puts the parts together; their indices must fit.
  public init(
    version: Int, listeners: [Listener], routes: [Route], upstreams: [Upstream],
    endpoints: [Endpoint], sessions: SessionCount, sessionsMax: Int
  ) {
    for listener in listeners { precondition(routes.indices.contains(listener.route.position)) }
    for route in routes { precondition(upstreams.indices.contains(route.upstream)) }
    self.version = version
    self.listeners = listeners
    self.routes = routes
    self.upstreams = upstreams
    self.endpoints = endpoints
    self.sessions = sessions
    self.sessionsMax = sessionsMax
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
