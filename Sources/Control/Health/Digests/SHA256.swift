// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4), HMAC (RFC 2104) and PBKDF2 (RFC 8018, section 5.2), for logging in to a server
// that is checked. They are here because what they are needed for is small and fixed: a library for
// them is several times this program. Nothing secret is compared with them in a time that tells about
// it; test vectors hold them to the standards.

/// A hash in the making, one block at a time.
struct SHA256: Sendable {
  static let blockBytes = 64
  static let digestBytes = 32

  private(set) var state: [8 of UInt32] = [
    0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A,
    0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
  ]

  /// The digest of bytes.
  static func digest(_ bytes: [UInt8]) -> [UInt8] {
    var hash = SHA256()
    hash.finish(bytes, after: 0)
    return hash.digest
  }

  /// The digest as bytes, once it is finished.
  var digest: [UInt8] {
    (0..<8).flatMap { index in
      let word = state[index]
      return [
        UInt8(truncatingIfNeeded: word >> 24), UInt8(truncatingIfNeeded: word >> 16),
        UInt8(truncatingIfNeeded: word >> 8), UInt8(truncatingIfNeeded: word),
      ]
    }
  }

  /// Takes the last bytes, behind `count` that were taken before, and the padding.
  mutating func finish(_ bytes: [UInt8], after count: Int) {
    assert(count % SHA256.blockBytes == 0)
    var padded = bytes + [0x80]
    while padded.count % SHA256.blockBytes != 56 { padded.append(0) }
    let bits = UInt64(count + bytes.count) * 8
    padded += (0..<8).map { UInt8(truncatingIfNeeded: bits >> UInt64(56 - 8 * $0)) }
    for start in stride(from: 0, to: padded.count, by: SHA256.blockBytes) {
      take(padded[start..<start + SHA256.blockBytes])
    }
  }

  /// Takes a block of bytes.
  mutating func take(_ block: ArraySlice<UInt8>) {
    assert(block.count == SHA256.blockBytes)
    var words: [16 of UInt32] = .init(repeating: 0)
    for (index, byte) in block.enumerated() {
      words[index / 4] = words[index / 4] << 8 | UInt32(byte)
    }
    take(words)
  }

  /// Takes a block of words.
  mutating func take(_ block: [16 of UInt32]) {
    var words = block
    var (a, b, c, d) = (state[0], state[1], state[2], state[3])
    var (e, f, g, h) = (state[4], state[5], state[6], state[7])
    for round in 0..<64 {
      let place = round & 15
      if round >= 16 {
        let early = words[(round + 1) & 15]
        let late = words[(round + 14) & 15]
        let low = rotated(early, 7) ^ rotated(early, 18) ^ early >> 3
        let high = rotated(late, 17) ^ rotated(late, 19) ^ late >> 10
        words[place] = words[place] &+ low &+ words[(round + 9) & 15] &+ high
      }
      let mixed = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
      let chosen = e & f ^ ~e & g
      let one = h &+ mixed &+ chosen &+ roundConstants[round] &+ words[place]
      let turned = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)
      let two = turned &+ (a & b ^ a & c ^ b & c)
      (h, g, f, e, d, c, b, a) = (g, f, e, d &+ one, c, b, a, one &+ two)
    }
    state[0] &+= a
    state[1] &+= b
    state[2] &+= c
    state[3] &+= d
    state[4] &+= e
    state[5] &+= f
    state[6] &+= g
    state[7] &+= h
  }

  private func rotated(_ word: UInt32, _ bits: UInt32) -> UInt32 {
    word >> bits | word << (32 - bits)
  }
}

/// Codes of messages with one key.
struct HMAC: Sendable {
  /// The hashes behind the key's own block, the same for every message.
  private let inner: SHA256
  private let outer: SHA256

  init(key: [UInt8]) {
    var block = key.count > SHA256.blockBytes ? SHA256.digest(key) : key
    block += Array(repeating: 0, count: SHA256.blockBytes - block.count)
    var (inner, outer) = (SHA256(), SHA256())
    inner.take(block.map { $0 ^ 0x36 }[...])
    outer.take(block.map { $0 ^ 0x5C }[...])
    (self.inner, self.outer) = (inner, outer)
  }

