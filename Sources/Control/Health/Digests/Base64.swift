// SPDX-License-Identifier: Apache-2.0
// Base 64 (RFC 4648, section 4), with padding, and strict: one text for each sequence of bytes.

/// Bytes as text, and back.
enum Base64 {
  private static let alphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  private static let padding = UInt8(ascii: "=")

  /// The text of bytes.
  static func encode(_ bytes: [UInt8]) -> [UInt8] {
    stride(from: 0, to: bytes.count, by: 3).flatMap { start in
      let group = bytes[start..<min(start + 3, bytes.count)]
      let bits = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - group.count))
      return (0..<4).map { place in
        place <= group.count ? alphabet[Int(bits >> UInt32(18 - 6 * place) & 63)] : padding
      }
    }
  }

  /// The bytes of a text, `nil` if it is none.
  static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
    guard text.count % 4 == 0 else { return nil }
    let padded = text.suffix(2).filter { $0 == padding }.count
    var bits: UInt32 = 0
    var bytes: [UInt8] = []
    for (place, character) in text.enumerated() {
      let isPadding = place >= text.count - padded
      guard isPadding ? character == padding : character != padding else { return nil }
      guard let value = isPadding ? 0 : alphabet.firstIndex(of: character) else { return nil }
      bits = bits << 6 | UInt32(value)
      guard place % 4 == 3 else { continue }
      bytes += [
        UInt8(truncatingIfNeeded: bits >> 16), UInt8(truncatingIfNeeded: bits >> 8),
        UInt8(truncatingIfNeeded: bits),
      ]
      bits = 0
    }
    bytes.removeLast(padded)
    // The bits that padding leaves over must be zero.
    guard encode(bytes).elementsEqual(text) else { return nil }
    return bytes
  }
}
