// SPDX-License-Identifier: Apache-2.0
// The plan as workers use it: names resolved to addresses, durations to nanoseconds, references to
// indices. A topology never changes; a new plan, or a name that stands for other addresses, makes a
// new one, and each worker goes over to it in one step.
//
// An index is a slot: whatever lives in several topologies has the same index in all of them, and
// brings its state along, an object that counts and remembers. What is gone from the plan stays in
// its slot as retired, because sessions that have begun with it still look there for timeouts,
// addresses and names. Only when nobody can refer to it any more may another entity get the slot.

import Addressing
import Balancing
import Plan
import Reactor

/// Which listener.
public struct ListenerIndex: Hashable, Sendable {
  /// The position in `Topology.listeners`.
  public let rawValue: UInt32
  /// Makes an index from a position.
  public init(_ position: Int) { rawValue = UInt32(position) }
  /// The position in `Topology.listeners`.
  public var position: Int { Int(rawValue) }
}

/// Which route.
public struct RouteIndex: Hashable, Sendable {
  /// The position in `Topology.routes`.
  public let rawValue: UInt32
  /// Makes an index from a position.
  public init(_ position: Int) { rawValue = UInt32(position) }
  /// The position in `Topology.routes`.
  public var position: Int { Int(rawValue) }
}

/// Which endpoint.
public struct EndpointIndex: Hashable, Sendable {
  /// The position in `Topology.endpoints`.
  public let rawValue: UInt32
  /// Makes an index from a position.
  public init(_ position: Int) { rawValue = UInt32(position) }
  /// The position in `Topology.endpoints`.
  public var position: Int { Int(rawValue) }
}

/// A listening socket as workers see it. Its owner keeps it open until all workers have let go.
public struct Listener: Sendable {
  /// The number of the socket. Not to be used when it is retired.
  public let descriptor: Int32
  /// Tells this socket from others that had the same number or the same slot.
  public let generation: UInt32
  /// What clients connect to, for people.
  public let name: String
  /// Whose clients these are.
  public let route: RouteIndex
  /// What outlives this topology.
  public let state: ListenerState
  /// Whether it is gone from the plan.
  public var isRetired = false

  /// Describes a listening socket that somebody else owns.
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
  /// How long a remaining receiver may make no progress before what it has not taken is given up.
  let flushNanoseconds: UInt64
  /// Whether a client that finishes without a byte, before an endpoint is chosen for it, is closed without a
  /// connection to one.
  let dropsSilentClients: Bool
  let access: AccessMoments
  let recordEveryNanoseconds: UInt64?
  /// What its sessions are told apart by from those of other routes, as a hash.
  let hashKey: UInt64
  /// The position of its upstream in `Topology.upstreams`.
  public let upstream: Int
  /// What outlives this topology.
  public let state: RouteState
  /// Whether it is gone from the plan.
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

/// An endpoint at run time: one address, only that.
public struct Endpoint: Sendable {
  /// How it is shown: the configured text, with the address where that was a name.
  public let name: String
  /// The name of its upstream.
  public let upstreamName: String
  /// Where it is.
  public let socketAddress: SocketAddress
  /// The host name that stood for that, if it was given by one.
  public let host: String?
  /// How many sessions it takes at once, over all workers.
  public let sessionsMax: Int
  let address: KernelAddress
  /// Tells it from others of its upstream, below 64: its own one, unless that has 64 endpoints or
  /// more, those included that were removed lately.
  public let number: Int
  /// Consecutive failures that are reported; 0: they are not counted.
  let failuresMax: Int
  /// Whether only failures to connect count, and an established connection clears the count. Otherwise also
  /// connections that break before a byte has come back count, and the first byte clears the count.
  let countsOnlyConnects: Bool
  /// Whether the kernel may choose the endpoint's own port for a connection to it, which then leads to itself.
  let mayMeetItself: Bool
  /// Tells it from all others for hashes: made of what it is, so that every process finds the same.
  let identity: UInt64
  /// What outlives this topology.
  public let state: EndpointState
  /// The same of its upstream, which counts the endpoint's sessions, too.
  let upstreamState: UpstreamState
  /// Whether it is gone from the plan.
  public var isRetired = false
  /// Where workers look for it; `nil` until its upstream has seated it.
  var seat: Seat?

  /// Makes an endpoint of a plan, at one address, ready to use. `number` must be within 0..<64;
  /// `ordinal` tells those apart that are the same otherwise, `failuresMax` and
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
    // The address of a built-in one is another at every start.
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

  /// The bit under which a session remembers that this endpoint has failed it.
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
  /// What follows a failed attempt.
  let retry: RetryPolicy
  /// Where its sessions wait for a place; `nil`: nowhere.
  let queue: QueuePolicy?
  /// How its sessions wait for an endpoint; `nil`: not at all.
  let hold: HoldPolicy?
  /// Its endpoints by priority, the most preferred first; none of them empty.
  public let tiers: [[Member]]
  /// How much of a tier's weight must be healthy for it to get all sessions, in percent.
  let spillOverPercent: Int
  /// What goes with the policy, if that is a hash.
  let hash: HashPlan?
  /// What goes with the policy, if that is `peak_ewma`.
  let measure: EWMAPlan.Measure?
  let decayNanoseconds: UInt64
  /// What workers share about each tier; none until `seat`.
  var rosters: [Roster] = []
  /// The version of the topology in which `tiers` or `balance` last changed: whose turn it is goes
  /// on as long as this is the same.
  let turnsVersion: Int
  /// What outlives this topology.
  public let state: UpstreamState
  /// Whether it is gone from the plan.
  public var isRetired = false

  /// Makes an upstream of a plan ready to use in the topology `version`. There must be one member at
  /// least. `previous` is the same upstream in the topology before, if it was there.
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
  /// Tells topologies of one process apart: each is one more than the one before.
  public let version: Int
  /// Where clients arrive, by slot.
  public let listeners: [Listener]
  /// From listeners to upstreams, by slot.
  public let routes: [Route]
  /// Who serves, by slot.
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
