// SPDX-License-Identifier: Apache-2.0
// Relaying: what a session does with the answers of `Relay.pump`, and how an end on one side becomes
// an end on the other.
//
// An orderly end is passed on in order, behind the bytes that came before it. A failure is passed on
// as a failure: what the failed side can no longer receive is forgotten, what it had sent before is
// still delivered, and then the other side is reset, after its kernel has had everything
// acknowledged or `linger` is over, so that a stream that was cut short never looks complete.
// (A reset with unsent bytes in the queue would throw those away: tcp(7), SO_LINGER in socket(7).)

import Reactor

/// One of a session's two ways.
enum Way {
  case upload, download

  var opposite: Way { self == .upload ? .download : .upload }
  var source: SessionEnd.Origin { self == .upload ? .downstream : .upstream }
}

extension Worker {
  /// An event of a session, whatever its state.
  func receive(
    _ readiness: Readiness, _ token: Token, _ session: UnsafeMutablePointer<Session>
  ) {
    switch session.pointee.state {
    case .waiting:
      receiveWaiting(readiness, token, session)
    case .connecting:
      receiveConnecting(readiness, token, session)
    case .relaying:
      let way: Way = token.kind == .downstream ? .upload : .download
      let hasEnded = !readiness.isDisjoint(with: [.readHangUp, .hangUp, .error])
      let wasHalfClosed = hasEnded && session.pointee.isHalfClosed
      note(readiness, way, session)
      if hasEnded, !wasHalfClosed { startHalfClose(token.index, session) }
      if readiness.contains(.error), let errno = takeError(way, session) {
        guard sideFailed(token.index, session, way, errno) else { return }
      }
      relayBytes(token.index, session)
    case .flushing:
      // A side that has failed needs no more patience. A hang-up alone may only say that both ends
      // have finished, and the last bytes are still under way.
      if readiness.contains(.error) {
        resetSession(token.index, session)
      } else if readiness.contains(.hangUp) {
        continueFlush(token.index, session)
      }
    }
  }

  private func note(_ readiness: Readiness, _ way: Way, _ session: UnsafeMutablePointer<Session>) {
    switch way {
    case .upload: session.pointee.downstream.note(readiness)
    case .download: session.pointee.upstream.note(readiness)
    }
  }

  /// The error of a way's source, `nil` if there is none or it is known.
  private func takeError(_ way: Way, _ session: UnsafeMutablePointer<Session>) -> Errno? {
    switch way {
    case .upload:
      session.pointee.downstream.flags.contains(.failed)
        ? nil : kernel.takeError(session.pointee.downstream.socket.rawValue)
    case .download:
      session.pointee.upstream.flags.contains(.failed)
        ? nil : kernel.takeError(session.pointee.upstream.socket.rawValue)
    }
  }

  /// Moves what can be moved both ways.
  func relayBytes(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    assert(session.pointee.state == .relaying)
    let (uploadBefore, downloadBefore) = (
      session.pointee.upload.bytes, session.pointee.download.bytes
    )
    let wasHalfClosed = session.pointee.isHalfClosed
    guard pump(index, session, .upload), pump(index, session, .download) else { return }
    let uploaded = session.pointee.upload.bytes &- uploadBefore
    let downloaded = session.pointee.download.bytes &- downloadBefore
    if uploaded | downloaded != 0 {
      session.pointee.lastMovedAt = now
      if downloadBefore == 0 { noteFirstBytes(session, uploaded: uploaded) }
    }
    // The buffers of unix sockets are too small to gather anything.
    let mayGather = session.pointee.downstream.flags.union(session.pointee.upstream.flags)
      .isDisjoint(with: .readsInPieces)
    coalescing.note(bytes: uploaded, isBulk: mayGather && session.pointee.upload.isBulk, at: now)
    coalescing.note(
      bytes: downloaded, isBulk: mayGather && session.pointee.download.isBulk, at: now)
    if session.pointee.isHalfClosed, !wasHalfClosed { startHalfClose(index, session) }
    noteFinished(index, session)
  }

  /// The end of a stream is something that moves, too: from now on the half-close timeout counts,
  /// however long the session was still before.
  private func startHalfClose(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    session.pointee.lastMovedAt = now
    armTimer(index, session)
  }

  /// Moves what can be moved one way. Returns whether the session is still being relayed.
  private func pump(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ way: Way
  ) -> Bool {
    while true {
      switch pumpAndCount(session, way) {
      case .waiting:
        return true
      case .finished:
        passEndOn(session, way)
        return true
      case .budgetSpent:
        enqueue(index, session)
        return true
      case .exhausted:
        beginFlush(index, session, of: way)
        return false
      case .sourceFailed(let errno):
        guard sideFailed(index, session, way, errno) else { return false }
      case .destinationFailed(let errno):
        guard sideFailed(index, session, way.opposite, errno) else { return false }
        // The failed side may have sent something that can still be delivered.
        return way == .upload ? true : pump(index, session, .upload)
      }
    }
  }

  /// Moves what can be moved one way, and counts it for the route and the endpoint.
  private func pumpAndCount(_ session: UnsafeMutablePointer<Session>, _ way: Way) -> PumpEnd {
    let (before, after): (UInt64, UInt64)
    let end: PumpEnd
    let budget = coalescing.turnBytes(of: settings.relay.turnBytes, at: now)
    switch way {
    case .upload:
      before = session.pointee.upload.bytes
      end = relay.pump(
        &session.pointee.upload, from: &session.pointee.downstream, to: &session.pointee.upstream,
        budget: budget)
      after = session.pointee.upload.bytes
    case .download:
      before = session.pointee.download.bytes
      end = relay.pump(
        &session.pointee.download, from: &session.pointee.upstream,
        to: &session.pointee.downstream, budget: budget)
      after = session.pointee.download.bytes
    }
    if after != before, let endpoint = session.pointee.endpoint {
      tallies.routes[session.pointee.route.position].noteMoved(after &- before, way)
      tallies.endpoints[endpoint.position].noteMoved(after &- before, way)
      if way == .download, before == 0 { noteServed(session, at: endpoint) }
    }
    return end
  }