  /// The code of a message.
  func code(of message: [UInt8]) -> [UInt8] {
    var (inner, outer) = (inner, outer)
    inner.finish(message, after: SHA256.blockBytes)
    outer.finish(inner.digest, after: SHA256.blockBytes)
    return outer.digest
  }

  /// The same for a message that is a digest: two blocks and no memory.
  func code(of digest: [8 of UInt32]) -> [8 of UInt32] {
    var (inner, outer) = (inner, outer)
    inner.take(HMAC.lastBlock(digest))
    outer.take(HMAC.lastBlock(inner.state))
    return outer.state
  }

  /// A digest with the padding of a message that has one block before it.
  private static func lastBlock(_ digest: [8 of UInt32]) -> [16 of UInt32] {
    var block: [16 of UInt32] = .init(repeating: 0)
    for index in 0..<8 { block[index] = digest[index] }
    block[8] = 1 << 31
    block[15] = UInt32((SHA256.blockBytes + SHA256.digestBytes) * 8)
    return block
  }
}

/// One key of 32 bytes from a password, as slowly as the server asks for. Made in parts, so that who has
/// other work can do it in between.
struct PasswordKey: Sendable {
  private let hmac: HMAC
  private var last: [8 of UInt32]
  private var sum: [8 of UInt32]
  /// How many rounds are left.
  private(set) var roundsLeft: Int

  /// Begins, and does the first round.
  init(password: [UInt8], salt: [UInt8], rounds: Int) {
    precondition(rounds > 0)
    hmac = HMAC(key: password)
    var first: [8 of UInt32] = .init(repeating: 0)
    for (index, byte) in hmac.code(of: salt + [0, 0, 0, 1]).enumerated() {
      first[index / 4] = first[index / 4] << 8 | UInt32(byte)
    }
    last = first
    sum = first
    roundsLeft = rounds - 1
  }

  /// Does at most so many rounds.
  mutating func advance(_ rounds: Int) {
    for _ in 0..<min(rounds, roundsLeft) {
      last = hmac.code(of: last)
      for index in 0..<8 { sum[index] ^= last[index] }
    }
    roundsLeft -= min(rounds, roundsLeft)
  }

  /// The key, once no round is left.
  var bytes: [UInt8] {
    assert(roundsLeft == 0)
    return (0..<32).map { UInt8(truncatingIfNeeded: sum[$0 / 4] >> UInt32(24 - $0 % 4 * 8)) }
  }
}

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
private let roundConstants: [64 of UInt32] = [
  0x428A_2F98, 0x7137_4491, 0xB5C0_FBCF, 0xE9B5_DBA5, 0x3956_C25B, 0x59F1_11F1, 0x923F_82A4,
  0xAB1C_5ED5, 0xD807_AA98, 0x1283_5B01, 0x2431_85BE, 0x550C_7DC3, 0x72BE_5D74, 0x80DE_B1FE,
  0x9BDC_06A7, 0xC19B_F174, 0xE49B_69C1, 0xEFBE_4786, 0x0FC1_9DC6, 0x240C_A1CC, 0x2DE9_2C6F,
  0x4A74_84AA, 0x5CB0_A9DC, 0x76F9_88DA, 0x983E_5152, 0xA831_C66D, 0xB003_27C8, 0xBF59_7FC7,
  0xC6E0_0BF3, 0xD5A7_9147, 0x06CA_6351, 0x1429_2967, 0x27B7_0A85, 0x2E1B_2138, 0x4D2C_6DFC,
  0x5338_0D13, 0x650A_7354, 0x766A_0ABB, 0x81C2_C92E, 0x9272_2C85, 0xA2BF_E8A1, 0xA81A_664B,
  0xC24B_8B70, 0xC76C_51A3, 0xD192_E819, 0xD699_0624, 0xF40E_3585, 0x106A_A070, 0x19A4_C116,
  0x1E37_6C08, 0x2748_774C, 0x34B0_BCB5, 0x391C_0CB3, 0x4ED8_AA4A, 0x5B9C_CA4F, 0x682E_6FF3,
  0x748F_82EE, 0x78A5_636F, 0x84C8_7814, 0x8CC7_0208, 0x90BE_FFFA, 0xA450_6CEB, 0xBEF9_A3F7,
  0xC671_78F2,
]
