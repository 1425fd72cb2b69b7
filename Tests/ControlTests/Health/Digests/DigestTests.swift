// SPDX-License-Identifier: Apache-2.0
// Digests against the vectors of their standards, and against one digest of many digests, of every length
// around the borders of blocks.

import EventLoop
import Testing

@testable import Control

private func hex(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { byte in
    let digits = Array("0123456789abcdef")
    return "\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
  }.joined()
}

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct DigestTests {
  /// FIPS 180-4 by the examples of its authors; RFC 1321, section A.5.
  @Test func theVectorsOfTheStandards() {
    #expect(
      hex(SHA256.digest(bytes("abc")))
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(
      hex(SHA256.digest(bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")))
        == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
    #expect(hex(SHA1.digest(bytes("abc"))) == "a9993e364706816aba3e25717850c26c9cd0d89d")
    #expect(hex(MD5.digest(bytes("message digest"))) == "f96b697d7cb7938d525a2f31aaf161d0")
    #expect(MD5.hexadecimal([]) == bytes("d41d8cd98f00b204e9800998ecf8427e"))
  }

  /// The digest of the digests of 200 texts, which another implementation gave.
  @Test func everyLengthAroundABlock() {
    func all(_ digest: ([UInt8]) -> [UInt8]) -> String {
      let digests = (0..<200).flatMap { count in
        digest((0..<count).map { UInt8(truncatingIfNeeded: $0 * 7 + count) })
      }
      return hex(digest(digests))
    }
    #expect(
      all(SHA256.digest) == "8c7c9ff69da76fc28823a1cb97268672663e628e1ea955868b16db46bab0545d")
    #expect(all(SHA1.digest) == "c2add6cb3908952ddaf192d7f14c30588649e3b5")
    #expect(all(MD5.digest) == "0e31983fb09e7f80b96e5ec823d6bb1a")
  }

  /// RFC 4231, cases 2 and 6.
  @Test func codesOfMessages() {
    #expect(
      hex(HMAC(key: bytes("Jefe")).code(of: bytes("what do ya want for nothing?")))
        == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    #expect(
      hex(
        HMAC(key: Array(repeating: 0xAA, count: 131))
          .code(of: bytes("Test Using Larger Than Block-Size Key - Hash Key First")))
        == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
  }

  /// RFC 7914, section 11, and the usual ones for `password` and `salt`.
  @Test(arguments: [
    (1, 7, "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b"),
    (2, 1, "ae4d0c95af6b46d32d0adff928f06dd02a303f8ef3c251dfd6e2d85a95474c43"),
    (4096, 999, "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a"),
  ])
  func keysFromPasswords(_ rounds: Int, _ step: Int, _ expected: String) {
    var key = PasswordKey(password: bytes("password"), salt: bytes("salt"), rounds: rounds)
    while key.roundsLeft > 0 { key.advance(step) }
    #expect(hex(key.bytes) == expected)
  }

  /// RFC 4648, section 10.
  @Test(arguments: [
    ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="),
    ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
  ])
  func base64(_ text: String, _ encoded: String) {
    #expect(Base64.encode(bytes(text)) == bytes(encoded))
    #expect(Base64.decode(encoded.utf8) == bytes(text))
  }

  @Test(arguments: ["Z", "Zg=", "Zg", "Z===", "====", "Zh==", "Zm9=", "Zm 9", "=m9v", "Zm9v\n"])
  func whatIsNoBase64(_ text: String) {
    #expect(Base64.decode(text.utf8) == nil)
  }

  /// RFC 7677, section 3.
  @Test func aLoginByScram() throws {
    var client = ScramClient(user: "user", nonce: "rOprNGfwEbeRWgbNEkqO")
    #expect(client.first == bytes("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"))
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    let found = client.read(bytes("r=\(nonce),s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"))
    let challenge = try #require(found)
    var key = PasswordKey(
      password: bytes("pencil"), salt: challenge.salt, rounds: challenge.rounds)
    key.advance(.max)
    #expect(
      client.proof(key.bytes)
        == bytes("c=biws,r=\(nonce),p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
    #expect(client.isSigned(bytes("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")))
    #expect(!client.isSigned(bytes("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")))
    #expect(!client.isSigned(bytes("e=other-error")))
  }

  @Test(arguments: [
    "", "r=x", "r=other,s=AAAA,i=1", "r=mine,s=AAAA,i=1", "r=mine1,s=A,i=1", "r=mine1,s=AAAA,i=0",
    "r=mine1,i=1,s=AAAA", "m=x,r=mine1,s=AAAA,i=1",
    "r=mine1,s=AAAA,i=-5", "r=mine1,s=AAAA,i=99999999999999999999",
  ])
  func whatIsNoChallenge(_ text: String) {
    var client = ScramClient(nonce: "mine")
    #expect(client.read(bytes(text)) == nil)
  }

  @Test func aKeyIsMadeWithinTheTimeThatThereIsAndGoneOnWith() throws {
    try Loop().run {
      let loop = try #require(Loop.current)
      let keys = PasswordKeys()
      let challenge = ScramChallenge(salt: bytes("salt"), rounds: 4096)
      let late = loop.now
      await #expect(throws: CheckStop.stream(.deadlinePassed)) {
        try await keys.key(bytes("password"), challenge, until: late)
      }
      // Given up in the midst of it, what is done is kept.
      let task = loop.spawn(name: "key") {
        try await keys.key(bytes("password"), challenge, until: .distantFuture)
      }
      while keys.roundsLeft == 0 { try await loop.yield() }
      task.cancel()
      await #expect(throws: CheckStop.stream(.cancelled)) { try await task.value }
      let left = keys.roundsLeft
      #expect((1..<4095).contains(left))
      let key = try await keys.key(bytes("password"), challenge, until: .distantFuture)
      // RFC 7914 has none of so few rounds; this is another implementation's.
      #expect(hex(key) == "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a")
      #expect(keys.roundsLeft == 0)
      // The same once more takes no time at all, another one does.
      #expect(try await keys.key(bytes("password"), challenge, until: late) == key)
      await #expect(throws: CheckStop.stream(.deadlinePassed)) {
        try await keys.key(
          bytes("password"), ScramChallenge(salt: bytes("pepper"), rounds: 4096), until: late)
      }
    }
  }
}
