// SPDX-License-Identifier: Apache-2.0
// Where the content of a message ends: RFC 9112, section 6.3. The rules stand in the order of the
// standard, because a later one holds only where no earlier one does.

import HTTPTypes

/// How it is told where the content of a message ends.
public enum BodyFraming: Hashable, Sendable {
  /// There is no content.
  case none
  /// This many bytes; not negative.
  case length(Int)
  /// Chunks that carry their sizes.
  case chunked
  /// The end of the connection. Responses alone.
  case untilClose

  init(request fields: HTTPFields, _ version: HTTPVersion) throws(MessageError) {
    self = try BodyFraming(fields, version) ?? .none
  }

  init(
    response fields: HTTPFields, _ version: HTTPVersion, status: HTTPResponse.Status,
    answering method: HTTPRequest.Method
  ) throws(MessageError) {
    // What fields say of the content here is what it would be (HEAD, 304), or a slip of the server.
    if method == .head || status.kind == .informational || status == .noContent
      || status == .notModified
    {
      self = .none
      return
    }
    // A tunnel is no content of the response.
    if method == .connect && status.kind == .successful {
      self = .none
      return
    }
    self = try BodyFraming(fields, version) ?? .untilClose
  }

  /// What the fields say; `nil` if they say nothing.
  private init?(_ fields: HTTPFields, _ version: HTTPVersion) throws(MessageError) {
    let length = try fields.contentLength()
    if !fields[values: .transferEncoding].isEmpty {
      // Each of the two is how a message is made to look different to two readers.
      guard version == .http11 else { throw .codingInOldVersion }
      guard length == nil else { throw .lengthAndCoding }
    }
    if try fields.isChunked() {
      self = .chunked
    } else if let length {
      self = length == 0 ? .none : .length(length)
    } else {
      return nil
    }
  }
}
