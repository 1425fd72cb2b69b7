// SPDX-License-Identifier: Apache-2.0
// A session: one accepted connection's life. It is plain data in a worker's slab, without a class,
// closure or task. So an idle session costs its own size and nothing else, and could be written down and
// continued by another process. Its states and transitions are in SessionMachine.swift.
//
// Fields are in the order of their use: those that each turn of relaying reads are in the first 128 bytes, two
// cache lines.

import Reactor

/// One accepted connection's life.
struct Session: ~Copyable {
  /// The diagram is in SessionMachine.swift.
  enum State: UInt8 {
    case inspecting, queued, connecting, securing, relaying, finishing
  }

  struct Flags: OptionSet {
    let rawValue: UInt16
    /// It is in the worker's list of sessions that go on in the next turn.
    static let awaitsTurn = Flags(rawValue: 1 << 0)
    /// The kernel had no memory for one of its transfers, which is tried again after a while.
    static let isStarved = Flags(rawValue: 1 << 1)
    /// The upstream's session count includes it.
    static let holdsUpstreamPlace = Flags(rawValue: 1 << 2)
    /// The endpoint's session count includes it.
    static let holdsEndpointPlace = Flags(rawValue: 1 << 3)
    /// The upstream's count of sessions past their first attempt includes it.
    static let isRetrying = Flags(rawValue: 1 << 4)
    /// The current attempt may use what is left of the time to connect, since no other attempt can follow it.
    static let isLastAttempt = Flags(rawValue: 1 << 5)
    /// The last attempt failed because of its source address.
    static let failedAtSource = Flags(rawValue: 1 << 6)
    /// The record of its start was written.
    static let hasStarted = Flags(rawValue: 1 << 7)
    /// The endpoint was the first one whose end was passed on.
    static let upstreamFinishedFirst = Flags(rawValue: 1 << 8)
    /// The first end was passed on.
    static let hasFirstFinish = Flags(rawValue: 1 << 9)
    /// It has waited in the queue of its upstream.
    static let hasWaited = Flags(rawValue: 1 << 10)
    /// Bytes were moved since the send queues were last looked at.
    static let hasMovedSinceLook = Flags(rawValue: 1 << 11)
    /// It has an entry in the queue of its upstream.
    static let isInQueue = Flags(rawValue: 1 << 12)
    /// It was counted among the sessions that have waited for a place, or for an endpoint.
    static let wasCountedAsQueued = Flags(rawValue: 1 << 13)
    static let wasCountedAsHeld = Flags(rawValue: 1 << 14)
  }

  // Each turn of relaying.

  var downstream: Connection
  var upstream: Connection
  var upload = Flow()
  var download = Flow()
  /// When a byte or an end last moved in either direction, or a receiver was last seen to have acknowledged
  /// something.
  var lastMovedAt: Instant
  let route: RouteIndex
  var state: State = .inspecting
  var flags: Flags = []

  // Connecting, waiting, and the record.

  /// The position of its upstream in `Topology.upstreams`.
  var upstreamPosition: UInt32
  let acceptedAt: Instant
  let client: PeerAddress
  /// When the connection to the endpoint was established; `distantFuture` while there is none.
  var connectedAt = Instant.distantFuture
  /// When the search for an endpoint began, which `connect` bounds.
  var searchBeganAt: Instant
  /// When the current attempt began; between two attempts, when the next one begins.
  var attemptBeganAt: Instant
  /// The bits of the endpoints that have failed this session (`Endpoint.triedBit`).
  var triedEndpoints: UInt64 = 0
  /// When it first began to wait in the queue; valid if it `hasWaited`.
  var waitBeganAt: Instant
  /// Its number in the order of arrival, once it has waited.
  var waitSequence: UInt32 = 0
  /// The ticket of its entry in the queue.
  var waitTicket: UInt32 = 0
  let listener: ListenerIndex
  /// How many intervals of its periodic records have passed.
  var recordMomentsPassed: UInt32 = 0
  /// The kernel's error of the last attempt that failed, 0 if none has.
  private var failureErrno: Int32 = 0
  /// The endpoint that is connected, being connected, or was tried last.
  private var endpointNumber: UInt32 = .max
  /// The first cause of its end, once there is one.
  var end: SessionEnd?
  /// How many attempts it has made, and how many since the search began.
  var attempts: UInt8 = 0
  var searchAttempts: UInt8 = 0
  /// What it waits for, or last waited for.
  var waitKind = WaitQueue.Kind.place

