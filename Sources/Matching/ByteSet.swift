// SPDX-License-Identifier: Apache-2.0
// A set of byte values, as 256 bits: what a step of a pattern takes.

/// Some of the 256 values of a byte.
struct ByteSet: Hashable, Sendable {
  private var words: [4 of UInt64] = [0, 0, 0, 0]

  /// No byte.
  init() {}

  /// The bytes of a range.
  init(_ range: ClosedRange<UInt8>) {
    for byte in range { insert(byte) }
  }

  /// The bytes of a text.
  init(_ text: String) {
    for byte in text.utf8 { insert(byte) }
  }

  /// Every byte that this has not.
  var inverted: ByteSet {
    var result = self
    for index in 0..<4 { result.words[index] = ~words[index] }
    return result
  }

  func contains(_ byte: UInt8) -> Bool {
    words[Int(byte >> 6)] >> UInt64(byte & 63) & 1 == 1
  }

  mutating func insert(_ byte: UInt8) {
    words[Int(byte >> 6)] |= 1 << UInt64(byte & 63)
  }

  mutating func formUnion(_ other: ByteSet) {
    for index in 0..<4 { words[index] |= other.words[index] }
  }

  /// With each letter of ASCII, its other case.
  mutating func foldCase() {
    for letter in UInt8(ascii: "a")...UInt8(ascii: "z") {
      if contains(letter) { insert(letter - 32) } else if contains(letter - 32) { insert(letter) }
    }
  }

  static func == (one: ByteSet, other: ByteSet) -> Bool {
    (0..<4).allSatisfy { one.words[$0] == other.words[$0] }
  }

  func hash(into hasher: inout Hasher) {
    for index in 0..<4 { hasher.combine(words[index]) }
  }
}
