// SPDX-License-Identifier: Apache-2.0
// Addresses as the file writes them: where to listen, where endpoints are, where connections come
// from. The parsers are strict, but when they refuse they look for what was probably meant: a
// missing port, a host name where none can be, a URL. An IPv4 address in IPv6 clothes becomes an
// IPv4 one, so that an address has one form and collisions are seen.

import Addressing
import Plan

private let octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
let ipv4Pattern = #"\#(octet)(\.\#(octet)){3}"#
private let ipv4 = ipv4Pattern
private let positivePort = positivePortPattern
private let ipv6 = #"\[[0-9A-Fa-f:.]+(%[0-9]+)?\]"#
let positivePortPattern =
  "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
private let port = "(0|\(positivePort))"
private let unixSocket = "unix:[/@]\(freeTextPattern)+"

extension ScalarCodec where Value == ListenAddress {
  /// Where a listener accepts.
  static var listenAddress: ScalarCodec {
    .text(
      "`IP:port`, `:port` (both families), `unix:/path`, `unix:@name`, `fd:N`",
      patterns: ["(\(ipv4))?:\(port)", "\(ipv6):\(port)", unixSocket, "fd:[0-9]{1,7}"],
      examples: [":7000", "127.0.0.1:0", "[::1]:7000", "unix:/run/sluice.sock", "fd:3"],
      encode: \.description, parse: parseListenAddress)
  }
}

extension ScalarCodec where Value == EndpointAddress {
  /// Where an endpoint is.
  static var endpointAddress: ScalarCodec {
    .text(
      "`IP:port`, `name:port`, `srv:name`, `unix:/path`, `unix:@name`, `builtin:echo`, "
        + "`builtin:discard`, `builtin:chargen`",
      patterns: [
        "(?!(unix|fd|builtin|srv):)[A-Za-z0-9_][A-Za-z0-9_.-]*:\(positivePort)",
        "\(ipv6):\(positivePort)", "srv:[A-Za-z0-9_][A-Za-z0-9_.-]*", unixSocket,
        "builtin:(echo|discard|chargen)",
      ],
      examples: [
        "10.0.0.1:6379", "db.internal:5432", "[2001:db8::1]:80",
        "srv:_postgres._tcp.example.org", "unix:/run/app.sock", "unix:@app", "builtin:echo",
        "builtin:discard", "builtin:chargen",
      ],
      encode: \.description, parse: parseEndpointAddress)
  }
}

extension ScalarCodec where Value == RouteTarget {
  /// The name of an upstream, or the address of the only endpoint.
  static var routeTarget: ScalarCodec {
    let address = ScalarCodec<EndpointAddress>.endpointAddress
    return .text(
      "the name of an upstream, or \(address.shape.accepted)",
      patterns: [KeyForm.names.pattern] + address.shape.patterns,
      examples: address.shape.examples,
      encode: { target in
        switch target {
        case .name(let name): name
        case .address(let address): address.description
        }
      },
      parse: { text throws(Refusal) in
        if text.utf8.contains(UInt8(ascii: ":")) { return .address(try parseEndpointAddress(text)) }
        guard isName(text) else {
          throw Refusal("is neither the name of an upstream nor an address with a port")
        }
        return .name(text)
      })
  }
}

extension ScalarCodec where Value == IPAddress {
  /// An address without a port.
  static var ipAddress: ScalarCodec {
    .text(
      "an IP address without a port",
      patterns: [ipv4, "[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*"], examples: ["10.0.0.5", "2001:db8::5"],
      encode: \.description
    ) { text throws(Refusal) in
      guard let address = IPAddress(text) else {
        let looksLikeIPv6 =
          text.utf8.contains(UInt8(ascii: ":")) && text.utf8.allSatisfy(isIPv6Byte)
        var hint: String?
        if text.hasPrefix("[") || SocketAddress(text) != nil {
          hint = "no brackets and no port: the kernel chooses the port"
        }
        throw Refusal("is no IP address", hint: hint, isShape: !looksLikeIPv6)
      }
      return address.withoutIPv6Clothes
    }
  }
}

extension ScalarCodec where Value == SocketAddress {
  /// Where health checks go when not to the endpoint.
  static var checkAddress: ScalarCodec {
    .text(
      "`IP:port`, `unix:/path`, `unix:@name`",
      patterns: ["\(ipv4):\(positivePort)", "\(ipv6):\(positivePort)", unixSocket],
      examples: ["10.0.0.9:80", "[2001:db8::9]:80", "unix:/run/health.sock", "unix:@health"],
      encode: \.description
    ) { text throws(Refusal) in
      guard !text.hasPrefix("builtin:") else { throw Refusal("is an endpoint of its own") }
      switch try parseEndpointAddress(text) {
      case .socket(let address): return address
      case .service:
        throw Refusal("is a service, but a check needs an IP address")
      case .name, .builtin:
        throw Refusal(
          "has a host name, but a check needs an IP address",
          hint: "to ask each endpoint at another port, use `port`")
      }
    }
  }