  init(
    socket: consuming SocketHandle, generation: UInt32, client: PeerAddress,
    listener: ListenerIndex, route: RouteIndex, upstreamPosition: Int, now: Instant
  ) {
    // A new connection has room; only its input must be reported.
    downstream = Connection(
      socket: socket, generation: generation,
      flags: client == .unix ? [.writable, .newUnix] : .writable)
    upstream = Connection(socket: .none, generation: 0)
    self.client = client
    self.listener = listener
    self.route = route
    self.upstreamPosition = UInt32(upstreamPosition)
    acceptedAt = now
    lastMovedAt = now
    searchBeganAt = now
    attemptBeganAt = now
    waitBeganAt = now
  }

  /// The endpoint that is connected, being connected, or was tried last.
  var endpoint: EndpointIndex? {
    get { endpointNumber == .max ? nil : EndpointIndex(Int(endpointNumber)) }
    set { endpointNumber = newValue?.rawValue ?? .max }
  }

  /// The error of the last attempt that has failed.
  var failure: SessionError? {
    get {
      guard failureErrno != 0 else { return nil }
      let errno = Errno(rawValue: failureErrno)
      return flags.contains(.failedAtSource)
        ? SessionError(binding: errno) : SessionError(connecting: errno)
    }
    set {
      failureErrno = newValue?.errno.rawValue ?? 0
      flags.remove(.failedAtSource)
      if newValue?.reason == .noSource { flags.insert(.failedAtSource) }
    }
  }

  var phase: SessionEnd.Phase {
    switch state {
    case .inspecting: .inspecting
    case .queued: .waiting
    case .connecting, .securing: .connecting
    case .finishing: .flushing
    case .relaying:
      switch (upload.hasFinished, download.hasFinished) {
      case (true, false): .downstreamFinished
      case (false, true): .upstreamFinished
      case (false, false), (true, true): .relaying
      }
    }
  }

  /// Whether at least one side can send no more, so that the half-close timeout applies; also when its
  /// end still waits behind bytes that the other side does not take.
  var isHalfClosed: Bool {
    @inline(__always)  // Not inlined, it is given a copy of the session.
    get {
      state == .relaying
        && (!upload.isOpen || !download.isOpen || downstream.flags.contains(.hungUp)
          || upstream.flags.contains(.hungUp))
    }
  }

  /// Notes why the session ends, unless an earlier cause is known. The kernel's error may be added later, when
  /// the socket that has failed has been read.
  mutating func noteEnd(
    _ origin: SessionEnd.Origin, _ reason: SessionEnd.Reason, errno: Errno? = nil,
    in phase: SessionEnd.Phase? = nil
  ) {
    if let known = end {
      guard known.origin == origin, known.reason == .reset, known.errno == 0, errno != nil else {
        return
      }
      end = SessionEnd(origin: origin, reason: reason, phase: known.phase, errno: errno)
    } else {
      end = SessionEnd(origin: origin, reason: reason, phase: phase ?? self.phase, errno: errno)
    }
  }

  /// Notes which flow has ended first.
  mutating func noteFinished(_ way: Way) {
    guard !flags.contains(.hasFirstFinish) else { return }
    flags.insert(.hasFirstFinish)
    if way == .download { flags.insert(.upstreamFinishedFirst) }
  }

  /// The side whose end was passed on first.
  var firstToFinish: SessionEnd.Origin {
    flags.contains(.upstreamFinishedFirst) ? .upstream : .downstream
  }

  func checkInvariants() {
    switch state {
    case .inspecting, .queued:
      assert(downstream.socket.isOpen)
      assert(!upstream.socket.isOpen)
      assert(!flags.contains(.holdsEndpointPlace))
      assert(!flags.contains(.isRetrying))
    case .connecting: assert(downstream.socket.isOpen)
    case .securing, .relaying:
      assert(downstream.socket.isOpen)
      assert(upstream.socket.isOpen)
      assert(flags.contains(.holdsEndpointPlace))
    case .finishing: assert(downstream.socket.isOpen || upstream.socket.isOpen)
    }
    if flags.contains(.holdsEndpointPlace) {
      assert(endpoint != nil)
      assert(flags.contains(.holdsUpstreamPlace))
    }
    if upload.isOver { assert(upload.pendingBytes == 0) }
    if download.isOver { assert(download.pendingBytes == 0) }
  }
}
