// SPDX-License-Identifier: Apache-2.0
// Where an endpoint is asked, and in which words. Both are the same for every check of an endpoint, so
// they are put together once, when it begins to be checked.

import Addressing
import HTTP1
import HTTPTypes
import Plan

extension HealthCheckPlan.Target {
  /// Where an endpoint is asked that serves at `address`. A port is not for addresses without one,
  /// which the configuration refuses.
  func address(for address: SocketAddress) -> SocketAddress {
    switch (self, address) {
    case (.endpoint, _): return address
    case (.address(let other), _): return other
    case (.port(let port), .v4(let ip, _)): return .v4(ip, port: port)
    case (.port(let port), .v6(let ip, _, let zone)): return .v6(ip, port: port, zone: zone)
    case (.port, .unix), (.port, .abstract):
      preconditionFailure("a check at another port of an address that has none")
    }
  }
}

/// What is sent for an HTTP check.
enum CheckRequest {
  /// The bytes of a request to the endpoint with this name, if it has one, at this address, asked at
  /// `target`.
  static func bytes(
    _ plan: HTTPCheckPlan, name: String?, address: SocketAddress, target: SocketAddress
  ) -> [UInt8] {
    var fields = HTTPFields()
    for header in plan.headers {
      guard let name = HTTPField.Name(header.name) else {
        preconditionFailure("a header name that is no token")
      }
      fields.append(HTTPField(name: name, value: header.value))
    }
    if fields[.userAgent] == nil { fields[.userAgent] = "sluice" }
    // Looked through as it is, so it had better not come compressed.
    if plan.body != nil, fields[.acceptEncoding] == nil { fields[.acceptEncoding] = "identity" }
    fields[.connection] = "close"
    guard let method = HTTPRequest.Method(plan.method) else {
      preconditionFailure("a method that is no token")
    }
    let host = plan.host ?? host(name: name, address: address, target: target)
    let request = HTTPRequest(
      method: method, scheme: nil, authority: host, path: plan.path, headerFields: fields)
    do throws(MessageError) {
      return try request.serialized()
    } catch {
      preconditionFailure("a request that cannot be written: \(error)")
    }
  }

  /// The host that an endpoint is asked as.
  private static func host(name: String?, address: SocketAddress, target: SocketAddress) -> String {
    var host = name ?? "localhost"
    if name == nil, let ip = address.ip {
      // Without the zone of a link-local address, which means nothing to others.
      host = if case .v6(let ip) = ip { "[\(ip)]" } else { "\(ip)" }
    }
    guard let port = target.port, port != 80 else { return host }
    return "\(host):\(port)"
  }
}
