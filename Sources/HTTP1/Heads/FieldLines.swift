// SPDX-License-Identifier: Apache-2.0
// Field lines to fields, and what the fields say about the message itself: RFC 9112, section 5, and
// RFC 9110, sections 7.6.1 and 8.6.

import HTTPTypes

/// The fields of a head or trailer, as they arrive.
struct FieldLines: Sendable {
  private(set) var fields = HTTPFields()
  private var count = 0

  /// Takes a line that is not empty.
  mutating func take(_ line: [UInt8], max: Int) throws(MessageError) {
    guard let first = line.first, !first.isBlank else { throw .foldedField }
    count += 1
    guard count <= max else { throw .tooManyFields(max: max) }
    guard let colon = line.firstIndex(of: .colon) else { throw .noColon }
    let name = line[..<colon]
    if let last = name.last, last.isBlank { throw .spaceBeforeColon }
    guard name.isToken, let name = HTTPField.Name(String(decoding: name, as: UTF8.self)) else {
      throw .fieldName
    }
    // The line holds no control characters, so there is nothing that would be replaced here.
    fields.append(HTTPField(name: name, value: line[(colon + 1)...].trimmed))
  }
}

extension HTTPField.Name {
  /// The Host as it stands among the lines of a head; `HTTPRequest` has it as its `authority`.
  static let hostLine = HTTPField.Name("Host")!
}

extension HTTPFields {
  /// The one Content-Length; `nil` if there is none.
  func contentLength() throws(MessageError) -> Int? {
    let values = self[values: .contentLength]
    guard let value = values.first else { return nil }
    // A list counts as several, even though RFC 9110 would let equal ones pass.
    guard values.count == 1, !value.utf8.contains(UInt8(ascii: ",")) else {
      throw .severalContentLengths
    }
    // `Int` takes a sign, too.
    guard value.utf8.allSatisfy(\.isDigit), let length = Int(value) else {
      throw .malformedContentLength
    }
    return length
  }

  /// Whether the content is chunked. Anything but chunked alone is refused.
  func isChunked() throws(MessageError) -> Bool {
    let values = self[values: .transferEncoding]
    guard !values.isEmpty else { return false }
    let codings = values.flatMap(\.listMembers)
    guard let last = codings.last, last.isSame(as: "chunked"),
      !codings.dropLast().contains(where: { $0.isSame(as: "chunked") })
    else { throw .codingWithoutEnd }
    guard codings.count == 1 else { throw .codingNotSupported }
    return true
  }

  /// Whether the connection may serve another message after this one (RFC 9112, section 9.3).
  func keepsConnection(_ version: HTTPVersion) -> Bool {
    let options = self[values: .connection].flatMap(\.listMembers)
    if options.contains(where: { $0.isSame(as: "close") }) { return false }
    switch version {
    case .http11: return true
    case .http10: return options.contains { $0.isSame(as: "keep-alive") }
    }
  }
}
