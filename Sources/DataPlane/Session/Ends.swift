// SPDX-License-Identifier: Apache-2.0
// Beginnings, deadlines and ends of sessions. Deadlines are looked at lazily: moving bytes writes
// down the time and touches no timer; the timer, when it fires, finds out whether the deadline has
// moved and goes back to sleep.

import Reactor

/// How long an endpoint whose queue is full is left alone before it is asked again.
private let busyEndpointPauseNanoseconds: UInt64 = 10_000_000
/// From this age on a session counts as one that lasts.
private let lastingNanoseconds: UInt64 = 1_000_000_000

extension Worker {
  // MARK: Beginning

  /// Serves a connection that is counted already. Owns the descriptor from here on.
  func startSession(
    _ descriptor: CInt, _ client: PeerAddress, _ listener: ListenerIndex, _ route: RouteIndex
  ) {
    let generation = nextGeneration()
    let index = sessions.insert(
      Session(
        socket: SocketHandle(owning: descriptor), generation: generation, client: client,
        listener: listener, route: route, now: now))
    guard let session = sessions.find(index) else { preconditionFailure("inserted above") }
    // A new connection has room; only its input must be told.
    session.pointee.downstream.flags =
      client == .unix ? [.writable, .readsInPieces] : .writable
    do throws(Errno) {
      try poller.add(
        descriptor, for: .stream, token: Token(.downstream, index: index, generation: generation))
    } catch {
      session.pointee.noteEnd(.proxy, .outOfMemory, errno: error)
      return resetSession(index, session)
    }
    coalescing.noteExchange(at: now)
    serve(index, session)
  }

  // MARK: Deadlines

  /// When the session must be looked at, `distantFuture` if never.
  private func deadline(of session: borrowing Session, at index: Int) -> Instant {
    let route = topology.routes[session.route.position]
    switch session.state {
    case .waiting:
      return waitDeadline(of: session)
    case .connecting:
      // Between two attempts.
      guard session.isCountedAtEndpoint else { return session.stepStartedAt }
      let deadline = attemptDeadline(of: session)
      return session.upstream.socket.isOpen
        ? deadline : min(deadline, now.advanced(by: busyEndpointPauseNanoseconds))
    case .relaying:
      var deadline = Instant.distantFuture
      if let idle = route.idleNanoseconds { deadline = session.lastMovedAt.advanced(by: idle) }
      if session.isHalfClosed, let halfClose = route.halfCloseNanoseconds {
        deadline = min(deadline, session.lastMovedAt.advanced(by: halfClose))
      }
      if !session.upstream.flags.contains(.hasLastingOptions) {
        deadline = min(deadline, lastingMoment(of: session))
      }
      deadline = min(deadline, closingMoment(of: session, at: index))
      return min(deadline, nextRecordAt(session, route))
    case .flushing:
      return now
    }
  }

  /// When a session is one that lasts, and its connection to the endpoint gets the options for that.
  private func lastingMoment(of session: borrowing Session) -> Instant {
    session.connectedAt.advanced(by: lastingNanoseconds)
  }

  private func setLastingOptions(_ session: UnsafeMutablePointer<Session>) {
    let number = topology.routes[session.pointee.route.position].upstream
    session.pointee.upstream.flags.insert(.hasLastingOptions)
    guard session.pointee.upstream.socket.isOpen else { return }
    kernel.setLastingOptions(
      session.pointee.upstream.socket.rawValue, topology.upstreams[number].options)
  }

  private func nextRecordAt(_ session: borrowing Session, _ route: Route) -> Instant {
    guard let every = route.recordEveryNanoseconds else { return .distantFuture }
    let (offset, overflow) = every.multipliedReportingOverflow(
      by: UInt64(session.recordMomentsPassed) + 1)
    return overflow ? .distantFuture : session.acceptedAt.advanced(by: offset)
  }

  /// Makes sure that the session is looked at by its deadline.
  func armTimer(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    let deadline = deadline(of: session.pointee, at: index)
    if deadline == .distantFuture { return timers.cancel(index) }
    timers.schedule(index, at: deadline)
  }

