// SPDX-License-Identifier: Apache-2.0
// The version of a message. A minor version above 1 is read as 1.1, as RFC 9110, section 2.5, wants:
// who sends it promises that it can be.

/// The version that a message claims to be of.
public enum HTTPVersion: Hashable, Sendable {
  /// HTTP/1.0: connections end with a message, unless both sides ask otherwise.
  case http10
  /// HTTP/1.1, or a later minor version.
  case http11

  init(_ text: some Collection<UInt8>) throws(MessageError) {
    let text = Array(text)
    guard text.count == 8, text.starts(with: "HTTP/".utf8), text[5].isDigit,
      text[6] == UInt8(ascii: "."), text[7].isDigit
    else { throw .version }
    guard text[5] == UInt8(ascii: "1") else { throw .versionNotSupported }
    self = text[7] == UInt8(ascii: "0") ? .http10 : .http11
  }
}
