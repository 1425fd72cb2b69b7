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

  /// Builds the topology. Throws every name that could not be looked up.
  func build(listeners: [Listener], sessionsMax: Int) throws(StartFailure) -> Topology {
    var endpoints: [Endpoint] = []
    var upstreams: [Upstream] = []
    var reasons: [String] = []
    for upstream in plan.upstreams {
      let start = endpoints.count
      for endpoint in upstream.endpoints {
        switch addresses(of: endpoint.address) {
        case .success(let addresses):
          for (name, address) in addresses {
            endpoints.append(Endpoint(endpoint, name: name, address: address))
          }
        case .failure(let failure):
          reasons.append("upstream \(upstream.name), endpoint \(endpoint.address): \(failure.text)")
        }
      }
      guard reasons.isEmpty else { continue }
      upstreams.append(Upstream(upstream, endpoints: endpoints, range: start..<endpoints.count))
    }
    guard reasons.isEmpty else { throw StartFailure(reasons) }
    return Topology(
      listeners: listeners, routes: plan.routes.map(Route.init), upstreams: upstreams,
      endpoints: endpoints, sessions: SessionCount(max: sessionsMax))
  }

  private struct Unresolved: Error {
    let text: String
  }

  private func addresses(
    of address: EndpointAddress
  ) -> Result<[(name: String, address: SocketAddress)], Unresolved> {
    switch address {
    case .socket(let socketAddress):
      return .success([(address.description, socketAddress)])
    case .builtin(let service):
      guard let socketAddress = builtins[service] else {
        preconditionFailure("a builtin service that nobody started")
      }
      return .success([(address.description, socketAddress)])
    case .name(let host, let port):
      switch names[host] {
      case .addresses(let addresses):
        return .success(
          addresses.map {
            let socketAddress = SocketAddress($0, port: port)
            return ("\(host)(\(socketAddress))", socketAddress)
          })
      case .failed(let reason):
        return .failure(Unresolved(text: "cannot look up \(host): \(reason)"))
      case nil:
        preconditionFailure("a name that nobody looked up")
      }
    }
  }
}
