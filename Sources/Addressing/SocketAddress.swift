// SPDX-License-Identifier: Apache-2.0
// Where a stream socket can be reached: an IP address and a port, or a unix socket by path or by
// abstract name. It is what `connect(2)` and `bind(2)` take, without anything that still has to be
// looked up.

/// The address of a stream socket: IPv4, IPv6, or unix.
public enum SocketAddress: Hashable, Sendable {
  /// An IPv4 address and a port.
  case v4(IPv4Address, port: UInt16)
  /// An IPv6 address, a port, and the zone (interface index) of a link-local address, else 0.
  case v6(IPv6Address, port: UInt16, zone: UInt32 = 0)
  /// A unix socket in the file system. At most `unixPathBytesMax` bytes.
  case unix(path: String)
  /// A unix socket in Linux's abstract namespace, without its leading NUL. At most
  /// `unixPathBytesMax` bytes.
  case abstract(name: String)

  /// What `sun_path` holds on Linux, less the terminating or leading NUL (unix(7)).
  public static let unixPathBytesMax = 107

  /// Makes an address from an IP address of either family.
  public init(_ address: IPAddress, port: UInt16) {
    switch address {
    case .v4(let address): self = .v4(address, port: port)
    case .v6(let address): self = .v6(address, port: port)
    }
  }

  /// Reads `a.b.c.d:port`, `[v6]:port`, `[v6%zone]:port`, `unix:/path` or `unix:@name`. Port 0 is
  /// accepted: the kernel picks one when listening. A zone is an interface index.
  ///
  /// Refused (`nil`): host names, missing ports, names of interfaces as zones (only the kernel
  /// knows them), unix paths that are empty, too long or hold a NUL, at which the kernel would cut
  /// them.
  public init?(_ text: some StringProtocol) {
    if text.hasPrefix("unix:") {
      let rest = text.dropFirst(5)
      if rest.hasPrefix("@") {
        let name = rest.dropFirst()
        guard Self.isUnixName(name.utf8) else { return nil }
        self = .abstract(name: String(name))
      } else {
        guard Self.isUnixName(rest.utf8) else { return nil }
        self = .unix(path: String(rest))
      }
      return
    }
    guard let (host, port) = splitHostAndPort(text) else { return nil }
    if text.hasPrefix("["), let mark = host.utf8.firstIndex(of: UInt8(ascii: "%")) {
      let digits = Array(host.utf8[mark...].dropFirst())
      guard let zone = decimal(digits[...], max: Int(UInt32.max), digitsMax: 10), zone > 0,
        let address = IPv6Address(host[..<mark])
      else { return nil }
      self = .v6(address, port: port, zone: UInt32(zone))
      return
    }
    guard let address = IPAddress(host) else { return nil }
    // `[1.2.3.4]:80` and `::1:80` are slips: brackets go with IPv6 alone, and IPv6 needs them.
    switch address {
    case .v4: guard !text.hasPrefix("[") else { return nil }
    case .v6: guard text.hasPrefix("[") else { return nil }
    }
    self.init(address, port: port)
  }

  /// Reads `a.b.c.d:port` and nothing else, without allocating: most addresses are of that kind, and a file may
  /// have tens of thousands.
  public init?(ipv4 text: String) {
    var text = text
    let found = text.withUTF8 { bytes -> (IPv4Address, UInt16)? in
      guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")),
        let address = IPv4Address(utf8: bytes[..<colon]),
        let port = portNumber(bytes[(colon + 1)...])
      else { return nil }
      return (address, port)
    }
    guard let (address, port) = found else { return nil }
    self = .v4(address, port: port)
  }

  private static func isUnixName(_ bytes: some Collection<UInt8>) -> Bool {
    (1...unixPathBytesMax).contains(bytes.count) && !bytes.contains(0)
  }

  /// The port of an IP address, `nil` for a unix socket.
  public var port: UInt16? {
    switch self {
    case .v4(_, let port), .v6(_, let port, _): port
    case .unix, .abstract: nil
    }
  }

  /// The IP address, `nil` for a unix socket. An IPv4 address in IPv6 clothes counts as IPv4.
  public var ip: IPAddress? {
    switch self {
    case .v4(let address, _): .v4(address)
    case .v6(let address, _, _): address.embeddedIPv4.map(IPAddress.v4) ?? .v6(address)
    case .unix, .abstract: nil
    }
  }
}

extension SocketAddress: CustomStringConvertible {
  /// The text that `init(_:)` reads, the address in its canonical form. IPv4 clients of a socket
  /// that serves both families are shown as IPv4.
  public var description: String {
    switch self {
    case .v4(let address, let port): return "\(address):\(port)"
    case .v6(let address, let port, let zone):
      if let embedded = address.embeddedIPv4 { return "\(embedded):\(port)" }
      return zone == 0 ? "[\(address)]:\(port)" : "[\(address)%\(zone)]:\(port)"
    case .unix(let path): return "unix:\(path)"
    case .abstract(let name): return "unix:@\(name)"
    }
  }
}

/// Splits `host:port` and `[host]:port` at the last colon; the host may be empty (`:80`).
///
/// `nil` when there is no colon, what follows it is no port number (0–65535, no leading zeros), or
/// a bracket has no partner. A host without brackets may hold colons; that it then is no address
/// is for the caller to say.
public func splitHostAndPort(_ text: some StringProtocol) -> (host: String, port: UInt16)? {
  let bytes = Array(text.utf8)
  guard let colon = bytes.lastIndex(of: UInt8(ascii: ":")) else { return nil }
  guard let port = portNumber(bytes[(colon + 1)...]) else { return nil }
  var host = bytes[..<colon]
  if host.first == UInt8(ascii: "[") {
    guard host.last == UInt8(ascii: "]"), host.count > 2 else { return nil }
    host = host.dropFirst().dropLast()
  }
  return (String(decoding: host, as: UTF8.self), port)
}

/// 0–65535, without leading zeros.
private func portNumber(_ digits: some Collection<UInt8>) -> UInt16? {
  guard let port = decimal(digits, max: 65535, digitsMax: 5) else { return nil }
  guard digits.count == 1 || digits.first != UInt8(ascii: "0") else { return nil }
  return UInt16(port)
}
