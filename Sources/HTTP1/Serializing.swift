// SPDX-License-Identifier: Apache-2.0
// Messages to bytes. What says where the content ends is written here and nowhere else, so that it
// cannot contradict the content; whoever sets it among the fields has made a mistake, which traps.

import HTTPTypes

extension HTTPRequest {
  /// The bytes of a request without content, as HTTP/1.1. `authority` becomes the Host (empty if there
  /// is none), `path` the target. Throws `target` or `malformedHost` when these hold what a request line
  /// or a Host cannot. Fields that say where the content ends, or a Host, must not be among the fields.
  public func serialized() throws(MessageError) -> [UInt8] {
    let target = Array((path ?? "").utf8)
    let isPath = target.first == UInt8(ascii: "/") && target.isURIText(allowing: ":@/?")
    guard isPath || (method == .options && path == "*") else { throw .target }
    let host = Array((authority ?? "").utf8)
    guard host.isEmpty || host[...].isHost else { throw .malformedHost }
    precondition(headerFields[.hostLine] == nil, "the Host is the authority")
    var bytes = Array("\(method.rawValue) ".utf8) + target + Array(" HTTP/1.1\r\nHost: ".utf8)
    bytes += host
    bytes += "\r\n".utf8
    headerFields.serialize(into: &bytes)
    bytes += "\r\n".utf8
    return bytes
  }
}

extension HTTPResponse {
  /// The bytes of a final response, as HTTP/1.1, with the length of its content among its fields. The
  /// answer to HEAD has the length, but not the content. A status that allows no content (204, 304)
  /// must have none. Fields that say where the content ends must not be among the fields.
  public func serialized(
    content: [UInt8], answering method: HTTPRequest.Method
  ) -> [UInt8] {
    let mayHaveContent = status != .noContent && status != .notModified
    precondition(status.kind != .informational && status.kind != .invalid, "no final status")
    precondition(mayHaveContent || content.isEmpty, "\(status.code) has no content")
    var bytes = Array("HTTP/1.1 \(status.code) \(status.reasonPhrase)\r\n".utf8)
    headerFields.serialize(into: &bytes)
    if mayHaveContent { bytes += "Content-Length: \(content.count)\r\n".utf8 }
    bytes += "\r\n".utf8
    if method != .head { bytes += content }
    return bytes
  }
}

extension HTTPFields {
  /// Names and values are sound by construction: a field cannot be made with a line's end in it.
  fileprivate func serialize(into bytes: inout [UInt8]) {
    for field in self {
      precondition(
        field.name != .contentLength && field.name != .transferEncoding,
        "where the content ends is said by who serializes")
      bytes += field.name.rawName.utf8
      bytes += ": ".utf8
      field.withUnsafeBytesOfValue { bytes += $0 }
      bytes += "\r\n".utf8
    }
  }
}
