// SPDX-License-Identifier: Apache-2.0
// What is told of a session: plain data that a worker writes in one copy, and that somebody else
// turns into text.

import Reactor

/// One line of the access log before it is one.
public struct SessionRecord: Sendable {
  /// Which moment of the session it tells of.
  public enum Moment: UInt8, Sendable {
    /// The upstream connection stands.
    case start
    /// The session goes on.
    case progress
    /// The session is over.
    case end
  }

  /// Which moment it tells of.
  public let moment: Moment
  /// When that was.
  public let at: Instant
  /// Where the client arrived.
  public let listener: ListenerIndex
  /// Through which route.
  public let route: RouteIndex
  /// The client.
  public let client: PeerAddress
  /// The endpoint that served it, or was tried last; `nil` if there was none.
  public let endpoint: EndpointIndex?
  /// Bytes from the client that the endpoint's connection took.
  public let uploadBytes: UInt64
  /// Bytes from the endpoint that the client's connection took.
  public let downloadBytes: UInt64
  /// From accepting to the connection; `nil` if there was none.
  public let connectNanoseconds: UInt64?
  /// Since the client was accepted.
  public let durationNanoseconds: UInt64
  /// How many endpoints were tried.
  public let attempts: UInt8
  /// How it ended; `nil` before the end.
  public let end: SessionEnd?
}
