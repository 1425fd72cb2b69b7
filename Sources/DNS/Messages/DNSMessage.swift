// SPDX-License-Identifier: Apache-2.0
// What a name server has answered (RFC 1035, section 4), as far as it is of use here: addresses,
// aliases and services, with how long each may be kept. The bytes come from whoever can send a datagram,
// so nothing in them is believed: every length is checked, a compressed name may only point backwards,
// which ends any loop, and a name that has more in it than letters, digits, `-` and `_` is written with
// escapes (RFC 1035, section 5.1), so that no log line and no look-up carries raw bytes of a stranger.

import Addressing

/// A record of an answer.
struct DNSRecord: Hashable, Sendable {
  /// What a record says.
  enum Content: Hashable, Sendable {
    /// A (RFC 1035) and AAAA (RFC 3596).
    case address(IPAddress)
    /// CNAME: the owner is another name for this one.
    case alias(String)
    /// SRV (RFC 2782).
    case service(DNSService)
    /// Any other type.
    case other
  }

  /// Whose record it is: without the last dot, in lower case.
  let owner: String
  /// How long it may be kept, in seconds.
  let timeToLive: UInt32
  /// What it says.
  let content: Content
}

/// A server of a service, as an SRV record tells it (RFC 2782).
public struct DNSService: Hashable, Sendable {
  /// The lower, the sooner it is to be used.
  public let priority: UInt16
  /// Its share among those of its priority.
  public let weight: UInt16
  /// The port that it serves at.
  public let port: UInt16
  /// Its host name, in lower case, without the last dot; empty where the domain says that it has no such
  /// service.
  public let target: String

  /// Puts the parts of a record together.
  public init(priority: UInt16, weight: UInt16, port: UInt16, target: String) {
    self.priority = priority
    self.weight = weight
    self.port = port
    self.target = target
  }
}

/// An answer of a name server.
struct DNSMessage: Hashable, Sendable {
  /// The records of its answer section, in their order.
  let records: [DNSRecord]

  /// Reads an answer; `nil` when it is malformed.
  init?(_ bytes: [UInt8]) {
    guard let records = DNSReader.answers(in: bytes) else { return nil }
    self.records = records
  }

  init(records: [DNSRecord]) {
    self.records = records
  }

  /// How many aliases may lead to one another.
  private static let aliasesMax = 16

  /// What is said of `name` by records that `pick` wants, behind its aliases, and how many seconds all of
  /// that may be kept. Empty when there is nothing, or the aliases lead nowhere or in a circle.
  private func contents<Value: Hashable>(
    of name: String, _ pick: (DNSRecord.Content) -> Value?
  ) -> DNSRecords<Value> {
    var owner = name
    var seconds = UInt32.max
    for _ in 0...DNSMessage.aliasesMax {
      let own = records.filter { $0.owner == owner }
      var values: [Value] = []
      var known: Set<Value> = []
      var least = seconds
      for record in own {
        guard let value = pick(record.content) else { continue }
        least = min(least, record.timeToLive)
        if known.insert(value).inserted { values.append(value) }
      }
      if !values.isEmpty { return DNSRecords(values: values, seconds: least) }
      let alias = own.lazy.compactMap { record in
        if case .alias(let target) = record.content { (target, record.timeToLive) } else { nil }
      }.first
      guard let alias else { break }
      owner = alias.0
      seconds = min(seconds, alias.1)
    }
    return DNSRecords(values: [], seconds: 0)
  }

  /// The addresses of a name, none twice.
  func addresses(of name: String) -> DNSRecords<IPAddress> {
    contents(of: DNSMessage.canonical(name)) { content in
      if case .address(let address) = content { address } else { nil }
    }
  }

  /// The servers of a service, none twice.
  func services(of name: String) -> DNSRecords<DNSService> {
    contents(of: DNSMessage.canonical(name)) { content in
      if case .service(let service) = content { service } else { nil }
    }
  }

  /// A name as records have it: in lower case, without the last dot.
  static func canonical(_ name: String) -> String {
    let name = name.lowercased()
    return name.hasSuffix(".") ? String(name.dropLast()) : name
  }
}

/// Values of records, and how many seconds they may be kept.
struct DNSRecords<Value: Hashable>: Hashable {
  let values: [Value]
  let seconds: UInt32
}

extension DNSRecords: Sendable where Value: Sendable {}

/// Goes through the bytes of a message.
private struct DNSReader {
  private static let headerBytes = 12
  /// RFC 1035, section 3.1.
  private static let nameBytesMax = 255

