// SPDX-License-Identifier: Apache-2.0
// A name server for tests: answers what it was told to, over UDP and TCP at one port of loopback, with a
// thread of its own. What it answers can be changed at any time, and it remembers what it was asked.

import Addressing
import CLinux
import Glibc
import Reactor

/// A name server that a test has in its hand.
public final class NameServer: Sendable {
  /// What becomes of a question.
  public enum Answer: Sendable {
    /// These records.
    case records([Record])
    /// An answer that says it was cut short; by TCP it is whole.
    case truncated([Record])
    /// The name is there, and nothing of this type.
    case nothing
    /// The code of RFC 1035, section 4.1.1: 2 has failed, 3 no such name, 5 refused.
    case code(UInt8)
    /// Nothing is sent.
    case silence
    /// A header that promises a record, and these bytes.
    case bytes([UInt8])
  }

  /// A record of an answer.
  public struct Record: Sendable {
    /// Whose record it is.
    public var name: String
    /// In seconds.
    public var timeToLive: UInt32
    var type: UInt16
    var data: [UInt8]

    /// An address.
    public static func address(_ name: String, _ text: String, _ seconds: UInt32 = 60) -> Record {
      switch IPAddress(text) {
      case .v4(let address)?:
        return Record(
          name: name, timeToLive: seconds, type: 1, data: octets(of: address.rawValue))
      case .v6(let address)?:
        return Record(
          name: name, timeToLive: seconds, type: 28,
          data: octets(of: address.high) + octets(of: address.low))
      case nil: preconditionFailure("no address: \(text)")
      }
    }

    /// Another name.
    public static func alias(_ name: String, _ target: String, _ seconds: UInt32 = 60) -> Record {
      Record(name: name, timeToLive: seconds, type: 5, data: encode(target))
    }

    /// A server of a service.
    public static func service(
      _ name: String, _ target: String, port: UInt16, priority: UInt16 = 0, weight: UInt16 = 0,
      _ seconds: UInt32 = 60
    ) -> Record {
      let numbers = octets(of: priority) + octets(of: weight) + octets(of: port)
      return Record(name: name, timeToLive: seconds, type: 33, data: numbers + encode(target))
    }

    /// Its bytes, as in an answer.
    public var bytes: [UInt8] {
      encode(name) + octets(of: type) + [0, 1] + octets(of: timeToLive)
        + octets(of: UInt16(data.count)) + data
    }
  }

  private struct State {
    var answers: [String: Answer] = [:]
    var asked: [String] = []
    var refusesEDNS = false
  }

  /// What the thread and the tests share.
  private final class Shared: Sendable {
    let lock = Lock(State())
  }

  /// Where it is: `127.0.0.1:PORT`.
  public let address: SocketAddress
  private let state = Shared()
  private let datagrams: CInt
  private let listener: CInt
  private let bell: CInt

  /// Begins to answer; every name is unknown.
  public init() {
    (datagrams, listener, address) = NameServer.open()
    bell = clinux_eventfd()
    do {
      // The thread does not hold on to this object, whose end is its own.
      let (datagrams, listener, bell, state) = (datagrams, listener, bell, self.state)
      try LoopThread(name: "name server") {
        NameServer.serve(datagrams, listener, bell) { NameServer.answer($0, state, isWhole: $1) }
      }.detach()
    } catch {
      preconditionFailure("no thread: \(error)")
    }
  }

  deinit {
    var one: UInt64 = 1
    write(bell, &one, 8)
  }

  /// From now on this is the answer to a question: `A`, `AAAA` or `SRV`, and a name in lower case.
  public func say(_ type: String, _ name: String, _ answer: Answer) {
    state.lock.withLock { $0.answers["\(type) \(name)"] = answer }
  }

  /// The addresses of a name; of the family that has none, nothing.
  public func say(_ name: String, _ addresses: [String], _ seconds: UInt32 = 60) {
    for (type, isOfType) in [("A", false), ("AAAA", true)] {
      let records = addresses.filter { $0.contains(":") == isOfType }
        .map { Record.address(name, $0, seconds) }
      say(type, name, records.isEmpty ? .nothing : .records(records))
    }
  }

  /// It does not know of EDNS (RFC 6891), and says that the question is malformed.
  public func refuseEDNS() {
    state.lock.withLock { $0.refusesEDNS = true }
  }

  /// What it was asked so far, like `A db.test`; `A db.test/tcp` by TCP.
  public var asked: [String] { state.lock.withLock { $0.asked } }

  // MARK: The thread

