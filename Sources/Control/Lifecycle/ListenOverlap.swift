// SPDX-License-Identifier: Apache-2.0
// Whether two listeners are in each other's way: the kernel refuses the second one (EADDRINUSE)
// without saying whose the first is, and if it is our own, the advice is another.

import Addressing
import Plan

/// Where a listener is, as far as others may be in its way.
struct ListenClaim {
  private enum Family {
    case v4, v6
  }

  private enum Place {
    case port(UInt16, families: [Family], address: IPAddress?)
    case path(String)
    case name(String)
  }

  private let place: Place?

  /// The claim of a listener with a configured address, which is bound to `bound`.
  init(_ address: ListenAddress, bound: SocketAddress? = nil) {
    switch (address, bound) {
    case (.port(let port), _) where port != 0:
      place = .port(port, families: [.v4, .v6], address: nil)
    case (.port, .some(let bound)):
      place = .port(bound.port ?? 0, families: [.v4, .v6], address: nil)
    case (.inherited, .v6(.any, let port, _)):
      // It may serve IPv4 as well.
      place = .port(port, families: [.v4, .v6], address: nil)
    case (.inherited, .some(let bound)):
      place = ListenClaim.place(of: bound)
    case (.socket(let wanted), _):
      place = ListenClaim.place(of: wanted.port == 0 ? bound ?? wanted : wanted)
    case (.port, nil), (.inherited, nil):
      place = nil
    }
  }

  private static func place(of address: SocketAddress) -> Place? {
    switch address {
    case .v4(let ip, let port):
      .port(port, families: [.v4], address: ip == .any ? nil : .v4(ip))
    case .v6(let ip, let port, _):
      .port(port, families: [.v6], address: ip == .any ? nil : .v6(ip))
    // A path with repeated slashes is one without.
    case .unix(let path): .path(path.split(separator: "/").joined(separator: "/"))
    case .abstract(let name): .name(name)
    }
  }

  /// Whether there cannot be both.
  func overlaps(_ other: ListenClaim) -> Bool {
    switch (place, other.place) {
    case (.port(let port, let families, let ip), .port(let otherPort, let others, let otherIP)):
      guard port == otherPort, port != 0, families.contains(where: others.contains) else {
        return false
      }
      return ip == nil || otherIP == nil || ip == otherIP
    case (.path(let path), .path(let otherPath)): return path == otherPath
    case (.name(let name), .name(let otherName)): return name == otherName
    case (_, _): return false
    }
  }
}
