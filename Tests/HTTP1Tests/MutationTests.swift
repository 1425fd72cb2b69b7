// SPDX-License-Identifier: Apache-2.0
// Mutated messages: whatever arrives, nothing traps, no bound is passed, and it makes no difference
// how it was cut. A seed that fails is in the message, and makes the same input again.
//
// SLUICE_FUZZ_SEED=S begins at another seed.

import Balancing
import Glibc
import HTTPTypes
import Testing

@testable import HTTP1

@Suite struct MutationTests {
  private static let rounds: UInt64 = 3000

  private static let requests = [
    "GET /metrics HTTP/1.1\r\nHost: localhost:9901\r\nAccept: text/plain;q=0.5\r\n\r\n",
    "POST http://a/?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    "\r\nPUT /x HTTP/1.0\r\nConnection: keep-alive\r\nX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
  ]
  private static let responses = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\n",
    "HTTP/1.0 404\r\nConnection: keep-alive\r\n\r\nnot here",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
  ]
  /// What mutations put in: what a reader might stumble over.
  private static let pieces = [
    "\r", "\n", "\r\n", "\r\n\r\n", " ", "\t", ":", ",", ";", "0", "9", "f", "\0", "\u{7F}", "é",
    "%",
    "HTTP/1.1", "Host: b\r\n", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "chunked",
    "99999999999999999999", "ffffffffffffffff\r\n", "HTTP/9.9",
  ]

  private static func mutated(_ text: String, _ random: inout SplitMix64) -> [UInt8] {
    var bytes = Array(text.utf8)
    for _ in 0...random.next(below: 3) {
      let place = Int(random.next(below: UInt64(bytes.count + 1)))
      let length = Int(random.next(below: 6))
      let part = place..<min(bytes.count, place + length)
      switch random.next(below: 4) {
      case 0: bytes.removeSubrange(part)
      case 1: bytes.insert(contentsOf: bytes[part], at: place)
      case 2: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
      default:
        let piece = pieces[Int(random.next(below: UInt64(pieces.count)))]
        bytes.insert(contentsOf: piece.utf8, at: place)
      }
    }
    return bytes
  }

  /// Cuts at up to four places.
  private static func cut(_ bytes: [UInt8], _ random: inout SplitMix64) -> [ArraySlice<UInt8>] {
    let places = (0..<4).map { _ in Int(random.next(below: UInt64(bytes.count + 1))) }.sorted()
    var parts: [ArraySlice<UInt8>] = []
    var start = 0
    for place in places + [bytes.count] {
      parts.append(bytes[start..<place])
      start = place
    }
    return parts
  }

  /// Everything that a stream of bytes says, as one message after the other is read with its content.
  private struct Conversation {
    var words: [String] = []
    var content: [UInt8] = []
    var request = RequestHeadReader(limits: HeadLimits(bytesMax: 512, fieldsMax: 8))
    var response = ResponseHeadReader(
      answering: .get, limits: HeadLimits(bytesMax: 512, fieldsMax: 8))
    var body: BodyReader?
    let isRequest: Bool

    mutating func take(_ part: ArraySlice<UInt8>) throws(MessageError) {
      var input = part
      while true {
        if var reading = body {
          body = nil
          try reading.read(&input, into: &content)
          guard reading.isComplete else {
            body = reading
            return
          }
          words.append("content \(content)")
          content = []
        }
        guard let framing = try head(&input) else { return }
        body = try BodyReader(framing, bytesMax: 1000)
      }
    }

    private mutating func head(
      _ input: inout ArraySlice<UInt8>
    ) throws(MessageError) -> BodyFraming? {
      if isRequest {
        guard let head = try request.read(&input) else { return nil }
        words.append("\(head)")
        return head.framing
      }
      guard let head = try response.read(&input) else { return nil }
      words.append("\(head)")
      return head.framing
    }

    static func of(_ parts: [ArraySlice<UInt8>], isRequest: Bool) -> [String] {
      var conversation = Conversation(isRequest: isRequest)
      do throws(MessageError) {
        for part in parts { try conversation.take(part) }
        return conversation.words + ["open \(conversation.content)"]
      } catch {
        return conversation.words + ["refused \(error)"]
      }
    }

    private init(isRequest: Bool) { self.isRequest = isRequest }
  }

  @Test func mutatedMessagesAreReadOrRefused() {
    let first = getenv("SLUICE_FUZZ_SEED").flatMap { UInt64(String(cString: $0)) } ?? 1
    var refused = 0
    for seed in first..<first + Self.rounds {
      var random = SplitMix64(seed: seed)
      let isRequest = random.next(below: 2) == 0
      let samples = isRequest ? Self.requests : Self.responses
      let sample = samples[Int(random.next(below: UInt64(samples.count)))]
      let bytes = Self.mutated(sample, &random)
      let whole = Conversation.of([bytes[...]], isRequest: isRequest)
      let parts = Conversation.of(Self.cut(bytes, &random), isRequest: isRequest)
      #expect(whole == parts, "seed \(seed)")
      if whole.last?.hasPrefix("refused") == true { refused += 1 }
    }
    #expect(
      refused > Self.rounds / 4 && refused < Self.rounds, "mutations must matter, and not always")
  }
}
