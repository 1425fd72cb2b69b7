// SPDX-License-Identifier: Apache-2.0
// IP addresses as plain values: their bytes, the text they are read from, and the text they are
// shown as. No system call and no name resolution happens here, so that the configuration, the plan
// and the event loop can share one type without sharing anything else.

/// An IPv4 address (RFC 791), four bytes in network order.
public struct IPv4Address: Hashable, Sendable {
  /// The address as a number in host byte order: `127.0.0.1` is `0x7F00_0001`.
  public let rawValue: UInt32

  /// Makes an address from its number in host byte order.
  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// `0.0.0.0`: every local address when listening.
  public static let any = IPv4Address(rawValue: 0)
  /// `127.0.0.1`.
  public static let loopback = IPv4Address(rawValue: 0x7F00_0001)

  /// Reads four decimal numbers separated by dots.
  ///
  /// Refused (`nil`): anything shorter, numbers above 255, and leading zeros, which some programs
  /// read as octal (RFC 6943, section 3.1.1).
  public init?(_ text: some StringProtocol) {
    self.init(utf8: Array(text.utf8))
  }

  init?(utf8 text: some Collection<UInt8>) {
    var value: UInt32 = 0
    var rest = text[...]
    for part in 1...4 {
      let digits = rest.prefix { $0 != UInt8(ascii: ".") }
      guard let number = decimal(digits, max: 255, digitsMax: 3) else { return nil }
      guard digits.count == 1 || digits.first != UInt8(ascii: "0") else { return nil }
      value = value << 8 | UInt32(number)
      rest = rest[digits.endIndex...]
      guard (rest.popFirst() == nil) == (part == 4) else { return nil }
    }
    rawValue = value
  }
}

extension IPv4Address: CustomStringConvertible {
  /// Four decimal numbers separated by dots.
  public var description: String {
    "\(rawValue >> 24).\(rawValue >> 16 & 0xFF).\(rawValue >> 8 & 0xFF).\(rawValue & 0xFF)"
  }
}

/// An IPv6 address (RFC 4291), eight groups of sixteen bits, with the zone of a link-local one.
public struct IPv6Address: Hashable, Sendable {
  /// The first 64 bits, host byte order.
  public let high: UInt64
  /// The last 64 bits, host byte order.
  public let low: UInt64

  /// Makes an address from its two halves, host byte order.
  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// `::`: every local address when listening.
  public static let any = IPv6Address(high: 0, low: 0)
  /// `::1`.
  public static let loopback = IPv6Address(high: 0, low: 1)

  /// Whether this is an IPv4 address in IPv6 clothes, `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2),
  /// which is how a socket that serves both families sees IPv4 clients.
  public var embeddedIPv4: IPv4Address? {
    guard high == 0, low >> 32 == 0xFFFF else { return nil }
    return IPv4Address(rawValue: UInt32(truncatingIfNeeded: low))
  }

  /// Reads the forms of RFC 4291, section 2.2: full, with one `::`, and with an IPv4 tail.
  ///
  /// Refused (`nil`): brackets, ports and zones (`%eth0`), which belong to the caller.
  public init?(_ text: some StringProtocol) {
    self.init(utf8: Array(text.utf8)[...])
  }

  init?(utf8 text: ArraySlice<UInt8>) {
    guard text.count >= 2, text.count <= 45 else { return nil }
    var groups: [UInt16] = []
    var gap: Int?
    var rest = text
    let colon = UInt8(ascii: ":")

    if rest.starts(with: [colon, colon]) {
      gap = 0
      rest = rest.dropFirst(2)
    }
    while !rest.isEmpty {
      let end = rest.firstIndex(of: colon) ?? rest.endIndex
      let part = rest[rest.startIndex..<end]
      if end == rest.endIndex, part.contains(UInt8(ascii: ".")) {
        guard let tail = IPv4Address(utf8: part) else { return nil }
        groups.append(UInt16(tail.rawValue >> 16))
        groups.append(UInt16(tail.rawValue & 0xFFFF))
        rest = []
        break
      }
      guard let group = hexadecimal(part) else { return nil }
      groups.append(group)
      guard groups.count <= 8 else { return nil }
      if end == rest.endIndex { break }
      rest = rest[(end + 1)...]
      if rest.first == colon {
        guard gap == nil else { return nil }
        gap = groups.count
        rest = rest.dropFirst()
        if rest.isEmpty { break }
      } else if rest.isEmpty {
        return nil
      }
    }

    if let gap {
      guard groups.count <= 7 else { return nil }
      groups.insert(contentsOf: repeatElement(0, count: 8 - groups.count), at: gap)
    }
    guard groups.count == 8 else { return nil }
    high = groups[0..<4].reduce(0) { $0 << 16 | UInt64($1) }
    low = groups[4..<8].reduce(0) { $0 << 16 | UInt64($1) }
  }
}

extension IPv6Address: CustomStringConvertible {
  /// The canonical text of RFC 5952: lower case, the longest run of zeros (the first of equals)
  /// as `::`, an embedded IPv4 address in its own form.
  public var description: String {
    if let embeddedIPv4 { return "::ffff:\(embeddedIPv4)" }
    let groups = (0..<8).map { index in
      UInt16(truncatingIfNeeded: (index < 4 ? high : low) >> (48 - 16 * UInt64(index % 4)))
    }
    var longest = 0..<0
    var start = 0
    while start < 8 {
      var end = start
      while end < 8, groups[end] == 0 { end += 1 }
      if end - start > max(longest.count, 1) { longest = start..<end }
      start = max(end, start + 1)
    }
    func text(_ part: some Sequence<UInt16>) -> String {
      part.map { String($0, radix: 16) }.joined(separator: ":")
    }
    guard !longest.isEmpty else { return text(groups) }
    return text(groups[..<longest.lowerBound]) + "::" + text(groups[longest.upperBound...])
  }
}

/// An address of either family.
public enum IPAddress: Hashable, Sendable {
  /// An IPv4 address.
  case v4(IPv4Address)
  /// An IPv6 address.
  case v6(IPv6Address)

  /// Reads either form, without brackets, port or zone.
  public init?(_ text: some StringProtocol) {
    if let address = IPv4Address(text) {
      self = .v4(address)
    } else if let address = IPv6Address(text) {
      self = .v6(address)
    } else {
      return nil
    }
  }
}

extension IPAddress: CustomStringConvertible {
  /// The address as text, an IPv6 one without brackets.
  public var description: String {
    switch self {
    case .v4(let address): address.description
    case .v6(let address): address.description
    }
  }
}

/// A decimal number of one to `digitsMax` digits, at most `max`.
func decimal(_ text: some Collection<UInt8>, max: Int, digitsMax: Int) -> Int? {
  guard !text.isEmpty, text.count <= digitsMax else { return nil }
  var value = 0
  for byte in text {
    guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
    value = value * 10 + Int(byte - UInt8(ascii: "0"))
  }
  return value <= max ? value : nil
}

/// A group of one to four hexadecimal digits.
private func hexadecimal(_ text: ArraySlice<UInt8>) -> UInt16? {
  guard !text.isEmpty, text.count <= 4 else { return nil }
  var value: UInt16 = 0
  for byte in text {
    let digit: UInt8
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
    default: return nil
    }
    value = value << 4 | UInt16(digit)
  }
  return value
}
