// SPDX-License-Identifier: Apache-2.0
// Random bits as a value: each worker has its own and needs no lock, and a test that knows the seed
// knows every choice.

/// The SplitMix64 generator (Steele, Lea and Flood, 2014). Good enough for balancing, not for
/// secrets.
public struct SplitMix64: RandomNumberGenerator, Sendable {
  private var state: UInt64

  /// Starts the sequence of a seed.
  public init(seed: UInt64) {
    state = seed
  }

  /// The next 64 random bits.
  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var bits = state
    bits = (bits ^ bits >> 30) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ bits >> 27) &* 0x94D0_49BB_1331_11EB
    return bits ^ bits >> 31
  }

  /// A number in 0..<`bound`, by multiplication instead of division (Lemire, 2019); the bias of at
  /// most `bound` / 2⁶⁴ does not matter here. `bound` must not be 0.
  public mutating func next(below bound: UInt64) -> UInt64 {
    assert(bound > 0)
    return next().multipliedFullWidth(by: bound).high
  }
}
