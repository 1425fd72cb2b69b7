// SPDX-License-Identifier: Apache-2.0
// Reading a message however it was cut: all at once, in two parts at every place, byte by byte. Each
// way must say the same, or it would depend on the network what a message means.

import HTTPTypes
import Testing

@testable import HTTP1

/// What came of reading: something, and what was left of the input; or an error; or more is needed.
enum Reading<Value: Equatable>: Equatable {
  case complete(Value, rest: [UInt8])
  case incomplete
  case refused(MessageError)

  var value: Value? {
    if case .complete(let value, _) = self { value } else { nil }
  }
}

/// Reads parts one after the other with `read`, which takes from the front of its input.
func feed<Value: Equatable>(
  _ parts: [ArraySlice<UInt8>],
  _ read: (inout ArraySlice<UInt8>) throws(MessageError) -> Value?
) -> Reading<Value> {
  for (number, part) in parts.enumerated() {
    var input = part
    do throws(MessageError) {
      if let value = try read(&input) {
        let rest = parts[(number + 1)...].reduce(Array(input)) { $0 + $1 }
        return .complete(value, rest: rest)
      }
    } catch {
      return .refused(error)
    }
    #expect(input.isEmpty, "what is not complete must take everything")
  }
  return .incomplete
}

/// Reads a message in every way to cut it in two, and byte by byte, and expects the same of each.
/// `makeReader` makes a fresh reader.
func readHoweverCut<Value: Equatable>(
  _ bytes: [UInt8],
  _ makeReader: () -> (inout ArraySlice<UInt8>) throws(MessageError) -> Value?
) -> Reading<Value> {
  let whole = feed([bytes[...]], makeReader())
  for place in bytes.indices {
    let cut = feed([bytes[..<place], bytes[place...]], makeReader())
    #expect(cut == whole, "cut at \(place)")
  }
  let singly = feed(bytes.indices.map { bytes[$0...$0] }, makeReader())
  #expect(singly == whole, "byte by byte")
  return whole
}

/// The head of a request, however it is cut.
func readRequest(
  _ text: String, limits: HeadLimits = HeadLimits()
) -> Reading<RequestHead> {
  readHoweverCut(Array(text.utf8)) {
    var reader = RequestHeadReader(limits: limits)
    return { input throws(MessageError) in try reader.read(&input) }
  }
}

/// The head of a response, however it is cut.
func readResponse(
  _ text: String, answering method: HTTPRequest.Method = .get, limits: HeadLimits = HeadLimits()
) -> Reading<ResponseHead> {
  readHoweverCut(Array(text.utf8)) {
    var reader = ResponseHeadReader(answering: method, limits: limits)
    return { input throws(MessageError) in try reader.read(&input) }
  }
}

/// A content, however it is cut.
func readContent(
  _ framing: BodyFraming, _ text: String, bytesMax: Int = 1 << 20
) throws -> Reading<[UInt8]> {
  let fresh = try BodyReader(framing, bytesMax: bytesMax)
  return readHoweverCut(Array(text.utf8)) {
    var reader = fresh
    var content: [UInt8] = []
    return { input throws(MessageError) in
      try reader.read(&input, into: &content)
      return reader.isComplete ? content : nil
    }
  }
}
