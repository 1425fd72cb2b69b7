// SPDX-License-Identifier: Apache-2.0
// MD5 (RFC 1321) and SHA-1 (FIPS 180-4): broken as digests, and what some servers still ask for when
// somebody logs in. For nothing else.

/// What both have in common: blocks of 64 bytes, with the length behind the last one.
private func paddedBlocks(_ bytes: [UInt8], isLengthBigEndian: Bool) -> [ArraySlice<UInt8>] {
  var padded = bytes + [0x80]
  while padded.count % 64 != 56 { padded.append(0) }
  let bits = UInt64(bytes.count) * 8
  padded += (0..<8).map { place in
    UInt8(truncatingIfNeeded: bits >> UInt64(isLengthBigEndian ? 56 - 8 * place : 8 * place))
  }
  return stride(from: 0, to: padded.count, by: 64).map { padded[$0..<$0 + 64] }
}

/// MD5.
enum MD5 {
  private static let shifts: [UInt32] = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21]

  /// The digest of bytes.
  static func digest(_ bytes: [UInt8]) -> [UInt8] {
    var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476]
    for block in paddedBlocks(bytes, isLengthBigEndian: false) {
      let words = (0..<16).map { word in
        (0..<4).reduce(UInt32(0)) {
          $0 | UInt32(block[block.startIndex + word * 4 + $1]) << (8 * $1)
        }
      }
      var (a, b, c, d) = (state[0], state[1], state[2], state[3])
      for round in 0..<64 {
        let mixed: UInt32
        let place: Int
        switch round / 16 {
        case 0: (mixed, place) = (b & c | ~b & d, round)
        case 1: (mixed, place) = (d & b | ~d & c, (5 * round + 1) % 16)
        case 2: (mixed, place) = (b ^ c ^ d, (3 * round + 5) % 16)
        default: (mixed, place) = (c ^ (b | ~d), 7 * round % 16)
        }
        let sum = a &+ mixed &+ roundConstants[round] &+ words[place]
        let shift = shifts[round / 16 * 4 + round % 4]
        (a, d, c, b) = (d, c, b, b &+ (sum << shift | sum >> (32 - shift)))
      }
      for (index, word) in [a, b, c, d].enumerated() { state[index] &+= word }
    }
    return state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
  }

  /// The digest in hexadecimal digits.
  static func hexadecimal(_ bytes: [UInt8]) -> [UInt8] {
    let digits = Array("0123456789abcdef".utf8)
    return digest(bytes).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
  }

  /// The first 32 bits of the fractional parts of the sines of 1 to 64.
  private static let roundConstants: [UInt32] = [
    0xD76A_A478, 0xE8C7_B756, 0x2420_70DB, 0xC1BD_CEEE, 0xF57C_0FAF, 0x4787_C62A, 0xA830_4613,
    0xFD46_9501, 0x6980_98D8, 0x8B44_F7AF, 0xFFFF_5BB1, 0x895C_D7BE, 0x6B90_1122, 0xFD98_7193,
    0xA679_438E, 0x49B4_0821, 0xF61E_2562, 0xC040_B340, 0x265E_5A51, 0xE9B6_C7AA, 0xD62F_105D,
    0x0244_1453, 0xD8A1_E681, 0xE7D3_FBC8, 0x21E1_CDE6, 0xC337_07D6, 0xF4D5_0D87, 0x455A_14ED,
    0xA9E3_E905, 0xFCEF_A3F8, 0x676F_02D9, 0x8D2A_4C8A, 0xFFFA_3942, 0x8771_F681, 0x6D9D_6122,
    0xFDE5_380C, 0xA4BE_EA44, 0x4BDE_CFA9, 0xF6BB_4B60, 0xBEBF_BC70, 0x289B_7EC6, 0xEAA1_27FA,
    0xD4EF_3085, 0x0488_1D05, 0xD9D4_D039, 0xE6DB_99E5, 0x1FA2_7CF8, 0xC4AC_5665, 0xF429_2244,
    0x432A_FF97, 0xAB94_23A7, 0xFC93_A039, 0x655B_59C3, 0x8F0C_CC92, 0xFFEF_F47D, 0x8584_5DD1,
    0x6FA8_7E4F, 0xFE2C_E6E0, 0xA301_4314, 0x4E08_11A1, 0xF753_7E82, 0xBD3A_F235, 0x2AD7_D2BB,
    0xEB86_D391,
  ]
}

/// SHA-1.
enum SHA1 {
  /// The digest of bytes.
  static func digest(_ bytes: [UInt8]) -> [UInt8] {
    var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
    for block in paddedBlocks(bytes, isLengthBigEndian: true) {
      var words = (0..<16).map { word in
        (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(block[block.startIndex + word * 4 + $1]) }
      }
      for place in 16..<80 {
        let word = words[place - 3] ^ words[place - 8] ^ words[place - 14] ^ words[place - 16]
        words.append(word << 1 | word >> 31)
      }
      var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
      for round in 0..<80 {
        let mixed: UInt32
        let constant: UInt32
        switch round / 20 {
        case 0: (mixed, constant) = (b & c | ~b & d, 0x5A82_7999)
        case 1: (mixed, constant) = (b ^ c ^ d, 0x6ED9_EBA1)
        case 2: (mixed, constant) = (b & c | b & d | c & d, 0x8F1B_BCDC)
        default: (mixed, constant) = (b ^ c ^ d, 0xCA62_C1D6)
        }
        let next = (a << 5 | a >> 27) &+ mixed &+ e &+ constant &+ words[round]
        (e, d, c, b, a) = (d, c, b << 30 | b >> 2, a, next)
      }
      for (index, word) in [a, b, c, d, e].enumerated() { state[index] &+= word }
    }
    return state.flatMap { word in
      (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * UInt32($0))) }
    }
  }
}
