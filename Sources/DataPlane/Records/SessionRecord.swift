// SPDX-License-Identifier: Apache-2.0
// A record of a session: plain data that a worker writes in one copy, and that the access log's thread turns
// into text.

import Reactor

/// One line of the access log before it is one.
public struct SessionRecord: Sendable {
  /// The moment of a session that a record describes.
  public enum Moment: UInt8, Sendable {
    /// The upstream connection is established.
    case start
    /// The session goes on.
    case progress
    /// The session is over.
    case end
  }

  /// The moment that it describes.
  public let moment: Moment
  /// The time of that moment.
  public let at: Instant
  /// The listener that accepted the client.
  public let listener: ListenerIndex
  /// The route.
  public let route: RouteIndex
  /// The client.
  public let client: PeerAddress
  /// The endpoint that served it, or was tried last; `nil` if there was none.
  public let endpoint: EndpointIndex?
  /// Bytes from the client that the endpoint's connection has taken; at the end, those that were acknowledged.
  public let uploadBytes: UInt64
  /// Bytes from the endpoint that the client's connection has taken; at the end, those that were acknowledged.
  public let downloadBytes: UInt64
  /// From accepting to the connection; `nil` if there was none.
  public let connectNanoseconds: UInt64?
  /// The time since the client was accepted.
  public let durationNanoseconds: UInt64
  /// How many endpoints were tried.
  public let attempts: UInt8
  /// How it ended; `nil` before the end.
  public let end: SessionEnd?
}
