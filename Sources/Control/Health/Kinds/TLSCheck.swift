// SPDX-License-Identifier: Apache-2.0
// The beginning of a TLS handshake: whoever answers a ClientHello with a ServerHello has a certificate
// and a key, and agrees on a version and a cipher. No key is exchanged: the hello offers groups without
// a share of any (RFC 8446, section 4.2.8), so a server of TLS 1.3 answers with a HelloRetryRequest,
// which is a ServerHello by its form, and neither side has done more than choose. A certificate is not
// looked at.

/// A handshake that is begun.
struct TLSCheck: ConversationCheck {
  /// Warnings that may come before a ServerHello.
  private static let warningsMax = 4
  /// A record's content is no longer (RFC 8446, section 5.1; with the room of older versions).
  private static let recordBytesMax = (16 << 10) + 2048

  private let hello: [UInt8]
  let answerBytesMax = 64 << 10

  /// A handshake in which this name is asked for, if any.
  init(serverName: String?) {
    hello = TLSCheck.clientHello(serverName: serverName)
  }

  func ask(_ talk: inout Conversation) async throws(CheckStop) {
    var hello = hello
    // Never the same random twice: servers may remember them. Behind record, handshake and version.
    for place in 11..<43 { hello[place] = .random(in: 0...255) }
    try talk.send(hello)
    for _ in 0...TLSCheck.warningsMax {
      let head = try await talk.receive(exactly: 5)
      let count = Int(head[3]) << 8 | Int(head[4])
      guard head[1] == 3, count > 0, count <= TLSCheck.recordBytesMax else {
        throw .failed(.foreign("TLS"))
      }
      switch head[0] {
      case 21:
        guard count == 2 else { throw .failed(.foreign("TLS")) }
        let alert = try await talk.receive(exactly: 2)
        guard alert[0] == 1, alert[1] != 0 else { throw .failed(.alert(alert[1])) }
      case 22: return try await readServerHello(count, &talk)
      default: throw .failed(.foreign("TLS"))
      }
    }
    throw .failed(.foreign("TLS"))
  }

  private func readServerHello(
    _ count: Int, _ talk: inout Conversation
  ) async throws(CheckStop) {
    // Its kind, length, version and random; servers do not cut it before that.
    guard count >= 38 else { throw .failed(.foreign("TLS")) }
    let bytes = try await talk.receive(exactly: 38)
    guard bytes[0] == 2, bytes[1] == 0 else { throw .failed(.foreign("TLS")) }
    let version = UInt16(bytes[4]) << 8 | UInt16(bytes[5])
    // TLS 1.3 says 1.2 here, and itself only further behind.
    guard version == 0x0303 else {
      throw .failed(
        [0x0301, 0x0302].contains(version) ? .oldTLS(version - 0x0201) : .foreign("TLS"))
    }
  }

  // MARK: The hello

  private static func clientHello(serverName: String?) -> [UInt8] {
    let ciphers: [UInt16] = [
      // TLS 1.3.
      0x1301, 0x1302, 0x1303,
      // TLS 1.2: with ephemeral keys, and without, for old servers.
      0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC009, 0xC013, 0xC00A, 0xC014, 0x009E,
      0x009F, 0x009C, 0x009D, 0x002F, 0x0035,
    ]
    let algorithms: [UInt16] = [
      0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0603, 0x0806, 0x0601, 0x0807, 0x0203,
      0x0201,
    ]
    // x25519, and the curves P-256, P-384 and P-521.
    let groups: [UInt16] = [0x001D, 0x0017, 0x0018, 0x0019]
    var extensions: [UInt8] = []
    func add(_ number: UInt16, _ content: [UInt8]) {
      extensions += bytes(number) + counted(content, in: 2)
    }
    if let serverName { add(0, counted([0] + counted(Array(serverName.utf8), in: 2), in: 2)) }
    add(10, counted(groups.flatMap(bytes), in: 2))
    add(11, counted([0], in: 1))
    add(13, counted(algorithms.flatMap(bytes), in: 2))
    add(23, [])  // Extended master secret.
    add(43, counted(bytes(0x0304) + bytes(0x0303), in: 1))
    add(45, counted([1], in: 1))
    add(51, counted([], in: 2))  // No share of any key.
    add(0xFF01, counted([], in: 1))  // Renegotiation, which there is none of.
    let random = Array(repeating: UInt8(0), count: 32)
    let body =
      bytes(0x0303) + random + counted([], in: 1) + counted(ciphers.flatMap(bytes), in: 2)
      + counted([0], in: 1) + counted(extensions, in: 2)
    return [22] + bytes(0x0301) + counted([1] + counted(body, in: 3), in: 2)
  }

  private static func bytes(_ number: UInt16) -> [UInt8] {
    [UInt8(number >> 8), UInt8(number & 255)]
  }

  /// Bytes behind their number, which has so many bytes itself.
  private static func counted(_ content: [UInt8], in size: Int) -> [UInt8] {
    assert(content.count < 1 << (8 * size))
    return (0..<size).map { UInt8(truncatingIfNeeded: content.count >> (8 * (size - 1 - $0))) }
      + content
  }
}
