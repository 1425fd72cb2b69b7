// SPDX-License-Identifier: Apache-2.0
// What an HTTP check asks, and which answers are good.

/// A request to an endpoint, and which answers are good. The request is sent on a connection of its
/// own, without a body, as HTTP/1.1.
public struct HTTPCheckPlan: Hashable, Sendable {
  /// A header field of the request (RFC 9110, section 5): a token, and text without line ends.
  public struct Header: Hashable, Sendable {
    /// The name, as it is sent.
    public var name: String
    /// The value, as it is sent.
    public var value: String

    /// Makes a header field.
    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  /// The method: a token.
  public var method: String
  /// The path and perhaps a query, beginning with `/`.
  public var path: String
  /// What the `Host` field says; `nil`: the endpoint's host name or address, with the port that is
  /// asked unless that is 80, and `localhost` for a unix socket.
  public var host: String?
  /// Further header fields, in the order of the file; no name twice, none that the request has
  /// anyway or that is about the connection.
  public var headers: [Header]
  /// The status codes that are good, 200 to 599. Never empty.
  public var statuses: [ClosedRange<Int>]
  /// What the body of an answer must hold; `nil`: it is not read.
  public var body: String?
  /// How much of an answer is read: its head must fit, and `body` is looked for within it.
  public var answerBytesMax: Int

  /// Makes a request; the defaults are those of the configuration.
  public init(
    method: String = "GET", path: String = "/", host: String? = nil, headers: [Header] = [],
    statuses: [ClosedRange<Int>] = [200...399], body: String? = nil,
    answerBytesMax: Int = 64 << 10
  ) {
    self.method = method
    self.path = path
    self.host = host
    self.headers = headers
    self.statuses = statuses
    self.body = body
    self.answerBytesMax = answerBytesMax
  }
}