  private let bytes: [UInt8]
  private var place = headerBytes

  /// The records of the answer section; `nil` when anything up to its end is malformed.
  static func answers(in bytes: [UInt8]) -> [DNSRecord]? {
    guard bytes.count >= headerBytes else { return nil }
    var reader = DNSReader(bytes: bytes)
    let questions = reader.number(at: 4)
    let answers = reader.number(at: 6)
    for _ in 0..<questions {
      guard reader.name() != nil, reader.skip(4) else { return nil }
    }
    var records: [DNSRecord] = []
    for _ in 0..<answers {
      guard let record = reader.record() else { return nil }
      records.append(record)
    }
    return records
  }

  private init(bytes: [UInt8]) {
    self.bytes = bytes
  }

  /// Two bytes that must be there.
  private func number(at place: Int) -> Int {
    Int(bytes[place]) << 8 | Int(bytes[place + 1])
  }

  private mutating func skip(_ count: Int) -> Bool {
    guard bytes.count - place >= count else { return false }
    place += count
    return true
  }

  /// The name here, and on to what is behind it.
  private mutating func name() -> String? {
    guard let (name, end) = name(at: place) else { return nil }
    place = end
    return name
  }

  /// The name at a place, and where the bytes behind it begin.
  private func name(at start: Int) -> (name: String, end: Int)? {
    var text: [UInt8] = []
    var place = start
    var end: Int?
    // What a pointer leads to must lie before all that was read of this name.
    var limit = start
    var length = 1
    while place < bytes.count {
      let count = Int(bytes[place])
      switch count {
      case 0:
        return (String(decoding: text, as: UTF8.self), end ?? place + 1)
      case 1...63:
        guard place + 1 + count <= bytes.count else { return nil }
        length += 1 + count
        guard length <= DNSReader.nameBytesMax else { return nil }
        if !text.isEmpty { text.append(UInt8(ascii: ".")) }
        for byte in bytes[(place + 1)...(place + count)] { append(byte, to: &text) }
        place += 1 + count
      case 0xC0...:
        guard place + 1 < bytes.count else { return nil }
        let target = number(at: place) & 0x3FFF
        guard target < limit, target >= DNSReader.headerBytes else { return nil }
        end = end ?? place + 2
        limit = target
        place = target
      default:
        return nil
      }
    }
    return nil
  }

  private func append(_ byte: UInt8, to text: inout [UInt8]) {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"):
      text.append(byte | 0x20)
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
      UInt8(ascii: "-"), UInt8(ascii: "_"):
      text.append(byte)
    default:
      text.append(UInt8(ascii: "\\"))
      for digit in [byte / 100, byte / 10 % 10, byte % 10] {
        text.append(UInt8(ascii: "0") + digit)
      }
    }
  }

  private mutating func record() -> DNSRecord? {
    guard let owner = name(), bytes.count - place >= 10 else { return nil }
    let type = number(at: place)
    let isInternet = number(at: place + 2) == 1
    let seconds = UInt32(number(at: place + 4)) << 16 | UInt32(number(at: place + 6))
    let count = number(at: place + 8)
    place += 10
    let data = place
    guard skip(count) else { return nil }
    guard let content = isInternet ? content(type, at: data, count) : .other else { return nil }
    return DNSRecord(
      owner: owner,
      // With the first bit set it counts as 0 (RFC 2181, section 8).
      timeToLive: seconds >> 31 == 0 ? seconds : 0, content: content)
  }

  private func content(_ type: Int, at data: Int, _ count: Int) -> DNSRecord.Content? {
    switch type {
    case 1:
      guard count == 4 else { return nil }
      return .address(.v4(IPv4Address(rawValue: UInt32(half(at: data)))))
    case 28:
      guard count == 16 else { return nil }
      let high = half(at: data) << 32 | half(at: data + 4)
      let low = half(at: data + 8) << 32 | half(at: data + 12)
      return .address(.v6(IPv6Address(high: high, low: low)))
    case 5:
      guard let (name, end) = name(at: data), end == data + count else { return nil }
      return .alias(name)
    case 33:
      guard count > 6, let (target, end) = name(at: data + 6), end == data + count else {
        return nil
      }
      return .service(
        DNSService(
          priority: UInt16(number(at: data)), weight: UInt16(number(at: data + 2)),
          port: UInt16(number(at: data + 4)), target: target))
    default:
      return .other
    }
  }

  /// Four bytes that must be there.
  private func half(at place: Int) -> UInt64 {
    UInt64(number(at: place)) << 16 | UInt64(number(at: place + 2))
  }
}
