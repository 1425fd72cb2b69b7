// SPDX-License-Identifier: Apache-2.0
// Why a stream or a listener did not do what it was asked for.

import Addressing
import Reactor

/// What ended an operation of a stream or listener without its result.
public enum StreamError: Error, Hashable, Sendable {
  /// The task was cancelled, or its loop stopped.
  case cancelled
  /// The deadline of the wait has come.
  case deadlinePassed
  /// It was closed on this side, before or meanwhile; or, writing, its write half was finished.
  case closed
  /// The peer has finished before what was asked for was complete. What did arrive can still be read.
  case endOfStream
  /// More came than the bound of `read(through:max:)` or `readToEnd(max:)`. What did arrive can still
  /// be read.
  case tooLong
  /// The kernel's word, and what was being done: "connecting", "binding", "accepting", "reading",
  /// "writing", "closing".
  case failed(action: String, Errno)
}

extension StreamError: CustomStringConvertible {
  /// What happened, in words.
  public var description: String {
    switch self {
    case .cancelled: "cancelled"
    case .deadlinePassed: "the deadline has passed"
    case .closed: "closed"
    case .endOfStream: "the peer has finished too early"
    case .tooLong: "more than the bound allows"
    case .failed(let action, let errno): "\(action): \(errno)"
    }
  }
}

/// None of a host's addresses could be connected to.
public struct HostConnectError: Error, Sendable, CustomStringConvertible {
  /// An address, and why it could not be connected to.
  public struct Attempt: Sendable {
    /// Which address.
    public let address: SocketAddress
    /// Why not.
    public let error: StreamError
  }

  /// The name that was to be connected to.
  public let host: String
  /// The port.
  public let port: UInt16
  /// What was tried, in the order in which it failed.
  public let attempts: [Attempt]

  /// Each address and its failure, in one line.
  public var description: String {
    "cannot connect to \(host), port \(port): "
      + attempts.map { "\($0.address): \($0.error)" }.joined(separator: "; ")
  }
}
