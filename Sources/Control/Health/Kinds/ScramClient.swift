// SPDX-License-Identifier: Apache-2.0
// The client's half of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding, which needs TLS.
// The user is not named: PostgreSQL knows it from its own startup message. A password is used as it is:
// the preparation of RFC 4013 changes none of ASCII, nor most others as they are typed.

import EventLoop
import Reactor

/// What a server wants a password mixed with.
struct ScramChallenge: Hashable, Sendable {
  /// More rounds than this are not done, some tenths of a second of work: a server must not keep a checker
  /// busy. PostgreSQL asks for 4,096 unless it is told otherwise (`scram_iterations`).
  static let roundsMax = 100_000

  let salt: [UInt8]
  let rounds: Int
}

/// One login.
struct ScramClient {
  private let nonce: [UInt8]
  private var serverFirst: [UInt8] = []
  private var fullNonce: [UInt8] = []
  private var signature: [UInt8] = []

  private static let header = Array("n,,".utf8)
  private let user: [UInt8]
  private var bare: [UInt8] { Array("n=".utf8) + user + Array(",r=".utf8) + nonce }

  /// A login with a nonce of its own; tests give one, and a user, who must have no comma and no equals
  /// sign.
  init(user: String = "", nonce: String? = nil) {
    self.user = Array(user.utf8)
    self.nonce =
      nonce.map { Array($0.utf8) }
      ?? Base64.encode((0..<18).map { _ in UInt8.random(in: 0...255) })
  }

  /// What the client says first.
  var first: [UInt8] { ScramClient.header + bare }

  /// Reads what the server says first; `nil` if that is no answer to what was said.
  mutating func read(_ message: [UInt8]) -> ScramChallenge? {
    let parts = message.split(separator: UInt8(ascii: ","))
    guard parts.count >= 3, parts[0].starts(with: "r=".utf8), parts[1].starts(with: "s=".utf8),
      parts[2].starts(with: "i=".utf8), let salt = Base64.decode(parts[1].dropFirst(2)),
      let rounds = Int(String(decoding: parts[2].dropFirst(2), as: UTF8.self)),
      rounds > 0
    else { return nil }
    fullNonce = Array(parts[0].dropFirst(2))
    guard fullNonce.starts(with: nonce), fullNonce.count > nonce.count else { return nil }
    serverFirst = message
    return ScramChallenge(salt: salt, rounds: rounds)
  }

  /// What proves that the password is known, from the key that was made of it.
  mutating func proof(_ key: [UInt8]) -> [UInt8] {
    let end = Array("c=".utf8) + Base64.encode(ScramClient.header) + Array(",r=".utf8) + fullNonce
    let comma = [UInt8(ascii: ",")]
    let everything = bare + comma + serverFirst + comma + end
    let clientKey = HMAC(key: key).code(of: Array("Client Key".utf8))
    let code = HMAC(key: SHA256.digest(clientKey)).code(of: everything)
    let serverKey = HMAC(key: key).code(of: Array("Server Key".utf8))
    signature = HMAC(key: serverKey).code(of: everything)
    return end + Array(",p=".utf8) + Base64.encode(zip(clientKey, code).map { $0 ^ $1 })
  }

  /// Whether the server's last word proves that it knows the password, too.
  func isSigned(_ message: [UInt8]) -> Bool {
    message == Array("v=".utf8) + Base64.encode(signature)
  }
}

/// The key that was made last: it takes thousands of rounds, and stays the same as long as the server's
/// challenge does, which is as long as the password does. One that was not done in time is gone on with the
/// next time. Loop's thread.
final class PasswordKeys: @unchecked Sendable {
  // SAFETY: used by the tasks of one loop alone, those of one check, one after another.
  /// How many rounds are done before others have their turn: some tenths of a millisecond.
  private static let roundsPerTurn = 500

  private var last: (challenge: ScramChallenge, key: PasswordKey)?

  /// How many rounds are left of the key that was begun last.
  var roundsLeft: Int { last?.key.roundsLeft ?? 0 }

  /// The key of a password for a challenge. Throws when it is not done by `deadline`.
  func key(
    _ password: [UInt8], _ challenge: ScramChallenge, until deadline: Instant
  ) async throws(CheckStop) -> [UInt8] {
    guard let loop = Loop.current else { preconditionFailure("not on a loop") }
    var key: PasswordKey
    if let last, last.challenge == challenge {
      key = last.key
    } else {
      key = PasswordKey(password: password, salt: challenge.salt, rounds: challenge.rounds)
    }
    while key.roundsLeft > 0 {
      guard loop.now < deadline else { throw .stream(.deadlinePassed) }
      key.advance(PasswordKeys.roundsPerTurn)
      last = (challenge, key)
      do throws(WaitError) {
        try await loop.yield()
      } catch {
        throw .stream(.cancelled)
      }
    }
    last = (challenge, key)
    return key.bytes
  }
}
