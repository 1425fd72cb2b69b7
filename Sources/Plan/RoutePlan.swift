// SPDX-License-Identifier: Apache-2.0
// A route: where clients arrive, and which upstream serves them.

import Addressing

/// From listening addresses to an upstream.
public struct RoutePlan: Hashable, Sendable {
  /// The name in the configuration, unique among routes.
  public var name: String
  /// Where clients arrive. Never empty; no address twice in a plan, save with port 0, which is
  /// another port each time.
  public var listen: [ListenAddress]
  /// Who serves them.
  public var upstream: UpstreamIndex
  /// How long a session may move no byte in either direction before it is reset; `nil`: for ever.
  public var idle: Duration?
  /// How long a session may move no byte once one side has finished sending, before it is reset; `nil`: for
  /// ever. Keepalive finds peers that are gone, and a slow answer is no fault.
  public var halfCloseTimeout: Duration?
  /// After a failure, or when both sides have finished: how long the remaining receiver may make no
  /// progress, with no byte moved and none acknowledged, before the bytes that it has not taken are given up.
  public var flushTimeout: Duration
  /// Whether a client that finishes without having sent a byte, before an endpoint is chosen for it, is
  /// closed without a connection to an endpoint. Only for protocols in which the client speaks first.
  public var dropSilentClients: Bool
  /// How many sessions the route holds at once; `nil`: as many as the process.
  public var sessionsMax: Int?
  /// How many connections the kernel keeps waiting to be accepted (listen(2)).
  public var backlog: Int
  /// Options of client connections.
  public var tcp: TCPPlan
  /// When access records are written.
  public var access: AccessMoments
  /// What its sessions are told apart by from those of other routes, where an upstream hashes that;
  /// `nil`: the name.
  public var hashKey: String?

  /// Makes a route; the defaults are those of the configuration.
  public init(
    name: String, listen: [ListenAddress], upstream: UpstreamIndex, idle: Duration? = nil,
    halfCloseTimeout: Duration? = nil, flushTimeout: Duration = .seconds(10),
    dropSilentClients: Bool = false, sessionsMax: Int? = nil, backlog: Int = 4096,
    tcp: TCPPlan = TCPPlan(), access: AccessMoments = AccessMoments(), hashKey: String? = nil
  ) {
    self.name = name
    self.listen = listen
    self.upstream = upstream
    self.idle = idle
    self.halfCloseTimeout = halfCloseTimeout
    self.flushTimeout = flushTimeout
    self.dropSilentClients = dropSilentClients
    self.sessionsMax = sessionsMax
    self.backlog = backlog
    self.tcp = tcp
    self.access = access
    self.hashKey = hashKey
  }
}

/// Where a listener accepts.
public enum ListenAddress: Hashable, Sendable {
  /// An IP address and port, or a unix socket. An IPv6 address serves IPv6 alone.
  case socket(SocketAddress)
  /// A port on every address of the machine, both families.
  case port(UInt16)
  /// A descriptor that the parent process has already bound and may have set listening.
  case inherited(descriptor: Int32)
}

extension ListenAddress: CustomStringConvertible {
  /// The text of the configuration: `10.0.0.1:80`, `:80`, `unix:/path`, `fd:3`.
  public var description: String {
    switch self {
    case .socket(let address): address.description
    case .port(let port): ":\(port)"
    case .inherited(let descriptor): "fd:\(descriptor)"
    }
  }
}

/// When a session's access records are written.
public struct AccessMoments: Hashable, Sendable {
  /// When an upstream connection stands.
  public var start: Bool
  /// When the session has ended.
  public var end: Bool
  /// And this often in between; `nil`: not.
  public var every: Duration?

  /// Makes a choice of moments; the default is the end alone.
  public init(start: Bool = false, end: Bool = true, every: Duration? = nil) {
    self.start = start
    self.end = end
    self.every = every
  }
}
