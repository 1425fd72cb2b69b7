// SPDX-License-Identifier: Apache-2.0
// A session: one accepted connection's life. It is plain data in a worker's slab, about two hundred
// bytes of descriptors, flags, counters and times, without a class, closure or task. So an idle
// session costs its own size and nothing else, and could be written down and taken up by another
// process.
//
//            full, or none available          accept
//              ┌─────────────────────┐           │
//              ▼                     │           ▼     refused, timed out, reset: the next endpoint
//           waiting ───────────▶ connecting ◀────────┐
//              │     released    │   │  └────────────┘
//              │                 │   │
//         too  │       ┌─────────┘   │ connected      one side fails: the other
//         long │       │ no          ▼                gets what is still to come
//              │       │ endpoint  relaying ────────────────────▶ flushing
//              │       │             │                              │
//              │       │             │ both ends passed on          │ acknowledged, or
//              ▼       ▼             ▼                              ▼ `linger` is over
//            reset   reset         closed                         reset
//
// Every end that this program causes (idle, drain, kill) is a reset of both sides from any state.

import Reactor

/// A connection's descriptor in four bytes, and the duty to close it through the kernel it came
/// from. Dropping an open one is a leak and traps.
struct SocketHandle: ~Copyable {
  private(set) var rawValue: CInt

  static var none: SocketHandle { SocketHandle(owning: -1) }

  init(owning rawValue: CInt) {
    self.rawValue = rawValue
  }

  var isOpen: Bool { rawValue >= 0 }

  /// Gives the descriptor up; the caller closes it.
  mutating func take() -> CInt {
    precondition(isOpen, "a socket was taken twice")
    defer { rawValue = -1 }
    return rawValue
  }

  deinit {
    precondition(rawValue < 0, "a socket was dropped without being closed")
  }
}

/// One of the two connections of a session, as epoll has described it.
struct Side: ~Copyable {
  struct Flags: OptionSet {
    let rawValue: UInt8
    /// Reading may find something.
    static let readable = Flags(rawValue: 1)
    /// Writing may find room.
    static let writable = Flags(rawValue: 2)
    /// The peer will send no more, or the connection has failed: an end waits behind what can still
    /// be read.
    static let hungUp = Flags(rawValue: 4)
    /// It has failed: what it says from now on is no orderly end.
    static let failed = Flags(rawValue: 8)
    /// A short read does not prove that there is no more to read: one stops at urgent data, and on
    /// unix sockets at a change of credentials.
    static let readsInPieces = Flags(rawValue: 16)
    /// It has all the options that it is to have: those, too, that only a connection needs that lasts.
    static let hasLastingOptions = Flags(rawValue: 32)
    /// A second small message would wait until the first is acknowledged (Nagle's algorithm): that is to
    /// be turned off before it is sent.
    static let delaysSecond = Flags(rawValue: 64)
  }

  var socket: SocketHandle
  /// The registration that events must match.
  var generation: UInt32 = 0
  var flags: Flags = []

  init(socket: consuming SocketHandle, generation: UInt32) {
    self.socket = socket
    self.generation = generation
  }

  /// Whether an event of `generation` is about this connection, and it is still open.
  func answers(to generation: UInt32) -> Bool {
    socket.isOpen && self.generation == generation
  }

  /// Remembers what epoll reports. A report says what is true at that moment, and only changes are
  /// reported, so flags are added here and taken away by the calls that find them exhausted.
  mutating func note(_ readiness: Readiness) {
    if !readiness.isDisjoint(with: [.readable, .readHangUp, .hangUp, .error]) {
      flags.insert(.readable)
    }
    // A hang-up or an error must be found by writing, too, instead of waiting for room for ever.
    if !readiness.isDisjoint(with: [.writable, .hangUp, .error]) { flags.insert(.writable) }
    if !readiness.isDisjoint(with: [.readHangUp, .hangUp, .error]) { flags.insert(.hungUp) }
    if readiness.contains(.urgent) { flags.insert(.readsInPieces) }
  }
}