  /// Where the admin interface listens: where only this machine can reach it.
  static var adminAddress: ScalarCodec {
    .text(
      "a loopback address like `127.0.0.1:port` or `[::1]:port`, `unix:/path`, `unix:@name`",
      patterns: [#"127(\.\#(octet)){3}:\#(port)"#, "\(ipv6):\(port)", unixSocket],
      examples: ["127.0.0.1:9901", "[::1]:9901", "127.0.0.1:0", "unix:/run/sluice/admin.sock"],
      encode: \.description
    ) { text throws(Refusal) in
      guard !text.hasPrefix("fd:") else { throw Refusal("is a descriptor, which has no address") }
      if text.hasPrefix("localhost:") {
        let port = text.dropFirst("localhost:".count)
        throw Refusal(
          "has a host name, but a listener needs an IP address", hint: "write `127.0.0.1:\(port)`")
      }
      let address = try parseListenAddress(text)
      switch address {
      case .socket(.unix(let path)): return .unix(path: path)
      case .socket(.abstract(let name)): return .abstract(name: name)
      case .socket(let socket) where socket.isLoopback: return socket
      case .socket, .port, .inherited:
        var isShape = true
        if case .socket(.v6) = address { isShape = false }
        throw Refusal(
          "can be reached from other machines, and whoever reaches it may ask it everything",
          hint: "let it listen at `127.0.0.1:9901`, and to let others in, add a route with "
            + "`to: \"127.0.0.1:9901\"`", isShape: isShape)
      }
    }
  }
}

extension SocketAddress {
  /// Whether it is an IP address that only this machine can reach.
  var isLoopback: Bool {
    switch ip {
    case .v4(let address): address.rawValue >> 24 == 127
    case .v6(let address): address == .loopback
    case nil: false
    }
  }
}

func parseListenAddress(_ text: String) throws(Refusal) -> ListenAddress {
  if let address = SocketAddress(ipv4: text) { return .socket(address) }
  if text.hasPrefix("fd:") {
    let digits = text.utf8.dropFirst(3)
    guard !digits.isEmpty, digits.count <= 7, digits.allSatisfy(isDigit),
      let number = Int32(String(decoding: digits, as: UTF8.self))
    else { throw Refusal("is no descriptor", hint: "write it like `fd:3`") }
    guard number > 2 else {
      throw Refusal(
        "is a standard stream", hint: "inherited sockets start at `fd:3`", isShape: false)
    }
    return .inherited(descriptor: number)
  }
  if text.hasPrefix("unix:") { return .socket(try parseUnixSocket(text)) }
  guard !text.hasPrefix("builtin:") else {
    throw Refusal("is an endpoint, not an address to listen on")
  }
  if text.hasPrefix("*:") {
    throw Refusal("is no address", hint: "for every address, write `\(text.dropFirst())`")
  }
  let (host, port) = try splitPort(text, leastPort: 0)
  if host.isEmpty { return .port(port) }
  if let address = try ipSocketAddress(host, port: port) { return .socket(address) }
  if host.utf8.allSatisfy({ isDigit($0) || $0 == UInt8(ascii: ".") }) {
    throw Refusal("is no IPv4 address")
  }
  throw Refusal(
    "has a host name, but a listener needs an IP address",
    hint: "for every address of this machine, write `:\(port)`")
}

func parseEndpointAddress(_ text: String) throws(Refusal) -> EndpointAddress {
  if let address = SocketAddress(ipv4: text), address.port != 0 { return .socket(address) }
  if text.hasPrefix("builtin:") {
    let name = String(text.dropFirst(8))
    guard let service = BuiltinService(rawValue: name) else {
      let known = BuiltinService.allCases.map(\.rawValue)
      throw Refusal(
        "is no builtin service",
        hint: suggestion(for: name, among: known).map { "did you mean `builtin:\($0)`?" })
    }
    return .builtin(service)
  }
  if text.hasPrefix("unix:") { return .socket(try parseUnixSocket(text)) }
  if text.hasPrefix("srv:") { return try parseService(String(text.dropFirst(4))) }
  guard !text.hasPrefix("fd:") else {
    throw Refusal("is a descriptor to listen on, not an endpoint")
  }
  let (host, port) = try splitPort(text, leastPort: 1)
  guard !host.isEmpty else {
    throw Refusal("has no host", hint: "for this machine, write `127.0.0.1:\(port)`")
  }
  if let address = try ipSocketAddress(host, port: port) { return .socket(address) }
  try checkHostName(host)
  return .name(host: host, port: port)
}

/// What `host` with its brackets is as an IP address; `nil` when it has the form of neither kind.
private func ipSocketAddress(_ host: String, port: UInt16) throws(Refusal) -> SocketAddress? {
  if let address = IPv4Address(host) { return .v4(address, port: port) }
  guard host.hasPrefix("[") else {
    if host.utf8.count(where: { $0 == UInt8(ascii: ":") }) > 0 {
      throw Refusal(
        "has a colon too many, or is an IPv6 address without brackets",
        hint: "write an IPv6 address like `[::1]:80`")
    }
    return nil
  }
  guard host.hasSuffix("]") else { throw Refusal("has a `[` without its `]`") }
  guard let address = SocketAddress("\(host):\(port)") else {
    let inside = host.dropFirst().dropLast().utf8
    let zone = inside.firstIndex(of: UInt8(ascii: "%"))
    let bytes = inside[..<(zone ?? inside.endIndex)]
    let zoneBytes = zone.map { inside[$0...].dropFirst() }
    let looksRight =
      !bytes.isEmpty && bytes.allSatisfy(isIPv6Byte)
      && zoneBytes.map { !$0.isEmpty && $0.allSatisfy(isDigit) } ?? true
    var hint: String?
    if zoneBytes != nil { hint = "a zone is the number of an interface, as `ip link` shows it" }
    throw Refusal("is no IPv6 address", hint: hint, isShape: !looksRight)
  }
  if case .v6(let address, let port, _) = address, let embedded = address.embeddedIPv4 {
    return .v4(embedded, port: port)
  }
  return address
}

private func parseUnixSocket(_ text: String) throws(Refusal) -> SocketAddress {
  let rest = text.utf8.dropFirst(5)
  guard let first = rest.first, first == UInt8(ascii: "/") || first == UInt8(ascii: "@") else {
    throw Refusal(
      "has no absolute path", hint: "write `unix:/path`, or `unix:@name` for an abstract name")
  }
  guard rest.count > 1 else { throw Refusal("has no path") }
  guard let address = SocketAddress(text) else {
    throw Refusal(
      "is too long: a unix path has at most \(SocketAddress.unixPathBytesMax) bytes",
      isShape: false)
  }
  return address
}

/// Splits at the last colon outside of brackets; the host keeps its brackets.
private func splitPort(
  _ text: String, leastPort: Int
) throws(Refusal) -> (host: String, port: UInt16) {
  let bytes = Array(text.utf8)
  if firstIndex(of: "://", in: bytes) != nil {
    throw Refusal("is a URL", hint: "write host and port only")
  }
  let bracket = bytes.lastIndex(of: UInt8(ascii: "]"))
  let colon = bytes.lastIndex(of: UInt8(ascii: ":"))
  guard let colon, colon > bracket ?? -1 else {
    if bytes.allSatisfy(isDigit) { throw Refusal("is only a port", hint: "write `:\(text)`") }
    throw Refusal("has no port", hint: "write `\(escaped(text, scalarsMax: 60)):PORT`")
  }
  let digits = bytes[(colon + 1)...]
  if digits.isEmpty { throw Refusal("has no port after the colon") }
  guard digits.allSatisfy(isDigit) else { throw Refusal("has no port number after the colon") }
  guard digits.count == 1 || digits.first != UInt8(ascii: "0") else {
    throw Refusal("has a port with a leading zero")
  }
  guard digits.count <= 5, let port = Int(String(decoding: digits, as: UTF8.self)),
    (leastPort...65535).contains(port)
  else { throw Refusal("has a port that is not from \(leastPort) to 65535") }
  return (String(decoding: bytes[..<colon], as: UTF8.self), UInt16(port))
}

/// After RFC 1123, section 2.1, with the underscore that names of services have.
func checkHostName(_ host: String) throws(Refusal) {
  let underscore = UInt8(ascii: "_")
  let hyphen = UInt8(ascii: "-")
  let dot = UInt8(ascii: ".")
  let bytes = Array(host.utf8)
  let isWord = { (byte: UInt8) in isLetter(byte) || isDigit(byte) || byte == underscore }
  guard isWord(bytes[0]), bytes.allSatisfy({ isWord($0) || $0 == hyphen || $0 == dot }) else {
    throw Refusal("has no valid host name")
  }
  let labels = (bytes.last == dot ? bytes.dropLast() : bytes[...])
    .split(separator: dot, omittingEmptySubsequences: false)
  let isWhole = labels.allSatisfy { label in
    (1...63).contains(label.count) && label.first != hyphen && label.last != hyphen
  }
  guard bytes.count <= 253, isWhole else {
    throw Refusal("has no valid host name", isShape: false)
  }
  guard let last = labels.last, !last.allSatisfy(isDigit) else {
    throw Refusal("has neither an IPv4 address nor a host name", isShape: false)
  }
}

func isIPv6Byte(_ byte: UInt8) -> Bool {
  isHexadecimalDigit(byte) || byte == UInt8(ascii: ":") || byte == UInt8(ascii: ".")
}

extension IPAddress {
  /// An IPv4 address for `::ffff:a.b.c.d`, else the address itself.
  var withoutIPv6Clothes: IPAddress {
    if case .v6(let address) = self, let embedded = address.embeddedIPv4 { return .v4(embedded) }
    return self
  }
}
