// SPDX-License-Identifier: Apache-2.0
// Listeners that cannot stand beside each other: the same address twice, or an address and one
// that covers it. Linux refuses the second at bind(2) (EADDRINUSE); here both lines are named. A
// listener on `[::]` serves IPv6 alone, so it does not cover IPv4 addresses; `:80` covers both.
// Port 0 never collides: the kernel picks another port each time.

import Addressing
import Plan

/// The listeners seen so far.
struct ListenerCollisions {
  private struct Holder {
    var shown: String
    var line: Int
    var owner: Owner
  }

  /// Whose a listener is.
  enum Owner: CustomStringConvertible {
    case route(String)
    case admin

    /// In words.
    var description: String {
      switch self {
      case .route(let name): "the route \(quoted(name))"
      case .admin: "`admin`"
      }
    }
  }

  private enum Family: Hashable {
    case v4
    case v6
  }

  /// A port of one family.
  private struct Port: Hashable {
    var family: Family
    var number: UInt16
  }

  private var exact: [ListenAddress: Holder] = [:]
  private var wildcards: [Port: Holder] = [:]
  /// The first holder of a port that is on one address only.
  private var specifics: [Port: Holder] = [:]

  /// Adds a listener; reports the first one that it collides with.
  mutating func add(
    _ listener: Located<ListenAddress>, of owner: Owner, _ diagnostics: inout Diagnostics
  ) {
    let claim = Self.claim(of: listener.value)
    guard claim?.port != 0 else { return }
    let holder = Holder(shown: listener.shown, line: listener.range.start.line, owner: owner)
    let key = Self.key(of: listener.value)
    var other = exact[key]
    if let claim {
      for family in claim.families {
        let port = Port(family: family, number: claim.port)
        other = other ?? wildcards[port] ?? (claim.isWildcard ? specifics[port] : nil)
        if claim.isWildcard {
          wildcards[port] = wildcards[port] ?? holder
        } else {
          specifics[port] = specifics[port] ?? holder
        }
      }
    }
    exact[key] = exact[key] ?? holder
    if let other {
      diagnostics.error(
        at: listener.range,
        "\(quoted(listener.shown)) collides with \(quoted(other.shown)) of \(other.owner)",
        hints: ["that one is in line \(other.line)"], isShape: false)
    }
  }

  /// The address as the kernel understands it: a path with repeated slashes is one without.
  private static func key(of address: ListenAddress) -> ListenAddress {
    guard case .socket(.unix(let path)) = address else { return address }
    let parts = path.split(separator: "/")
    return .socket(.unix(path: "/" + parts.joined(separator: "/")))
  }

  private static func claim(
    of address: ListenAddress
  ) -> (port: UInt16, families: [Family], isWildcard: Bool)? {
    switch address {
    case .port(let port): (port, [.v4, .v6], true)
    case .socket(.v4(let ip, let port)): (port, [.v4], ip == .any)
    case .socket(.v6(let ip, let port, _)): (port, [.v6], ip == .any)
    case .socket(.unix), .socket(.abstract), .inherited: nil
    }
  }
}
