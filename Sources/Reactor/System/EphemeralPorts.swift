// SPDX-License-Identifier: Apache-2.0
// The ports that this machine chooses by itself for connections that it makes.

import Glibc

/// The range from which the kernel chooses the local ports of outgoing connections
/// (`net.ipv4.ip_local_port_range`, ip(7)); it holds for IPv6, too.
public enum EphemeralPorts {
  /// What the range is unless an administrator has changed it.
  public static let standard: ClosedRange<UInt16> = 32768...60999

  /// The range of this network namespace when it was first asked for.
  public static let current = read() ?? standard

  /// Reads the range; `nil` where the file is missing or says something else.
  static func read(path: String = "/proc/sys/net/ipv4/ip_local_port_range") -> ClosedRange<UInt16>?
  {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 64)
    let count = bytes.withUnsafeMutableBytes { Glibc.read(file, $0.baseAddress, $0.count) }
    guard count > 0 else { return nil }
    return parse(String(decoding: bytes[..<count], as: UTF8.self))
  }

  /// Two numbers with white space between and around them.
  static func parse(_ text: String) -> ClosedRange<UInt16>? {
    let numbers = text.split(whereSeparator: \.isWhitespace).map { UInt16($0) }
    guard numbers.count == 2, let low = numbers[0], let high = numbers[1], low <= high else {
      return nil
    }
    return low...high
  }
}
