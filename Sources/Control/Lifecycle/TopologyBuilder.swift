// SPDX-License-Identifier: Apache-2.0
// From plan to topology: every endpoint gets its address, a host name with several addresses
// becomes several endpoints, builtin services get the sockets they are reached by.

import Addressing
import DataPlane
import Plan
import Reactor

/// Puts a topology together. All that it needs from outside has been asked for before.
struct TopologyBuilder {
  let plan: ProxyPlan
  let names: [String: Resolution]
  let builtins: [BuiltinService: SocketAddress]

  /// The host names that must be looked up first.
  static func names(in plan: ProxyPlan) -> Set<String> {
    var names: Set<String> = []
    for upstream in plan.upstreams {
      for endpoint in upstream.endpoints {
        if case .name(let host, _) = endpoint.address { names.insert(host) }
      }
    }
    return names
  }

  /// What stands in the way of building: every endpoint whose name could not be looked up.
  static func unresolved(in plan: ProxyPlan, _ names: [String: Resolution]) -> [String] {
    plan.upstreams.flatMap { upstream in
      upstream.endpoints.compactMap { endpoint in
        guard case .name(let host, _) = endpoint.address,
          case .failed(let reason) = names[host]
        else { return nil }
        return "upstream \(upstream.name), endpoint \(endpoint.address): "
          + "cannot look up \(host): \(reason)"
      }
    }
  }

  /// Builds the topology. Every name must have been looked up with success.
  func build(listeners: [Listener], sessionsMax: Int) -> Topology {
    var endpoints: [Endpoint] = []
    var upstreams: [Upstream] = []
    for upstream in plan.upstreams {
      let start = endpoints.count
      for endpoint in upstream.endpoints {
        for (name, address) in addresses(of: endpoint.address) {
          endpoints.append(Endpoint(endpoint, name: name, address: address))
        }
      }
      upstreams.append(Upstream(upstream, endpoints: endpoints, range: start..<endpoints.count))
    }
    return Topology(
      listeners: listeners, routes: plan.routes.map(Route.init), upstreams: upstreams,
      endpoints: endpoints, sessions: SessionCount(max: sessionsMax))
  }

  private func addresses(
    of address: EndpointAddress
  ) -> [(name: String, address: SocketAddress)] {
    switch address {
    case .socket(let socketAddress):
      return [(address.description, socketAddress)]
    case .builtin(let service):
      guard let socketAddress = builtins[service] else {
        preconditionFailure("a builtin service that nobody started")
      }
      return [(address.description, socketAddress)]
    case .name(let host, let port):
      guard case .addresses(let addresses) = names[host] else {
        preconditionFailure("a name that nobody looked up")
      }
      return addresses.map {
        let socketAddress = SocketAddress($0, port: port)
        return ("\(host)(\(socketAddress))", socketAddress)
      }
    }
  }
}
