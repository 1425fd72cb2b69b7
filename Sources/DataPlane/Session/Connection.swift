// SPDX-License-Identifier: Apache-2.0
// One of the two sockets of a session: its descriptor, what epoll has reported, and what is known of its ends.
// Sending and receiving end separately: a connection that cannot be written to may still hold bytes that its
// peer sent before. Whether those bytes are a complete stream is a separate question (`isCut`).

import Reactor

/// A connection's descriptor in four bytes, and the duty to close it through the kernel that made it.
/// Dropping an open one is a leak and traps.
struct SocketHandle: ~Copyable {
  private(set) var rawValue: CInt

  static var none: SocketHandle { SocketHandle(owning: -1) }

  init(owning rawValue: CInt) {
    self.rawValue = rawValue
  }

  var isOpen: Bool { rawValue >= 0 }

  /// Gives up the descriptor; the caller closes it.
  mutating func take() -> CInt {
    precondition(isOpen, "a socket was taken twice")
    defer { rawValue = -1 }
    return rawValue
  }

  deinit {
    precondition(rawValue < 0, "a socket was dropped without being closed")
  }
}

/// One of the two connections of a session.
struct Connection: ~Copyable {
  struct Flags: OptionSet {
    let rawValue: UInt16
    /// A read may return bytes, an end or an error.
    static let readable = Flags(rawValue: 1 << 0)
    /// A write may succeed.
    static let writable = Flags(rawValue: 1 << 1)
    /// The peer will send no more, or the connection has failed: an end waits behind what can still
    /// be read.
    static let hungUp = Flags(rawValue: 1 << 2)
    /// It has failed or the peer has closed it: nothing can be sent, and nothing new will arrive. What
    /// had arrived before can still be read.
    static let gone = Flags(rawValue: 1 << 3)
    /// An end of stream that is read from now on is not orderly.
    static let isCut = Flags(rawValue: 1 << 4)
    /// The end of the stream was sent.
    static let isShut = Flags(rawValue: 1 << 5)
    /// A unix socket: closing it loses nothing that was written, and it has no resets.
    static let isUnix = Flags(rawValue: 1 << 6)
    /// A short read does not prove that there is no more to read: one stops at urgent data, and on
    /// unix sockets at a change of credentials.
    static let readsInPieces = Flags(rawValue: 1 << 7)
    /// All its options are set, also those that matter only to a connection that lasts.
    static let hasLastingOptions = Flags(rawValue: 1 << 8)
    /// Nagle's algorithm is on: a second small message would wait until the first is acknowledged. It is turned off
    /// before the second write.
    static let delaysSecond = Flags(rawValue: 1 << 9)
    /// The end of the peer's stream has arrived, though it may wait behind bytes that are not read yet.
    static let endArrived = Flags(rawValue: 1 << 10)

    /// What is known of a new unix connection.
    static let newUnix: Flags = [.isUnix, .readsInPieces, .hasLastingOptions]
  }

  var socket: SocketHandle
  /// The registration that events must match.
  var generation: UInt32 = 0
  /// The length of its send queue at the last look, in bytes; an end that was sent counts as one. If it is
  /// shorter at the next look, the peer has acknowledged something.
  var unacknowledgedBytes: UInt32 = 0
  var flags: Flags = []

  init(socket: consuming SocketHandle, generation: UInt32, flags: Flags = []) {
    self.socket = socket
    self.generation = generation
    self.flags = flags
  }

  /// Whether an event of `generation` is about this connection, and it is still open.
  func answers(to generation: UInt32) -> Bool {
    socket.isOpen && self.generation == generation
  }

  /// Adds what epoll reports. Only changes are reported, so flags are set here and cleared by the calls that
  /// find nothing more to do.
  ///
  /// An error is not taken from the socket here. Reading finds it behind the bytes that can still be read, and
  /// behind an orderly end that arrived before it (tcp_recvmsg in Linux). Taking it earlier would make a cut
  /// stream look complete.
  mutating func note(_ readiness: Readiness) {
    if !readiness.isDisjoint(with: [.readable, .readHangUp, .hangUp, .error]) {
      flags.insert(.readable)
    }
    // A write must find a hang-up or an error, too, instead of waiting for room for ever.
    if !readiness.isDisjoint(with: [.writable, .hangUp, .error]) { flags.insert(.writable) }
    if !readiness.isDisjoint(with: [.readHangUp, .hangUp, .error]) { flags.insert(.hungUp) }
    if readiness.contains(.urgent) { flags.insert(.readsInPieces) }
    // Without an error or a hang-up it is an end of stream that was announced.
    if readiness.contains(.readHangUp), readiness.isDisjoint(with: [.hangUp, .error]),
      !flags.contains(.gone)
    {
      flags.insert(.endArrived)
    }
    // After our own end a hang-up may only say that both have finished in order.
    if readiness.contains(.error)
      || readiness.contains(.hangUp) && (flags.contains(.isUnix) || !flags.contains(.isShut))
    {
      flags.insert(.gone)
    }
  }

  /// A call on the socket has failed with `errno`, which the socket no longer holds. The peer's stream is complete
  /// if its end had arrived before, which epoll may have reported; `EPIPE` on TCP says so, too (tcp_reset in
  /// Linux). When a unix peer closes, nothing that it wrote is lost, whatever the error.
  mutating func noteFailure(_ errno: Errno) {
    flags.formUnion([.gone, .hungUp, .readable])
    if errno != .brokenPipe, flags.isDisjoint(with: [.isUnix, .endArrived]) {
      flags.insert(.isCut)
    }
  }
}
