// SPDX-License-Identifier: Apache-2.0
// How sessions end. Each way is a case here, with the side that ended the session and the phase, so that a line
// of the access log says what an operator would otherwise have to guess from two letters.

import Reactor

/// Why a session is over: what happened, which side caused it, and what was being done at that moment.
public struct SessionEnd: Hashable, Sendable {
  /// The side that ended a session.
  public enum Origin: UInt8, Sendable, CaseIterable {
    /// The client.
    case downstream
    /// The endpoint.
    case upstream
    /// This program, by a rule of its configuration or because of a shortage.
    case proxy
  }

  /// What happened.
  public enum Reason: UInt8, Sendable, CaseIterable {
    /// Both sides finished sending, and everything was acknowledged; or the client finished in silence
    /// (`drop_silent_clients`), or its end ended the session (`avoid_time_wait`).
    case finished
    /// The connection was reset.
    case reset
    /// The peer did not answer any more (keepalive or `user_timeout`).
    case timedOut
    /// The network said that the peer cannot be reached.
    case unreachable
    /// No byte moved for the route's `idle` time.
    case idle
    /// One side had finished and no byte moved for the route's `half_close_timeout`.
    case halfCloseTimeout
    /// Both sides had finished, and a receiver made no progress for the route's `flush_timeout`.
    case flushTimeout
    /// The endpoint refused the connection, and no other could be tried.
    case connectRefused
    /// No connection was established within the time of an attempt, or of all attempts.
    case connectTimedOut
    /// Connecting failed in another way.
    case connectFailed
    /// No endpoint could be picked: each one is at its `max_sessions`, has weight 0, or is down, and at
    /// least one is not down.
    case noEndpoint
    /// Every endpoint that could serve is down.
    case allDown
    /// Fewer endpoints are up than the upstream's `quorum`, but at least one is.
    case noQuorum
    /// Every endpoint was full, and so was the upstream's `queue`.
    case queueFull
    /// No endpoint had room for the `queue`'s time.
    case queueTimedOut
    /// No endpoint was available, and as many sessions waited as the upstream's `hold` allows.
    case holdFull
    /// No endpoint was available for the `hold`'s time.
    case holdTimedOut
    /// Too many sessions of the upstream were past their first attempt (`retry.budget`).
    case retryBudget
    /// The endpoint went down, and the upstream closes the sessions of such endpoints (`on_down`).
    case endpointDown
    /// This process or machine has no free descriptor.
    case outOfDescriptors
    /// No free port is left towards the endpoint.
    case outOfPorts
    /// An address of the upstream's `source` is not this machine's.
    case noSource
    /// The kernel has no memory for sockets.
    case outOfMemory
    /// The time to drain was over.
    case drainDeadline
    /// A second signal ended the program at once.
    case killed
    /// A socket failed in a way that has no case of its own; see `errno`.
    case failed
  }

  /// What was being done.
  public enum Phase: UInt8, Sendable, CaseIterable {
    /// Nothing yet: the client was gone before an endpoint was selected.
    case inspecting
    /// Waiting for an endpoint to connect to.
    case waiting
    /// Connecting to an endpoint.
    case connecting
    /// Both sides could still send.
    case relaying
    /// The client had finished sending, the endpoint not.
    case downstreamFinished
    /// The endpoint had finished sending, the client not.
    case upstreamFinished
    /// One side was gone, or both had finished; what was left was being delivered.
    case flushing
  }

  /// The side that ended it.
  public var origin: Origin
  /// What happened.
  public var reason: Reason
  /// What was being done.
  public var phase: Phase
  /// The kernel's error, 0 if there is none.
  public var errno: Int32

  /// Puts the parts together.
  public init(origin: Origin, reason: Reason, phase: Phase, errno: Errno? = nil) {
    self.origin = origin
    self.reason = reason
    self.phase = phase
    self.errno = errno?.rawValue ?? 0
  }
}

/// Why something failed, and on which side: decides whether another endpoint is tried and whether an endpoint
/// is blamed.
struct SessionError: Error, Equatable {
  /// The side that caused it. Never the endpoint's for a shortage of this machine.
  let origin: SessionEnd.Origin
  /// The reason in the record.
  let reason: SessionEnd.Reason
  /// Whether another endpoint may be tried.
  let isRetryable: Bool
  let errno: Errno

  /// Whether this process or machine has run out of something that other sessions need, too.
  var isShortage: Bool { reason == .outOfDescriptors || reason == .outOfMemory }

  /// An attempt to connect that failed.
  init(connecting errno: Errno) {
    self.errno = errno
    switch errno {
    case .tooManyOpenFiles, .tooManyOpenFilesInSystem:
      (origin, reason, isRetryable) = (.proxy, .outOfDescriptors, false)
    case .noMemory, .noBufferSpace, .noSpace:
      // ENOSPC: the user's epoll watches are used up (fs.epoll.max_user_watches).
      (origin, reason, isRetryable) = (.proxy, .outOfMemory, false)
    case .addressNotAvailable, .addressInUse:
      // Ports run out per destination: towards another endpoint there may be some.
      (origin, reason, isRetryable) = (.proxy, .outOfPorts, true)
    case .connectionRefused, .noSuchFileOrDirectory:
      // ENOENT: the file of a unix socket is gone with its server.
      (origin, reason, isRetryable) = (.upstream, .connectRefused, true)
    case .timedOut:
      (origin, reason, isRetryable) = (.upstream, .connectTimedOut, true)
    case .connectionReset, .brokenPipe:
      (origin, reason, isRetryable) = (.upstream, .reset, true)
    case .networkUnreachable, .noRouteToHost, .hostIsDown, .networkDown:
      (origin, reason, isRetryable) = (.upstream, .unreachable, true)
    default:
      (origin, reason, isRetryable) = (.upstream, .connectFailed, true)
    }
  }

  /// An attempt whose source address could not be bound.
  init(binding errno: Errno) {
    let other = SessionError(connecting: errno)
    self.errno = errno
    origin = other.origin
    reason = errno == .addressNotAvailable ? .noSource : other.reason
    isRetryable = other.isRetryable
  }

  /// An established connection that failed.
  init(relaying errno: Errno, on side: SessionEnd.Origin) {
    self.errno = errno
    isRetryable = false
    if errno == .noMemory || errno == .noBufferSpace {
      (origin, reason) = (.proxy, .outOfMemory)
      return
    }
    origin = side
    switch errno {
    case .connectionReset, .brokenPipe: reason = .reset
    case .timedOut: reason = .timedOut
    case .networkUnreachable, .noRouteToHost, .hostIsDown, .networkDown: reason = .unreachable
    default: reason = .failed
    }
  }
}