  /// The timer of a session has fired: its deadline has come, or has moved on.
  func deadlinePassed(_ index: Int) {
    guard let session = sessions.find(index) else {
      preconditionFailure("a timer outlived its session")
    }
    session.pointee.checkInvariants()
    if session.pointee.state == .flushing { return continueFlush(index, session) }
    if session.pointee.state == .connecting, !session.pointee.upstream.socket.isOpen {
      return continueConnecting(index, session)
    }
    guard deadline(of: session.pointee, at: index) <= now else { return armTimer(index, session) }
    if session.pointee.state == .connecting { return continueConnecting(index, session) }
    if session.pointee.state == .waiting { return endWait(index, session) }
    guard now < closingMoment(of: session.pointee, at: index) else {
      session.pointee.noteEnd(.proxy, .endpointDown)
      return resetSession(index, session)
    }

    if !session.pointee.upstream.flags.contains(.hasLastingOptions),
      lastingMoment(of: session.pointee) <= now
    {
      setLastingOptions(session)
    }
    let route = topology.routes[session.pointee.route.position]
    let still = now.nanoseconds(since: session.pointee.lastMovedAt)
    if session.pointee.isHalfClosed, let halfClose = route.halfCloseNanoseconds,
      still >= halfClose
    {
      session.pointee.noteEnd(.proxy, .halfCloseTimeout)
      return resetSession(index, session)
    }
    if let idle = route.idleNanoseconds, still >= idle {
      session.pointee.noteEnd(.proxy, .idle)
      return resetSession(index, session)
    }
    if let every = route.recordEveryNanoseconds, nextRecordAt(session.pointee, route) <= now {
      // One record, however many moments have passed: they would all say the same.
      let passed = now.nanoseconds(since: session.pointee.acceptedAt) / every
      session.pointee.recordMomentsPassed = UInt32(clamping: passed)
      record(session, .progress)
    }
    armTimer(index, session)
  }

  // MARK: Ending

  /// Resets every session.
  func resetAll(_ reason: SessionEnd.Reason) {
    var next = sessions.nextIndex(from: 0)
    while let index = next {
      if let session = sessions.find(index) {
        session.pointee.noteEnd(.proxy, reason)
        resetSession(index, session)
      }
      next = sessions.nextIndex(from: index + 1)
    }
  }

  /// Resets both sides, in any state, and ends the session. The cause must be noted.
  func resetSession(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    relay.abandon(&session.pointee.upload)
    relay.abandon(&session.pointee.download)
    if session.pointee.downstream.socket.isOpen {
      kernel.reset(session.pointee.downstream.socket.take())
    }
    if session.pointee.upstream.socket.isOpen {
      kernel.reset(session.pointee.upstream.socket.take())
    }
    endSession(index, session)
  }

  /// Frees a session whose sockets are closed, and tells of it.
  func endSession(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    assert(session.pointee.end != nil)
    assert(session.pointee.upload.keptBytes == 0)
    assert(session.pointee.download.keptBytes == 0)
    leaveRoom(session)
    endRetrying(session)
    releaseEndpoint(session)
    // Between two attempts it was counted nowhere, but others have left the place to it.
    if session.pointee.state == .connecting {
      releaseNext(upstreamState(of: session.pointee), because: .perhaps)
    }
    let (listener, route) = (session.pointee.listener, session.pointee.route)
    if topology.routes[route.position].access.end { record(session, .end) }
    if let end = session.pointee.end {
      let nanoseconds = now.nanoseconds(since: session.pointee.acceptedAt)
      tallies.routes[route.position].noteEnd(end, after: nanoseconds)
    }
    // From here on the slots of its endpoint, route and listener may go to others: whoever gives
    // them away first lets the records be read that were written before.
    forgetEndpoint(session)
    timers.cancel(index)
    _ = sessions.remove(index)
    tallies.listeners[listener.position].noteLeft()
    uncount(topology.routes[route.position].state)
    counters[.ended] += 1
    if pause.reason != nil { resumeAccepting() }
    reportIfFinished()
  }

  /// Writes down what there is to tell of a session now.
  func record(_ session: UnsafeMutablePointer<Session>, _ moment: SessionRecord.Moment) {
    guard let records else { return }
    let connect = session.pointee.connectNanoseconds
    records.write(
      SessionRecord(
        moment: moment, at: now, listener: session.pointee.listener,
        route: session.pointee.route, client: session.pointee.client,
        endpoint: session.pointee.endpoint, uploadBytes: session.pointee.upload.bytes,
        downloadBytes: session.pointee.download.bytes,
        connectNanoseconds: connect == .max ? nil : connect,
        durationNanoseconds: now.nanoseconds(since: session.pointee.acceptedAt),
        attempts: session.pointee.attempts, end: session.pointee.end))
  }
}
