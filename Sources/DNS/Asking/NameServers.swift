// SPDX-License-Identifier: Apache-2.0
// Whom to ask, and for which names: name servers and search list that somebody chose, or those of
// /etc/resolv.conf (resolv.conf(5)).

import Addressing

/// Name servers, and how short names become whole ones.
public struct NameServers: Hashable, Sendable {
  /// Where they are, in the order in which they are asked. Never empty.
  public let addresses: [SocketAddress]
  /// Domains that short names are looked for in.
  let domains: [String]
  /// A name with at least so many dots is first looked up as it is.
  let dotsMin: Int

  /// These servers, asked for names as they are. There must be one at least, each with an IP address.
  public init(_ addresses: [SocketAddress]) {
    precondition(!addresses.isEmpty)
    self.addresses = addresses
    domains = []
    dotsMin = 0
  }

  init(addresses: [SocketAddress], domains: [String], dotsMin: Int) {
    self.addresses = addresses
    self.domains = domains
    self.dotsMin = dotsMin
  }

  private static let serversMax = 8
  private static let domainsMax = 16
  /// As resolv.conf(5) bounds it.
  private static let dotsMaxMin = 15

  /// Reads the text of a resolv.conf(5): `nameserver`, `search`, `domain` and `options ndots:`. What is
  /// not understood is passed over, as the C library does; without a server it is the one of this machine.
  public init(resolverConfiguration text: String) {
    var addresses: [SocketAddress] = []
    var domains: [String] = []
    var dotsMin = 1
    for line in text.split(whereSeparator: \.isNewline) {
      guard let first = line.first, first != "#", first != ";" else { continue }
      let words = line.split { $0 == " " || $0 == "\t" }
      switch words.first {
      case "nameserver":
        if words.count > 1, let ip = IPAddress(words[1]), addresses.count < Self.serversMax {
          addresses.append(SocketAddress(ip, port: 53))
        }
      case "search":
        domains = words.dropFirst().prefix(Self.domainsMax).map(String.init)
      case "domain":
        domains = words.dropFirst().prefix(1).map(String.init)
      case "options":
        for option in words.dropFirst() where option.hasPrefix("ndots:") {
          if let number = Int(option.dropFirst("ndots:".count)), number >= 0 {
            dotsMin = min(number, Self.dotsMaxMin)
          }
        }
      default:
        break
      }
    }
    self.addresses = addresses.isEmpty ? [.v4(.loopback, port: 53)] : addresses
    self.domains = domains.filter { $0 != "." }
    self.dotsMin = dotsMin
  }

  /// The names to ask for one after another until one is there.
  func candidates(for name: String) -> [String] {
    guard !name.hasSuffix(".") else { return [name] }
    let long = domains.map { "\(name).\($0)" }
    let isLong = name.utf8.count(where: { $0 == UInt8(ascii: ".") }) >= dotsMin
    return isLong ? [name] + long : long + [name]
  }
}
