// SPDX-License-Identifier: Apache-2.0
// Everything that can be wrong with a message, one case each. A message that two readers could
// understand differently is refused rather than guessed at: guesses that differ between two programs
// on one connection are how requests are smuggled. Each case knows the status that a server answers
// with, and a sentence that says what was wrong.

import HTTPTypes

/// Why bytes are no message that this reader takes.
public enum MessageError: Error, Hashable, Sendable {
  // What any line may have.
  /// CR that no LF follows.
  case bareCarriageReturn
  /// LF that no CR precedes.
  case bareLineFeed
  /// A control character where text belongs.
  case controlCharacter(UInt8)

  // Bounds.
  /// The first line did not end within the head's bytes.
  case startLineTooLong(bytesMax: Int)
  /// The head did not end within its bytes.
  case headTooLong(bytesMax: Int)
  /// More field lines than are taken.
  case tooManyFields(max: Int)
  /// More content than is taken.
  case contentTooLong(bytesMax: Int)
  /// The line that begins a chunk did not end within its bytes.
  case chunkLineTooLong(bytesMax: Int)
  /// The fields behind a chunked content did not end within their bytes.
  case trailerTooLong(bytesMax: Int)

  // First lines.
  /// Not a method, a target and a version with one space between them.
  case requestLine
  /// Not a version, a space and a status of three digits.
  case statusLine
  /// The method holds what no method may.
  case method
  /// The target is no path, or not of a form that goes with the method.
  case target
  /// Not `HTTP/` and two digits with a dot between them.
  case version
  /// A version that is not 1.x.
  case versionNotSupported

  // Fields.
  /// A field line without a colon.
  case noColon
  /// White space between a field's name and its colon.
  case spaceBeforeColon
  /// The name is empty or holds what no name may.
  case fieldName
  /// A line that begins with white space, which once continued the line before.
  case foldedField
  /// HTTP/1.1 without a Host.
  case noHost
  /// More than one Host.
  case severalHosts
  /// A Host that is no host with an optional port.
  case malformedHost
  /// A target with a host of its own, and a Host that is another.
  case differentHosts

  // Where the content ends.
  /// A Content-Length that is no decimal number, or too large to be one.
  case malformedContentLength
  /// More than one Content-Length, even if they agree.
  case severalContentLengths
  /// Content-Length beside Transfer-Encoding.
  case lengthAndCoding
  /// A Transfer-Encoding in HTTP/1.0, which has none.
  case codingInOldVersion
  /// A Transfer-Encoding whose last coding is not chunked, or that names chunked twice.
  case codingWithoutEnd
  /// Codings beside chunked.
  case codingNotSupported
  /// A chunk that does not begin with its size in hexadecimal digits, or one that is too large.
  case chunkSize
  /// Content goes on where a chunk should end.
  case chunkEnd
  /// The stream ended before the message did.
  case truncated

  /// What a server answers a request with.
  public var status: HTTPResponse.Status {
    switch self {
    case .startLineTooLong: .uriTooLong
    case .headTooLong, .tooManyFields, .trailerTooLong: .requestHeaderFieldsTooLarge
    case .contentTooLong: .contentTooLarge
    case .codingNotSupported: .notImplemented
    case .versionNotSupported: .httpVersionNotSupported
    default: .badRequest
    }
  }
}

extension MessageError: CustomStringConvertible {
  /// What was wrong, as a sentence without a capital and a full stop.
  public var description: String {
    switch self {
    case .bareCarriageReturn: "a CR stands without the LF that ends a line"
    case .bareLineFeed: "a line ends with LF alone; HTTP ends lines with CR LF"
    case .controlCharacter(let byte):
      "a control character, \(byte), stands in the head; is this HTTP at all?"
    case .startLineTooLong(let max): "the first line is longer than \(max) bytes"
    case .headTooLong(let max): "the head is longer than \(max) bytes"
    case .tooManyFields(let max): "there are more than \(max) fields"
    case .contentTooLong(let max): "the content is longer than \(max) bytes"
    case .chunkLineTooLong(let max): "the line before a chunk is longer than \(max) bytes"
    case .trailerTooLong(let max): "the fields behind the content are longer than \(max) bytes"
    case .requestLine:
      "the first line is not a method, a target and a version with one space between them"
    case .statusLine: "the first line is not a version, a space and a status of three digits"
    case .method: "the method holds characters that no method has"
    case .target: "the target is no path, or of a form that does not go with the method"
    case .version: "the version is not written as HTTP/ and two digits, like HTTP/1.1"
    case .versionNotSupported: "only HTTP/1.1 and HTTP/1.0 are spoken here"
    case .noColon: "a field has no colon"
    case .spaceBeforeColon: "white space stands before the colon of a field"
    case .fieldName: "the name of a field is empty, or holds characters that no name has"
    case .foldedField: "a field is continued on another line, which is not allowed any more"
    case .noHost: "there is no Host field, which HTTP/1.1 demands"
    case .severalHosts: "there is more than one Host field"
    case .malformedHost: "the Host field is not a host with an optional port"
    case .differentHosts: "the target and the Host field name different hosts"
    case .malformedContentLength: "the Content-Length is no decimal number, or too large"
    case .severalContentLengths: "there is more than one Content-Length"
    case .lengthAndCoding: "both Content-Length and Transfer-Encoding say where the content ends"
    case .codingInOldVersion: "HTTP/1.0 has no Transfer-Encoding"
    case .codingWithoutEnd: "the Transfer-Encoding does not end with chunked, or has it twice"
    case .codingNotSupported: "of transfer codings, only chunked is supported"
    case .chunkSize: "a chunk does not begin with its size in hexadecimal digits, or is too large"
    case .chunkEnd: "a chunk is longer than its size says"
    case .truncated: "the connection ended before the message did"
    }
  }
}