/// One accepted connection's life.
struct Session: ~Copyable {
  /// The diagram is at the head of this file.
  enum State: UInt8 {
    case waiting, connecting, relaying, flushing
  }

  /// What a session remembers of its stay in the waiting room of its upstream.
  struct Wait {
    /// When it began to wait for what it waits for, in milliseconds after it was accepted, later by what it
    /// has waited for something else in between; `.max`: it never has.
    var beganMilliseconds: UInt32 = .max
    /// For how long it has waited for the other one of both.
    private(set) var otherMilliseconds: UInt32 = 0
    /// Its place in the order of arrival, once it has been there.
    var sequence: UInt32 = 0
    /// The room's name for it while it waits.
    var ticket: UInt32 = 0
    /// What it waits for, or has waited for last.
    var kind = WaitingRoom.Kind.queue

    var hasBegun: Bool { beganMilliseconds != .max }

    /// From `milliseconds` on it waits for something else: each kind has a clock, which goes on where it
    /// stood. Returns whether it had never waited for that.
    mutating func change(to kind: WaitingRoom.Kind, at milliseconds: UInt32) -> Bool {
      assert(hasBegun && kind != self.kind)
      self.kind = kind
      let spent = milliseconds - min(milliseconds, beganMilliseconds)
      let before = otherMilliseconds
      // Whoever was turned back within the same millisecond has waited all the same.
      otherMilliseconds = max(1, spent)
      beganMilliseconds = milliseconds - min(milliseconds, before)
      return before == 0
    }
  }

  /// What a session remembers of its search for an endpoint.
  struct Search {
    /// When the search began whose time is `connect`, in milliseconds after the session was accepted.
    var beganMilliseconds: UInt32 = 0
    /// The kernel's word about the last attempt, 0 if none has failed.
    private var errno: Int32 = 0
    /// Whether that was about the source address.
    private var isAboutSource = false
    /// How many attempts it has made.
    var attempts: UInt8 = 0
    /// Whether the upstream counts it among those that are past their first attempt.
    var isRetry = false
    /// Whether the session was let out of the waiting room and still counts as ahead of all there.
    var isAdmitted = false
    /// Whether a failed attempt has left a place that those who wait have not been told of.
    var hasLeftPlace = false

    init(beganMilliseconds: UInt32 = 0, isAdmitted: Bool = false) {
      self.beganMilliseconds = beganMilliseconds
      self.isAdmitted = isAdmitted
    }

    /// What became of the last attempt that has failed.
    var failure: SessionError? {
      get {
        guard errno != 0 else { return nil }
        let errno = Errno(rawValue: errno)
        return isAboutSource ? SessionError(binding: errno) : SessionError(connecting: errno)
      }
      set {
        errno = newValue?.errno.rawValue ?? 0
        isAboutSource = newValue?.reason == .noSource
      }
    }
  }

  var downstream: Side
  var upstream: Side
  /// From the client to the endpoint.
  var upload = Direction()
  /// From the endpoint to the client.
  var download = Direction()

  let client: PeerAddress
  let acceptedAt: Instant
  /// When the current attempt to connect, or the current flush, began; between two attempts, when the
  /// next one shall; while bytes move, when an answer began to be waited for (a clock of `peak_ewma`).
  var stepStartedAt: Instant
  /// When a byte, an end or a failure last came through in either direction.
  var lastMovedAt: Instant
  /// From accepting to the connection, in nanoseconds; `.max` while there is none.
  var connectNanoseconds: UInt64 = .max
  /// The bits of the endpoints that have failed this session (`Endpoint.triedBit`).
  var triedEndpoints: UInt64 = 0