  private static func open() -> (CInt, CInt, SocketAddress) {
    for _ in 0..<100 {
      let datagrams = socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
      let listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
      if let address = bindLoopback(datagrams, port: 0), let port = address.port,
        bindLoopback(listener, port: port) != nil, listen(listener, 16) == 0
      {
        return (datagrams, listener, address)
      }
      close(datagrams)
      close(listener)
    }
    preconditionFailure("no port that is free for UDP and TCP")
  }

  private static func bindLoopback(_ descriptor: CInt, port: UInt16) -> SocketAddress? {
    let address = KernelAddress(.v4(.loopback, port: port))
    guard address.withSockaddr({ bind(descriptor, $0, $1) }) == 0 else { return nil }
    var bound = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &bound) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getsockname(descriptor, $0, &length)
      }
    }
    return result == 0 ? .v4(.loopback, port: UInt16(bigEndian: bound.sin_port)) : nil
  }

  private static func serve(
    _ datagrams: CInt, _ listener: CInt, _ bell: CInt,
    _ answer: (_ question: [UInt8], _ isWhole: Bool) -> [UInt8]?
  ) {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      var items = [datagrams, listener, bell].map {
        pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
      }
      guard poll(&items, 3, -1) > 0 else { continue }
      if items[2].revents != 0 { break }
      if items[0].revents != 0 {
        var peer = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &peer) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { peer in
            let count = recvfrom(datagrams, &buffer, buffer.count, 0, peer, &length)
            guard count > 0, let reply = answer(Array(buffer[..<count]), false) else { return }
            _ = sendto(datagrams, reply, reply.count, 0, peer, length)
          }
        }
      }
      if items[1].revents != 0 {
        let client = accept(listener, nil, nil)
        guard client >= 0 else { continue }
        serveStream(client, answer)
        close(client)
      }
    }
    for descriptor in [datagrams, listener, bell] { close(descriptor) }
  }

  /// One question by TCP: two bytes of length before it and before the answer.
  private static func serveStream(
    _ client: CInt, _ answer: (_ question: [UInt8], _ isWhole: Bool) -> [UInt8]?
  ) {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while bytes.count < 2 || bytes.count < 2 + (Int(bytes[0]) << 8 | Int(bytes[1])) {
      let count = read(client, &buffer, buffer.count)
      guard count > 0 else { return }
      bytes += buffer[..<count]
    }
    guard let reply = answer(Array(bytes.dropFirst(2)), true) else { return }
    // In pieces, so that whoever reads must put them together.
    let whole = octets(of: UInt16(reply.count)) + reply
    let half = whole.count / 2
    for part in [whole[..<half], whole[half...]] {
      _ = part.withUnsafeBytes {
        send(client, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL))
      }
    }
  }

  /// The answer to a question, `nil` for none.
  private static func answer(
    _ question: [UInt8], _ state: Shared, isWhole: Bool
  ) -> [UInt8]? {
    guard question.count > 12 else { return nil }
    var labels: [String] = []
    var place = 12
    while place < question.count, question[place] != 0 {
      let end = place + 1 + Int(question[place])
      guard end < question.count else { return nil }
      labels.append(String(decoding: question[(place + 1)..<end], as: UTF8.self).lowercased())
      place = end
    }
    guard place + 4 < question.count else { return nil }
    let type = [1: "A", 28: "AAAA", 33: "SRV"][Int(question[place + 2])] ?? "?"
    let key = "\(type) \(labels.joined(separator: "."))"
    let section = Array(question[12..<(place + 5)])
    let hasEDNS = question[11] > 0
    let answer = state.lock.withLock { state -> Answer in
      state.asked.append(isWhole ? key + "/tcp" : key)
      if hasEDNS, state.refusesEDNS { return .code(1) }
      return state.answers[key] ?? .code(3)
    }
    func reply(_ records: [Record], code: UInt8 = 0, isCut: Bool = false) -> [UInt8] {
      let head = [question[0], question[1], isCut ? 0x87 : 0x85, 0x80 | code, 0, 1]
      return head + octets(of: UInt16(records.count)) + [0, 0, 0, 0] + section
        + records.flatMap(\.bytes)
    }
    switch answer {
    case .records(let records): return reply(records)
    case .truncated(let records): return isWhole ? reply(records) : reply([], isCut: true)
    case .nothing: return reply([])
    case .code(let code): return reply([], code: code)
    case .silence: return nil
    case .bytes(let bytes):
      return [question[0], question[1], 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0] + section + bytes
    }
  }
}

/// Big-endian.
public func octets(of number: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: number.bigEndian) { Array($0) }
}

/// A name as in messages (RFC 1035, section 3.1).
public func encode(_ name: String) -> [UInt8] {
  name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
}
