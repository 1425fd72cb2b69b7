// SPDX-License-Identifier: Apache-2.0
// How the endpoints of an upstream are found where the configuration does not give their addresses: whom
// names are asked of, how often, and files that list endpoints.

import Addressing

/// How an upstream's host names and services are looked up.
public struct ResolvePlan: Hashable, Sendable {
  /// When they are looked up again.
  public enum Interval: Hashable, Sendable {
    /// Never: only at the start, and when a reload brings them.
    case never
    /// This long after the last time.
    case every(Duration)
    /// When the last answer does not hold any longer, but after `min` at the soonest and after `max` at
    /// the latest. Only name servers tell for how long it does.
    case timeToLive(min: Duration, max: Duration)
  }

  /// When they are looked up again.
  public var interval: Interval
  /// The name servers that are asked; empty: those of the system.
  public var servers: [SocketAddress]
  /// How long one look-up may take, over all name servers and attempts.
  public var timeout: Duration

  /// Makes a choice; the defaults are those of the configuration.
  public init(
    _ interval: Interval = .never, servers: [SocketAddress] = [], timeout: Duration = .seconds(10)
  ) {
    self.interval = interval
    self.servers = servers
    self.timeout = timeout
  }

  /// Whether host names are asked of name servers by ourselves. Otherwise the system looks them up, in
  /// /etc/hosts, for example. Services are always asked of name servers.
  public var usesDNS: Bool {
    if case .timeToLive = interval { return true }
    return !servers.isEmpty
  }
}

/// A file with endpoints of an upstream.
public struct EndpointsFilePlan: Hashable, Sendable {
  /// Where it is: an absolute path.
  public var path: String
  /// How many of the upstream's endpoints are in the configuration itself; the others are the file's.
  public var ownCount: Int

  /// Names a file.
  public init(path: String, ownCount: Int) {
    self.path = path
    self.ownCount = ownCount
  }
}

extension UpstreamPlan {
  /// The endpoints that the configuration itself names.
  public var ownEndpoints: ArraySlice<EndpointPlan> {
    endpoints[..<(endpointsFile?.ownCount ?? endpoints.count)]
  }

  /// The endpoints that its file lists.
  public var listedEndpoints: ArraySlice<EndpointPlan> {
    endpoints[(endpointsFile?.ownCount ?? endpoints.count)...]
  }

  /// Takes other endpoints for those that its file has listed. It must have a file.
  public mutating func replaceListed(with listed: [EndpointPlan]) {
    guard let file = endpointsFile else { preconditionFailure("an upstream without a file") }
    endpoints.replaceSubrange(file.ownCount..., with: listed)
  }

  /// Why an endpoint cannot be one of this upstream, in a sentence; `nil` if it can.
  public func refusal(of endpoint: EndpointPlan) -> String? {
    guard case .port = check?.target, !endpoint.address.hasPort else { return nil }
    return "\(endpoint.address) has no port, so the upstream's check cannot ask it at another one"
  }
}

extension EndpointAddress {
  /// Whether it is reached at a port.
  public var hasPort: Bool {
    switch self {
    case .socket(let address): address.port != nil
    case .name, .service: true
    case .builtin: false
    }
  }
}
