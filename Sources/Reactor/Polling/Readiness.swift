// SPDX-License-Identifier: Apache-2.0
// Interest and readiness: the event bits of epoll_ctl(2), named for what they mean to a stream
// socket.

import CLinux

/// What a registration waits for.
public struct Interest: Hashable, Sendable {
  /// The bits of `epoll_event.events`.
  public let rawValue: UInt32

  /// Both directions of a stream socket, told once per change (edge-triggered). Registered once,
  /// never changed: reading and writing go on until the kernel says that it would block.
  public static let stream = Interest(
    rawValue: CLINUX_EPOLLIN | CLINUX_EPOLLPRI | CLINUX_EPOLLOUT | CLINUX_EPOLLRDHUP
      | CLINUX_EPOLLET)

  /// A listening socket that several loops share. Level-triggered, because accepting stops at a
  /// bound, and an edge would then never come again; exclusive, so that a connection wakes one loop
  /// and not all.
  public static let sharedListener = Interest(rawValue: CLINUX_EPOLLIN | CLINUX_EPOLLEXCLUSIVE)

  /// Readable, told as long as it is so (level-triggered).
  public static let readable = Interest(rawValue: CLINUX_EPOLLIN)

  init(rawValue: UInt32) {
    self.rawValue = rawValue
  }
}

/// What the kernel reports of a descriptor.
public struct Readiness: OptionSet, Hashable, Sendable {
  /// The bits of `epoll_event.events`.
  public let rawValue: UInt32

  /// Takes bits that the kernel handed back.
  @inlinable
  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// There is something to read, or an end or an error to be found by reading.
  @inlinable public static var readable: Readiness { Readiness(rawValue: 0x001) }
  /// Urgent data has arrived (tcp(7)); reading stops short of it.
  @inlinable public static var urgent: Readiness { Readiness(rawValue: 0x002) }
  /// There is room to write.
  @inlinable public static var writable: Readiness { Readiness(rawValue: 0x004) }
  /// The socket has failed; `SO_ERROR` or the next call tells how.
  @inlinable public static var error: Readiness { Readiness(rawValue: 0x008) }
  /// Both directions are closed.
  @inlinable public static var hangUp: Readiness { Readiness(rawValue: 0x010) }
  /// The peer has finished sending. What it sent before may still be unread.
  @inlinable public static var readHangUp: Readiness { Readiness(rawValue: 0x2000) }
}
