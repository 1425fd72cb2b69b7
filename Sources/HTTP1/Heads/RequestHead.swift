// SPDX-License-Identifier: Apache-2.0
// Reading the head of a request: RFC 9112, sections 2.2 and 3. Stricter than it where the standard
// lets a server guess: exactly one space, exactly one Host, a target that is a URI to the letter.

import HTTPTypes

/// The head of a request.
public struct RequestHead: Hashable, Sendable {
  /// Method, target and fields. The Host is its `authority`, not one of its fields; the target its
  /// `path`, as it stood, query included. Without a Host, HTTP/1.0 alone, `authority` is `nil`.
  public var request: HTTPRequest
  /// The version that the client speaks.
  public var version: HTTPVersion
  /// Where the content ends; never `untilClose`.
  public var framing: BodyFraming
  /// Whether the client keeps the connection for another request.
  public var keepsConnection: Bool
}

/// Reads heads of requests from bytes, however they are cut.
public struct RequestHeadReader: Sendable {
  private var reader: HeadReader<RequestLine>
  private var passedOver = false

  /// Makes a reader for the requests of one connection.
  public init(limits: HeadLimits = HeadLimits()) {
    reader = HeadReader(limits: limits)
  }

  /// Whether it is between two requests: nothing of the next one has arrived.
  public var isIdle: Bool { reader.isIdle }

  /// Takes from the front of `input` what belongs to the head of a request. Returns the head once it is
  /// complete: what is left in `input` is the content, or the next request. `nil`: everything was
  /// taken, and more is needed. After an error the connection is beyond use: nobody knows where the
  /// next message begins.
  public mutating func read(
    _ input: inout ArraySlice<UInt8>
  ) throws(MessageError) -> RequestHead? {
    // A working copy, because a closure cannot hold `self` while its reader is being changed.
    var passedOver = passedOver
    let head = try reader.read(&input) { line throws(MessageError) in
      // One empty line before a request is passed over: old clients send one behind their content.
      if line.isEmpty && !passedOver {
        passedOver = true
        return nil
      }
      return try RequestLine(line)
    }
    self.passedOver = head == nil && passedOver
    guard let head else { return nil }
    return try RequestHead(head)
  }
}

/// The first line of a request.
private struct RequestLine: Sendable {
  let method: HTTPRequest.Method
  let target: Target
  let version: HTTPVersion

  init(_ line: [UInt8]) throws(MessageError) {
    let parts = line.split(separator: .space, maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count == 3, parts.allSatisfy({ !$0.isEmpty }) else { throw .requestLine }
    version = try HTTPVersion(parts[2])
    guard let method = HTTPRequest.Method(String(decoding: parts[0], as: UTF8.self)) else {
      throw .method
    }
    self.method = method
    target = try Target(parts[1], method: method)
  }
}

/// What a request is about, in one of its four forms (RFC 9112, section 3.2).
private struct Target: Sendable {
  var scheme: String?
  var authority: String?
  /// With the query; `*` for a server as a whole; `nil` for CONNECT.
  var path: String?

  init(_ text: ArraySlice<UInt8>, method: HTTPRequest.Method) throws(MessageError) {
    if method == .connect {
      guard text.isHost else { throw .target }
      authority = String(decoding: text, as: UTF8.self)
    } else if text.first == UInt8(ascii: "/") {
      path = try Target.path(text)
    } else if text.elementsEqual("*".utf8) {
      guard method == .options else { throw .target }
      path = "*"
    } else {
      try readAbsolute(text)
    }
  }

  private mutating func readAbsolute(_ text: ArraySlice<UInt8>) throws(MessageError) {
    guard let colon = text.firstIndex(of: .colon), text[colon...].starts(with: "://".utf8) else {
      throw .target
    }
    let scheme = String(decoding: text[..<colon], as: UTF8.self).lowercased()
    guard scheme == "http" || scheme == "https" else { throw .target }
    let rest = text[(colon + 3)...]
    let end = rest.firstIndex { $0.isOne(of: "/?") } ?? rest.endIndex
    guard end > rest.startIndex, rest[..<end].isHost else { throw .target }
    self.scheme = scheme
    authority = String(decoding: rest[..<end], as: UTF8.self)
    let path = try Target.path(rest[end...])
    self.path = path.hasPrefix("/") ? path : "/" + path
  }

  private static func path(_ text: ArraySlice<UInt8>) throws(MessageError) -> String {
    guard text.isURIText(allowing: ":@/?") else { throw .target }
    return String(decoding: text, as: UTF8.self)
  }
}

extension RequestHead {
  fileprivate init(_ head: RawHead<RequestLine>) throws(MessageError) {
    let line = head.start
    var fields = head.fields
    let host = try RequestHead.host(in: fields, line.version)
    if let named = line.target.authority, let host, !host[...].isSame(as: named) {
      throw .differentHosts
    }
    fields[.hostLine] = nil
    request = HTTPRequest(
      method: line.method, scheme: line.target.scheme, authority: host ?? line.target.authority,
      path: line.target.path, headerFields: fields)
    version = line.version
    framing = try BodyFraming(request: fields, version)
    keepsConnection = fields.keepsConnection(version)
  }

  private static func host(
    in fields: HTTPFields, _ version: HTTPVersion
  ) throws(MessageError) -> String? {
    let hosts = fields[values: .hostLine]
    guard let host = hosts.first else {
      if version == .http11 { throw .noHost }
      return nil
    }
    guard hosts.count == 1 else { throw .severalHosts }
    guard host.isEmpty || Array(host.utf8)[...].isHost else { throw .malformedHost }
    return host
  }
}

extension ArraySlice<UInt8> {
  /// Whether this is a host with an optional port: a name, an IPv4 address, or an IPv6 address in
  /// brackets. Neither user names nor lists.
  var isHost: Bool {
    let host: ArraySlice<UInt8>
    let rest: ArraySlice<UInt8>
    if first == UInt8(ascii: "[") {
      guard let end = firstIndex(of: UInt8(ascii: "]")) else { return false }
      host = self[(startIndex + 1)..<end]
      rest = self[(end + 1)...]
      guard host.allSatisfy({ $0.hexadecimalValue != nil || $0.isOne(of: ":.") }) else {
        return false
      }
    } else {
      let end = firstIndex(of: .colon) ?? endIndex
      host = self[..<end]
      rest = self[end...]
      // A comma is allowed by the letter of RFC 3986; here it can only be a list of hosts.
      guard host.isURIText(allowing: ""), !host.contains(UInt8(ascii: ",")) else { return false }
    }
    guard !host.isEmpty else { return false }
    guard let colon = rest.first else { return true }
    let port = rest.dropFirst()
    return colon == .colon && port.count <= 5 && port.allSatisfy(\.isDigit)
  }
}
