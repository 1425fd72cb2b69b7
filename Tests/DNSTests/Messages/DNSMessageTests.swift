// SPDX-License-Identifier: Apache-2.0
// Answers are read as they are meant, and whatever the bytes are, reading ends.

import Addressing
import Balancing
import DNSServing
import Testing

@testable import DNS

@Suite("DNSMessage")
struct DNSMessageTests {
  private func message(
    _ records: [NameServer.Record], question: String = "db.test"
  ) -> [UInt8] {
    [0x12, 0x34, 0x85, 0x80, 0, 1] + octets(of: UInt16(records.count)) + [0, 0, 0, 0]
      + encode(question) + [0, 1, 0, 1] + records.flatMap(\.bytes)
  }

  private func read(_ records: [NameServer.Record]) throws -> DNSMessage {
    try #require(DNSMessage(message(records)))
  }

  @Test("Addresses of both families, none twice, with the shortest time to live")
  func addresses() throws {
    let found = try read([
      .address("db.test", "10.0.0.1", 60), .address("DB.Test", "fd00::1", 30),
      .address("db.test", "10.0.0.1", 90), .address("other.test", "10.0.0.9", 1),
    ]).addresses(of: "db.TEST.")
    #expect(found.values.map(\.description) == ["10.0.0.1", "fd00::1"])
    #expect(found.seconds == 30)
  }

  @Test("Aliases are followed, and their time to live counts")
  func aliases() throws {
    let found = try read([
      .alias("db.test", "a.test", 50), .alias("a.test", "b.test", 20),
      .address("b.test", "10.0.0.2", 70),
    ]).addresses(of: "db.test")
    #expect(found.values.map(\.description) == ["10.0.0.2"])
    #expect(found.seconds == 20)
  }

  @Test("Aliases in a circle, and those that lead nowhere, lead to nothing")
  func circle() throws {
    let circle = try read([.alias("db.test", "a.test"), .alias("a.test", "db.test")])
    #expect(circle.addresses(of: "db.test").values == [])
    let nowhere = try read([.alias("db.test", "a.test"), .address("c.test", "10.0.0.1")])
    #expect(nowhere.addresses(of: "db.test").values == [])
  }

  @Test("Services tell port, weight, priority and target")
  func services() throws {
    let found = try read([
      .service("_pg._tcp.test", "A.test", port: 5432, priority: 1, weight: 65535, 9),
      .service("_pg._tcp.test", "", port: 1),
    ]).services(of: "_pg._tcp.test")
    #expect(
      found.values == [
        DNSService(priority: 1, weight: 65535, port: 5432, target: "a.test"),
        DNSService(priority: 0, weight: 0, port: 1, target: ""),
      ])
    #expect(found.seconds == 9)
  }

  @Test("A time to live with its first bit set is none")
  func negativeTimeToLive() throws {
    let found = try read([.address("db.test", "10.0.0.1", 0x8000_0001)]).addresses(of: "db.test")
    #expect(found.seconds == 0)
  }

  @Test("Names may point back at what was written before")
  func compression() throws {
    var bytes = message([])
    bytes[7] = 1
    // The owner is the question's name, at 12.
    bytes += [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1]
    let found = try #require(DNSMessage(bytes)).addresses(of: "db.test")
    #expect(found.values.map(\.description) == ["10.0.0.1"])
  }

  @Test("A name that points at itself, forwards, or into the header is malformed")
  func loops() {
    for target in [UInt8(25), 26, 60, 0, 11] {
      var bytes = message([])
      bytes[7] = 1
      // The owner begins at 25.
      bytes += [0xC0, target, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1]
      #expect(DNSMessage(bytes) == nil, "\(target)")
    }
  }

  @Test("What is no letter, digit, hyphen or underscore is escaped")
  func escapes() throws {
    var record = NameServer.Record.alias("db.test", "x")
    record = .alias("db.test", "a\n b\u{1}")
    let message = try read([record])
    #expect(message.records.map(\.content) == [.alias("a\\010\\032b\\001")])
  }

  @Test("An answer that is cut anywhere is malformed, or says less, but nothing else")
  func cut() throws {
    let whole = message([
      .alias("db.test", "a.test"), .address("a.test", "10.0.0.1"),
      .service("a.test", "b.test", port: 1),
    ])
    let records = try #require(DNSMessage(whole)).records
    #expect(records.count == 3)
    for length in 0..<whole.count { #expect(DNSMessage(Array(whole[..<length])) == nil) }
  }

  @Test("Random changes of bytes neither trap nor hang", arguments: 0..<20 as Range<UInt64>)
  func fuzzed(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let whole = message(
      (0..<8).flatMap { number -> [NameServer.Record] in
        [
          .alias("n\(number).test", "n\(number + 1).test"),
          .address("n\(number).test", "10.0.0.\(number)"),
          .service("s.test", "n\(number).test", port: 1, weight: 5),
          .address("n8.test", "fd00::\(number)"),
        ]
      })
    for _ in 0..<500 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        bytes[Int.random(in: 4..<bytes.count, using: &random)] =
          Bool.random(using: &random)
          ? UInt8.random(in: 0xC0...0xFF, using: &random) : UInt8.random(in: 0...64, using: &random)
      }
      guard let message = DNSMessage(bytes) else { continue }
      #expect(message.records.count <= bytes.count / 11, "seed \(seed)")
      _ = message.addresses(of: "n0.test")
      _ = message.services(of: "s.test")
    }
  }
}