  let listener: ListenerIndex
  let route: RouteIndex
  /// The endpoint that is connected, being connected, or was tried last.
  var endpoint: EndpointIndex?
  /// Whether that endpoint's session count includes this session.
  var isCountedAtEndpoint = false
  /// How many moments of periodic records have passed.
  var recordMomentsPassed: UInt32 = 0
  /// Of all searches together.
  var attempts: UInt8 = 0
  var search = Search()
  var wait = Wait()
  var state: State = .connecting
  /// Whether the record of its start was written.
  var hasStarted = false
  /// Whether the session waits in the worker's queue for its next turn.
  var isQueued = false
  /// The side whose end was passed on first.
  var firstToFinish: SessionEnd.Origin?
  /// The first cause of the end, once there is one.
  var end: SessionEnd?

  init(
    socket: consuming SocketHandle, generation: UInt32, client: PeerAddress,
    listener: ListenerIndex, route: RouteIndex, now: Instant
  ) {
    downstream = Side(socket: socket, generation: generation)
    upstream = Side(socket: .none, generation: 0)
    self.client = client
    self.listener = listener
    self.route = route
    acceptedAt = now
    stepStartedAt = now
    lastMovedAt = now
  }

  var phase: SessionEnd.Phase {
    switch state {
    case .waiting: .waiting
    case .connecting: .connecting
    case .flushing: .flushing
    case .relaying:
      if !upload.isOpen, download.isOpen {
        .downstreamFinished
      } else if !download.isOpen, upload.isOpen {
        .upstreamFinished
      } else {
        .relaying
      }
    }
  }

  /// When the connection to the endpoint stood, which it does or has done.
  var connectedAt: Instant {
    assert(connectNanoseconds != .max)
    return acceptedAt.advanced(by: connectNanoseconds)
  }

  /// Whether at least one side can send no more, so that the half-close timeout counts; also when
  /// that end still waits behind bytes that the other side does not take.
  @inline(__always)  // Not inlined, it is given a copy of the session.
  var isHalfClosed: Bool {
    state == .relaying
      && (!upload.isOpen || !download.isOpen || downstream.flags.contains(.hungUp)
        || upstream.flags.contains(.hungUp))
  }

  /// Whether another endpoint may still serve this session: not one byte has been written to the
  /// current one or come from it.
  var isUntouchedByUpstream: Bool {
    upload.bytes == 0 && download.bytes == 0 && download.keptBytes == 0 && download.isOpen
  }

  /// A moment of this session from its milliseconds.
  func moment(_ milliseconds: UInt32) -> Instant {
    acceptedAt.advanced(by: UInt64(milliseconds) * 1_000_000)
  }

  /// How many whole milliseconds of this session have passed.
  func milliseconds(at now: Instant) -> UInt32 {
    UInt32(clamping: min(now.nanoseconds(since: acceptedAt) / 1_000_000, UInt64(UInt32.max) - 1))
  }

  /// Notes why the session ends, unless an earlier cause is known.
  mutating func noteEnd(
    _ origin: SessionEnd.Origin, _ reason: SessionEnd.Reason, errno: Errno? = nil,
    in phase: SessionEnd.Phase? = nil
  ) {
    if end == nil {
      end = SessionEnd(
        origin: origin, reason: reason, phase: phase ?? self.phase, errno: errno)
    }
  }

  func checkInvariants() {
    switch state {
    case .waiting:
      assert(downstream.socket.isOpen)
      assert(!upstream.socket.isOpen)
      assert(!isCountedAtEndpoint)
      assert(!search.isRetry)
      assert(wait.hasBegun)
    case .connecting: assert(downstream.socket.isOpen)
    case .relaying:
      assert(downstream.socket.isOpen)
      assert(upstream.socket.isOpen)
      assert(isCountedAtEndpoint != upstream.flags.contains(.failed))
    case .flushing: assert(downstream.socket.isOpen != upstream.socket.isOpen)
    }
    if isCountedAtEndpoint { assert(endpoint != nil) }
    if upload.stage == .finished { assert(upload.keptBytes == 0) }
    if download.stage == .finished { assert(download.keptBytes == 0) }
  }
}
