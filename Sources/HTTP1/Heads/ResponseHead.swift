// SPDX-License-Identifier: Apache-2.0
// Reading the head of a response: RFC 9112, section 4. One thing is taken that the grammar does not
// have, because servers send it and it can be understood in one way only: a status that no space
// follows when there is no reason.

import HTTPTypes

/// The head of a response.
public struct ResponseHead: Hashable, Sendable {
  /// Status and fields.
  public var response: HTTPResponse
  /// The version that the server speaks.
  public var version: HTTPVersion
  /// Where the content ends.
  public var framing: BodyFraming
  /// Whether the server keeps the connection for another request. Never, when the content ends with
  /// the connection.
  public var keepsConnection: Bool

  /// Whether another response to the same request follows (1xx). Not so after 101, which ends HTTP on
  /// this connection.
  public var isInterim: Bool {
    response.status.kind == .informational && response.status != .switchingProtocols
  }
}

/// Reads heads of responses from bytes, however they are cut.
public struct ResponseHeadReader: Sendable {
  private var reader: HeadReader<StatusLine>
  private let method: HTTPRequest.Method

  /// Makes a reader for what answers a request of this method; some methods are answered without
  /// content. It can be used for all responses to that one request (`ResponseHead.isInterim`); how many
  /// of those are borne is the caller's to bound.
  public init(answering method: HTTPRequest.Method, limits: HeadLimits = HeadLimits()) {
    reader = HeadReader(limits: limits)
    self.method = method
  }

  /// Takes from the front of `input` what belongs to the head of a response. Returns the head once it is
  /// complete: what is left in `input` is the content, or the next response. `nil`: everything was
  /// taken, and more is needed. After an error the connection is beyond use.
  public mutating func read(
    _ input: inout ArraySlice<UInt8>
  ) throws(MessageError) -> ResponseHead? {
    let head = try reader.read(&input) { line throws(MessageError) in try StatusLine(line) }
    guard let head else { return nil }
    let status = head.start.status
    let version = head.start.version
    let framing = try BodyFraming(
      response: head.fields, version, status: status, answering: method)
    return ResponseHead(
      response: HTTPResponse(status: status, headerFields: head.fields), version: version,
      framing: framing,
      keepsConnection: framing != .untilClose && status != .switchingProtocols
        && head.fields.keepsConnection(version))
  }
}

/// The first line of a response.
private struct StatusLine: Sendable {
  let version: HTTPVersion
  let status: HTTPResponse.Status

  init(_ line: [UInt8]) throws(MessageError) {
    let parts = line.split(separator: .space, maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count >= 2 else { throw .statusLine }
    version = try HTTPVersion(parts[0])
    let digits = parts[1]
    guard digits.count == 3, digits.allSatisfy(\.isDigit),
      let code = Int(String(decoding: digits, as: UTF8.self)), (100...599).contains(code)
    else { throw .statusLine }
    let reason = parts.count == 3 ? String(decoding: parts[2], as: UTF8.self) : ""
    status = HTTPResponse.Status(code: code, reasonPhrase: reason)
  }
}
