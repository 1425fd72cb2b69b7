// SPDX-License-Identifier: Apache-2.0
// A hash that is the same in every process and every version: clients find their endpoint by it. (Swift's
// own differs from start to start, on purpose.) Not for secrets, and no protection from clients that
// choose their addresses.

/// Sixty-four bits of everything that was added, in order.
public struct StableHash: Sendable {
  private var state: UInt64 = 0x243F_6A88_85A3_08D3

  /// The hash of nothing yet.
  public init() {}

  /// Adds a number.
  public mutating func add(_ number: UInt64) {
    state = StableHash.mix(state ^ StableHash.mix(number &+ 0x9E37_79B9_7F4A_7C15))
  }

  /// Adds bytes, and how many they are.
  public mutating func add(_ bytes: some Sequence<UInt8>) {
    var word: UInt64 = 0
    var count: UInt64 = 0
    for byte in bytes {
      word = word << 8 | UInt64(byte)
      count += 1
      if count % 8 == 0 { add(word) }
    }
    add(word)
    add(count)
  }

  /// The hash.
  public var value: UInt64 { state }

  /// A permutation of the numbers in which each bit depends on all (the finalizer of SplitMix64).
  static func mix(_ number: UInt64) -> UInt64 {
    var bits = number
    bits = (bits ^ bits >> 30) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ bits >> 27) &* 0x94D0_49BB_1331_11EB
    return bits ^ bits >> 31
  }
}
