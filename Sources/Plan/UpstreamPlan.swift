// SPDX-License-Identifier: Apache-2.0
// An upstream: endpoints, and the policy of choosing and reaching them.

import Addressing

/// Endpoints and the policy that goes with them.
public struct UpstreamPlan: Hashable, Sendable {
  /// The name in the configuration; an inline upstream has its route's name.
  public var name: String
  /// How an endpoint is chosen.
  public var balance: BalancePolicy
  /// How long all attempts to connect may take together.
  public var connect: Duration
  /// How long one attempt may take.
  public var attempt: Duration
  /// Source addresses of upstream connections, used in turn; empty: the kernel chooses.
  public var source: [IPAddress]
  /// Options of upstream connections.
  public var tcp: TCPPlan
  /// Whether the connection to an endpoint is closed by a reset once the client has finished and the endpoint
  /// has acknowledged everything, so that no socket in TIME_WAIT keeps the local port. The client's end of
  /// stream then ends the session: not for protocols in which a client finishes sending and then waits for
  /// an answer.
  public var avoidTimeWait: Bool
  /// How the endpoints are checked; `nil`: not at all, they count as up.
  public var check: HealthCheckPlan?
  /// How host names and services are looked up.
  public var resolve: ResolvePlan
  /// Over how long an endpoint that has come up gets its share, growing from little; `nil`: at once.
  public var slowStart: Duration?
  /// A tier whose share of healthy weight is below this, in percent, leaves as much to the next tier;
  /// 0: only one that cannot serve at all does.
  public var spillOverPercent: Int
  /// When fewer of its endpoints are healthy, in percent, all of them are used; `nil`: never.
  public var panicPercent: Int?
  /// How many endpoints must be healthy for the upstream to serve at all.
  public var quorum: Int
  /// What becomes of the sessions of an endpoint that goes down.
  public var onDown: OnDown
  /// How endpoints that fail are ejected; `nil`: they are not.
  public var outlier: OutlierPlan?
  /// How failed attempts are followed by others.
  public var retry: RetryPlan
  /// How many sessions it has at once; `nil`: any number.
  public var sessionsMax: Int?
  /// Where clients wait when it is full; `nil`: they are reset.
  public var queue: QueuePlan?
  /// How clients wait when no endpoint is available; `nil`: they are reset.
  public var hold: HoldPlan?
  /// The endpoints, in the order of the file, then those of `endpointsFile`. Never empty.
  public var endpoints: [EndpointPlan]
  /// A file of its own with further endpoints; `nil`: there is none.
  public var endpointsFile: EndpointsFilePlan?

  /// Makes an upstream; the defaults are those of the configuration.
  public init(
    name: String, balance: BalancePolicy = .roundRobin, connect: Duration = .seconds(5),
    attempt: Duration = .milliseconds(1500), source: [IPAddress] = [], tcp: TCPPlan = TCPPlan(),
    avoidTimeWait: Bool = false, check: HealthCheckPlan? = nil,
    resolve: ResolvePlan = ResolvePlan(), slowStart: Duration? = nil,
    spillOverPercent: Int = 0, panicPercent: Int? = nil, quorum: Int = 1, onDown: OnDown = .keep,
    outlier: OutlierPlan? = .connectFailures, retry: RetryPlan = RetryPlan(),
    sessionsMax: Int? = nil,
    queue: QueuePlan? = nil, hold: HoldPlan? = nil, endpoints: [EndpointPlan],
    endpointsFile: EndpointsFilePlan? = nil
  ) {
    self.name = name
    self.balance = balance
    self.connect = connect
    self.attempt = attempt
    self.source = source
    self.tcp = tcp
    self.avoidTimeWait = avoidTimeWait
    self.check = check
    self.resolve = resolve
    self.slowStart = slowStart
    self.spillOverPercent = spillOverPercent
    self.panicPercent = panicPercent
    self.quorum = quorum
    self.onDown = onDown
    self.outlier = outlier
    self.retry = retry
    self.sessionsMax = sessionsMax
    self.queue = queue
    self.hold = hold
    self.endpoints = endpoints
    self.endpointsFile = endpointsFile
  }
}

/// One entry of an upstream's `endpoints`. A host name and a service may become several endpoints.
public struct EndpointPlan: Hashable, Sendable {
  /// The largest weight.
  public static let weightMax = 256

  /// Where it is.
  public var address: EndpointAddress
  /// Its share, 0 (none) to `weightMax`.
  public var weight: Int
  /// How many sessions it takes at once; `nil`: any number.
  public var sessionsMax: Int?
  /// Its tier: an endpoint is used when none of a lower number can serve.
  public var priority: Int

  /// Makes an endpoint; the defaults are those of the configuration.
  public init(
    address: EndpointAddress, weight: Int = 1, sessionsMax: Int? = nil, priority: Int = 0
  ) {
    self.address = address
    self.weight = weight
    self.sessionsMax = sessionsMax
    self.priority = priority
  }
}

/// Where an endpoint is.
public enum EndpointAddress: Hashable, Sendable {
  /// A socket address that needs no look-up.
  case socket(SocketAddress)
  /// A host name that is looked up.
  case name(host: String, port: UInt16)
  /// A service whose servers the DNS tells, with port, weight and priority (RFC 2782).
  case service(name: String)
  /// A server inside this process.
  case builtin(BuiltinService)
}

extension EndpointAddress: CustomStringConvertible {
  /// The text of the configuration.
  public var description: String {
    switch self {
    case .socket(let address): address.description
    case .name(let host, let port): "\(host):\(port)"
    case .service(let name): "srv:\(name)"
    case .builtin(let service): "builtin:\(service.rawValue)"
    }
  }
}

/// Servers inside the process, for trying things out and for tests.
public enum BuiltinService: String, Hashable, Sendable, CaseIterable {
  /// Sends back what it receives (RFC 862).
  case echo
  /// Receives and sends nothing (RFC 863).
  case discard
  /// Sends lines of printable characters without end (RFC 864).
  case chargen
}