  /// Tells a way's destination that its stream has ended. If the other way has ended, too, closing
  /// will do that.
  private func passEndOn(_ session: UnsafeMutablePointer<Session>, _ way: Way) {
    switch way {
    case .upload where session.pointee.download.stage != .finished:
      kernel.shutdownWrite(session.pointee.upstream.socket.rawValue)
    case .download where session.pointee.upload.stage != .finished:
      kernel.shutdownWrite(session.pointee.downstream.socket.rawValue)
    case .upload, .download: break
    }
  }

  private func enqueue(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    guard !session.pointee.isQueued else { return }
    session.pointee.isQueued = true
    queuedInTurn.append(
      Token(.downstream, index: index, generation: session.pointee.downstream.generation))
  }

  /// Notes which ends have been passed on, and closes the session when both have.
  private func noteFinished(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    let isUploadOver = session.pointee.upload.stage == .finished
    let isDownloadOver = session.pointee.download.stage == .finished
    guard isUploadOver || isDownloadOver else { return }
    if session.pointee.firstToFinish == nil {
      session.pointee.firstToFinish = isUploadOver ? .downstream : .upstream
    }
    guard isUploadOver, isDownloadOver else { return }
    let first = session.pointee.firstToFinish ?? .downstream
    if session.pointee.end == nil {
      session.pointee.end = SessionEnd(
        origin: first, reason: .finished,
        phase: first == .downstream ? .downstreamFinished : .upstreamFinished)
      noteFinishedInSilence(session)
    }
    kernel.close(session.pointee.downstream.socket.take())
    kernel.close(session.pointee.upstream.socket.take())
    endSession(index, session)
  }

  /// The source of `way` has failed. Returns whether the session is still being relayed: then the
  /// rest of what that side had sent is to be pumped.
  func sideFailed(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ way: Way, _ errno: Errno
  ) -> Bool {
    // Looking for what the endpoint may have said moves the session on.
    let phase = session.pointee.phase
    if way == .download, retry(index, session, errno) { return false }
    let error = SessionError(relaying: errno, on: way.source)
    session.pointee.noteEnd(error.origin, error.reason, errno: errno, in: phase)
    let rest: Direction.Stage
    switch way {
    case .upload:
      session.pointee.downstream.flags.formUnion([.failed, .readable])
      relay.abandon(&session.pointee.download)
      rest = session.pointee.upload.stage
    case .download:
      session.pointee.upstream.flags.formUnion([.failed, .readable])
      relay.abandon(&session.pointee.upload)
      // What it had said may take long to deliver; the endpoint is free for others.
      releaseEndpoint(session)
      rest = session.pointee.download.stage
    }
    switch rest {
    case .open, .ended:
      // What is left to deliver has the half-close timeout to be taken.
      session.pointee.lastMovedAt = now
      armTimer(index, session)
      return true
    case .finished:
      beginFlush(index, session, of: way)
      return false
    case .abandoned:
      resetSession(index, session)
      return false
    }
  }

  /// An endpoint that resets a connection before a byte has gone either way has not served: the
  /// session may go on to the next one. Returns whether it does, or has ended trying.
  private func retry(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ errno: Errno
  ) -> Bool {
    let failure = SessionError(connecting: errno)
    guard failure.reason == .reset, session.pointee.isUntouchedByUpstream else { return false }
    guard now < connectDeadline(of: session.pointee) else { return false }
    // It may have said something before it broke, which is then the client's to know.
    session.pointee.upstream.flags.formUnion([.failed, .readable])
    let rest = pumpAndCount(session, .download)
    guard rest == .exhausted, session.pointee.download.bytes == 0 else { return false }
    session.pointee.download.stage = .open
    // An end that was passed on to nobody is passed on anew.
    if session.pointee.upload.stage == .finished {
      session.pointee.upload.stage = .ended
      session.pointee.firstToFinish = nil
    }
    session.pointee.connectNanoseconds = .max
    attemptFailed(index, session, errno)
    return true
  }

  // MARK: Flushing

  /// All that the source of `way` had sent is with the other side's kernel. Waits there until it is
  /// acknowledged, then resets.
  private func beginFlush(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, of way: Way
  ) {
    if way == .download { noteBrokenInSilence(session) }
    relay.abandon(&session.pointee.upload)
    relay.abandon(&session.pointee.download)
    switch way {
    case .upload: kernel.reset(session.pointee.downstream.socket.take())
    case .download: kernel.reset(session.pointee.upstream.socket.take())
    }
    session.pointee.state = .flushing
    session.pointee.stepStartedAt = now
    continueFlush(index, session)
  }

  /// Resets the side that is left once it has everything, or when the time for that is over.
  func continueFlush(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    session.pointee.checkInvariants()
    let descriptor =
      session.pointee.downstream.socket.isOpen
      ? session.pointee.downstream.socket.rawValue : session.pointee.upstream.socket.rawValue
    let waited = now.nanoseconds(since: session.pointee.stepStartedAt)
    let linger = topology.routes[session.pointee.route.position].flushNanoseconds
    guard kernel.sendQueueBytes(descriptor) > 0, waited < linger else {
      return resetSession(index, session)
    }
    // No event tells of acknowledgements: look again, less and less often.
    let pause = min(max(waited / 2, 1_000_000), 50_000_000, linger - waited)
    timers.schedule(index, at: now.advanced(by: pause))
  }
}
