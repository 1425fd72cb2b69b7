// SPDX-License-Identifier: Apache-2.0
// Name servers, and services that they are asked for, as the file writes them.

import Addressing
import Plan

extension ScalarCodec where Value == SocketAddress {
  /// Where a name server is: at port 53, unless another one is given.
  static var nameServer: ScalarCodec {
    .text(
      "`IP` or `IP:port` of a name server",
      patterns: [
        "\(ipv4Pattern)(:\(positivePortPattern))?",
        #"\[[0-9A-Fa-f:.]+\](:\#(positivePortPattern))?"#, "[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*",
      ],
      examples: ["10.0.0.53", "10.0.0.53:5353", "[2001:db8::53]:53", "2001:db8::53"],
      encode: \.description, parse: parseNameServer)
  }
}

func parseNameServer(_ text: String) throws(Refusal) -> SocketAddress {
  if let address = IPAddress(text) { return SocketAddress(address.withoutIPv6Clothes, port: 53) }
  let bytes = Array(text.utf8)
  let looksLikeIPv6 =
    bytes.contains(UInt8(ascii: ":"))
    && bytes.allSatisfy {
      isHexadecimalDigit($0) || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".")
    }
  if bytes.first == UInt8(ascii: "["), bytes.last == UInt8(ascii: "]") {
    let inside = String(decoding: bytes.dropFirst().dropLast(), as: UTF8.self)
    if let address = IPAddress(inside), case .v6 = address {
      return SocketAddress(address.withoutIPv6Clothes, port: 53)
    }
    throw Refusal(
      "is no IPv6 address", isShape: !(!inside.isEmpty && inside.utf8.allSatisfy(isIPv6Byte)))
  }
  let isName =
    !bytes.contains(UInt8(ascii: ":"))
    && !bytes.allSatisfy { isDigit($0) || $0 == UInt8(ascii: ".") }
  if isName, (try? checkHostName(text)) != nil { throw nameRefusal }
  do throws(Refusal) {
    switch try parseEndpointAddress(text) {
    case .socket(let address) where address.ip != nil:
      if case .v6(_, _, let zone) = address, zone != 0 {
        throw Refusal("has a zone, which is not supported here")
      }
      return address
    case .name:
      throw nameRefusal
    default:
      throw Refusal("is no address of a name server")
    }
  } catch {
    var refusal = error
    refusal.isShape = refusal.isShape && !looksLikeIPv6
    throw refusal
  }
}

private let nameRefusal = Refusal(
  "has a host name, but a name server is asked before any name is known",
  hint: "write its IP address")

/// The name of a service whose servers are asked for (RFC 2782).
func parseService(_ name: String) throws(Refusal) -> EndpointAddress {
  guard !name.isEmpty else {
    throw Refusal("has no name", hint: "write it like `srv:_postgres._tcp.example.org`")
  }
  if let colon = name.utf8.firstIndex(of: UInt8(ascii: ":")) {
    throw Refusal(
      "has a port, which its service records tell",
      hint: "write `srv:\(name[..<colon])`, or `\(name)` for a host")
  }
  try checkHostName(name)
  return .service(name: name)
}
