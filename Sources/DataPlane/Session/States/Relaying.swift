// SPDX-License-Identifier: Apache-2.0
// Relaying: bytes are moved both ways, and the first end is passed on. An orderly end is passed on in order,
// behind the bytes that came before it; the other flow goes on. Once a connection is gone, or both flows have
// ended, there is nothing more to relay, and the session finishes.
//
// A connection that is gone is read to its own end, and not written to: a write would take the error from the
// socket, and a read could not tell any more whether the stream is complete (`Connection.note`).
//
// Events: entered, both connections, turn, deadline. Deadline: `idle` and `half_close_timeout` without progress,
// the reset of sessions of an endpoint that went down, the next periodic record, options of connections that
// last. Ways out: finish; connect, when the endpoint has reset the connection before a byte had moved; end.

import Reactor

/// The age at which a connection gets the options that matter only to connections that last.
private let lastingNanoseconds: UInt64 = 1_000_000_000
/// Send queues are looked at for the first time after this part of a timeout: what is left then is what
/// later looks compare with.
private let firstLookShare: UInt64 = 16
/// How long a transfer rests for which the kernel had no memory.
private let starvedNanoseconds: UInt64 = 20_000_000

extension Worker {
  func relaying(_ event: SessionEvent, _ index: Int, _ session: inout Session) -> Next {
    let wasHalfClosed = session.isHalfClosed
    switch event {
    case .entered: establish(&session)
    case .downstream(let readiness): session.downstream.note(readiness)
    case .upstream(let readiness): session.upstream.note(readiness)
    case .turn: break
    case .deadline:
      let next = relayingDeadlinePassed(index, &session)
      guard case .wait = next, session.flags.contains(.isStarved) else { return next }
    case .granted, .failed, .unavailable, .rerouted: return .wait
    }
    return relayBytes(index, &session, wasHalfClosed: wasHalfClosed)
  }

  private func establish(_ session: inout Session) {
    connector.endRetrying(&session)
    session.upstream.flags.insert(.writable)
    session.connectedAt = core.now
    session.lastMovedAt = core.now
    connector.noteConnected(&session)
    // Once per session, even if a retry connects it again.
    guard !session.flags.contains(.hasStarted) else { return }
    session.flags.insert(.hasStarted)
    let view = core.view.routes[session.route.position]
    view.counters.noteConnected(after: core.now.nanoseconds(since: session.acceptedAt))
    if view.access.start { record(&session, .start) }
  }

  // MARK: Moving bytes

  /// Moves what can be moved both ways.
  private func relayBytes(
    _ index: Int, _ session: inout Session, wasHalfClosed: Bool
  ) -> Next {
    let (upload, download) = (session.upload.progress, session.download.progress)
    let (uploaded, downloaded) = (session.upload.bytes, session.download.bytes)
    session.flags.remove(.isStarved)
    var upstreamErrno = Errno.connectionReset
    if !session.upstream.flags.contains(.gone) {
      moveOn(index, &session, .upload, &upstreamErrno)
    }
    if !session.downstream.flags.contains(.gone) {
      moveOn(index, &session, .download, &upstreamErrno)
      // Writing has found that the client is gone: what it had sent must still be read.
      if session.downstream.flags.contains(.gone), !session.upstream.flags.contains(.gone) {
        moveOn(index, &session, .upload, &upstreamErrno)
      }
    }
    var mustLook = false
    if session.upload.progress != upload || session.download.progress != download {
      session.lastMovedAt = core.now
      mustLook = session.flags.insert(.hasMovedSinceLook).inserted
    }
    noteMoved(&session, session.upload.bytes &- uploaded, session.download.bytes &- downloaded)

    if session.upstream.flags.contains(.gone) {
      if let next = retry(&session, upstreamErrno) { return next }
      noteSourceGone(&session, .download, upstreamErrno)
      relay.breakOff(&session.upload)
    }
    if session.downstream.flags.contains(.gone) {
      noteSourceGone(&session, .upload, .connectionReset)
      relay.breakOff(&session.download)
    }
    if session.upstream.flags.union(session.downstream.flags).contains(.gone)
      || session.upload.isDelivered && session.download.isDelivered
    {
      return .finish
    }
    if endByReset(&session) { return .finish }
    // The end of a stream is something that moves, too: from now on the half-close timeout counts,
    // however long the session was still before.
    if session.isHalfClosed, !wasHalfClosed {
      session.lastMovedAt = core.now
      return .rearm
    }
    return mustLook || session.flags.contains(.isStarved) ? .rearm : .wait
  }

  /// Moves one flow as far as possible for now, and notes its end and failures.
  private func moveOn(
    _ index: Int, _ session: inout Session, _ way: Way, _ upstreamErrno: inout Errno
  ) {
    while true {
      switch move(&session, way) {
      case .waiting, .cut: break
      case .budgetSpent: awaitTurn(index, &session)
      case .starved: session.flags.insert(.isStarved)
      case .ended: passEndOn(&session, way)
      case .sourceFailed(let errno):
        if way == .download { upstreamErrno = errno }
        // A unix peer that has closed has ended its stream in order.
        if (way == .upload ? session.upload : session.download).stage == .ended { continue }
        if way == .upload || !isUntouchedByUpstream(&session) {
          noteFailure(&session, way.source, errno)
        }
      case .destinationFailed(let errno):
        destinationFailed(&session, way, errno)
        if way == .upload { upstreamErrno = errno }
      }
      break
    }
    discard(index, &session, way)
  }

  /// Moves what can be moved one way, and counts it for the route and the endpoint.
  func move(_ session: inout Session, _ way: Way) -> FlowStep {
    let budget = relay.coalescing.turnBytes(of: core.settings.relay.turnBytes, at: core.now)
    let step: FlowStep
    let moved: UInt64
    switch way {
    case .upload:
      let before = session.upload.bytes
      step = relay.move(
        &session.upload, from: &session.downstream, to: &session.upstream, budget: budget)
      moved = session.upload.bytes &- before
    case .download:
      let before = session.download.bytes
      step = relay.move(
        &session.download, from: &session.upstream, to: &session.downstream, budget: budget)
      moved = session.download.bytes &- before
      if before == 0, moved > 0 {
        let nanoseconds = core.now.nanoseconds(since: session.lastMovedAt)
        connector.noteFirstBytes(of: &session, after: nanoseconds)
      }
    }
    if moved > 0, let endpoint = session.endpoint {
      core.view.routes[session.route.position].counters.noteMoved(moved, way)
      core.view.endpoints[endpoint.position].counters.noteMoved(moved, way)
    }
    return step
  }

  private func noteMoved(_ session: inout Session, _ uploaded: UInt64, _ downloaded: UInt64) {
    guard uploaded | downloaded != 0 else { return }
    // The buffers of unix sockets are too small to gather anything.
    let mayGather = session.downstream.flags.union(session.upstream.flags)
      .isDisjoint(with: .readsInPieces)
    relay.coalescing.note(
      bytes: uploaded, isBulk: mayGather && session.upload.isBulk, at: core.now)
    relay.coalescing.note(
      bytes: downloaded, isBulk: mayGather && session.download.isBulk, at: core.now)
  }

  /// Schedules a session that has spent its budget for the next turn.
  func awaitTurn(_ index: Int, _ session: inout Session) {
    guard !session.flags.contains(.awaitsTurn) else { return }
    session.flags.insert(.awaitsTurn)
    sessions.awaitTurn(index, session.downstream)
  }

  /// Reads and discards what the source of a broken flow still sends, so that the source is not blocked and its
  /// end is found.
  func discard(_ index: Int, _ session: inout Session, _ way: Way) {
    let budget = core.settings.relay.turnBytes
    let step: FlowStep
    switch way {
    case .upload where session.upload.stage == .broken && session.downstream.socket.isOpen:
      step = relay.discard(&session.upload, from: &session.downstream, budget: budget)
    case .download where session.download.stage == .broken && session.upstream.socket.isOpen:
      step = relay.discard(&session.download, from: &session.upstream, budget: budget)
    case .upload, .download: return
    }
    if step == .budgetSpent { awaitTurn(index, &session) }
    if step == .starved { session.flags.insert(.isStarved) }
  }

  // MARK: Ends

  /// Sends the end of a stream to its destination. If the other flow has ended, too, closing the connection does
  /// that.
  private func passEndOn(_ session: inout Session, _ way: Way) {
    session.noteFinished(way)
    switch way {
    case .upload where !session.download.isOver:
      if avoidsTimeWait(&session) { return }
      shut(&session, .upload)
    case .download where !session.upload.isOver:
      shut(&session, .download)
    case .upload, .download: break
    }
  }

  /// Sends the end of a flow to its destination.
  func shut(_ session: inout Session, _ way: Way) {
    switch way {
    case .upload: relay.sendEnd(of: &session.upload, to: &session.upstream)
    case .download: relay.sendEnd(of: &session.download, to: &session.downstream)
    }
  }

  func avoidsTimeWait(_ session: inout Session) -> Bool {
    core.view.upstreams[Int(session.upstreamPosition)].avoidsTimeWait
      && !session.upstream.flags.contains(.isUnix)
      && !session.upstream.flags.contains(.hungUp)
  }

  /// Whether the client's end ends the session: both connections are reset once everything is acknowledged,
  /// so that no port towards the endpoint is left waiting (TIME_WAIT, RFC 9293, 3.6.1).
  private func endByReset(_ session: inout Session) -> Bool {
    guard session.upload.stage == .ended, session.upload.pendingBytes == 0,
      session.download.isOpen, avoidsTimeWait(&session)
    else { return false }
    session.noteEnd(.downstream, .finished, in: .downstreamFinished)
    session.upload.stage = .cut
    session.download.stage = .cut
    return true
  }

  /// Writing has failed, which says nothing about the bytes that the same peer has sent.
  func destinationFailed(_ session: inout Session, _ way: Way, _ errno: Errno) {
    switch way {
    case .upload:
      // A unix peer may have closed only its reading end; a hang-up reports a full close.
      if session.upstream.flags.contains(.isUnix) {
        session.upstream.flags.insert(.readable)
        relay.breakOff(&session.upload)
      } else {
        session.upstream.noteFailure(errno)
        // Another endpoint may serve the session.
        if session.state == .relaying, isUntouchedByUpstream(&session) { return }
      }
    case .download:
      if session.downstream.flags.contains(.isUnix) {
        session.downstream.flags.insert(.readable)
        relay.breakOff(&session.download)
      } else {
        session.downstream.noteFailure(errno)
      }
    }
    noteFailure(&session, way.destination, errno)
  }

  func noteFailure(_ session: inout Session, _ side: SessionEnd.Origin, _ errno: Errno) {
    let error = SessionError(relaying: errno, on: side)
    session.noteEnd(error.origin, error.reason, errno: errno)
  }

  /// The source of a flow is gone: notes why, as far as that is known.
  private func noteSourceGone(_ session: inout Session, _ way: Way, _ errno: Errno) {
    let (flow, opposite, flags) =
      way == .upload
      ? (session.upload, session.download, session.downstream.flags)
      : (session.download, session.upload, session.upstream.flags)
    if flow.stage == .cut {
      noteFailure(&session, way.source, errno)
    } else if flags.contains(.isUnix) {
      // It has closed, which ends its stream in order, though not all of it may be read yet.
      session.noteFinished(way)
    } else if !(flow.hasFinished && opposite.hasFinished) {
      // A reset, as far as is known before everything is read.
      session.noteEnd(way.source, .reset)
    }
  }

  // MARK: An endpoint that has not served

  /// Whether another endpoint may still serve this session: no byte has been written to the current one or has
  /// come from it.
  private func isUntouchedByUpstream(_ session: inout Session) -> Bool {
    session.upload.bytes == 0 && session.download.isUntouched
  }

  /// An endpoint that resets a connection before a byte has moved either way has not served: the session goes
  /// on to the next one. Not if the client has finished without a byte: it may be a port scan or the probe of a
  /// load balancer, which endpoints reset.
  private func retry(_ session: inout Session, _ errno: Errno) -> Next? {
    // Where the client is gone, too, nothing was read from the endpoint: its receive queue says whether it has
    // sent something.
    guard session.download.isUntouched,
      session.download.stage == .cut
        || session.upstream.flags.contains(.isCut)
          && core.kernel.receiveQueueBytes(session.upstream.socket.rawValue) == 0
    else { return nil }
    let error = SessionError(connecting: errno)
    let isSilent = isClientSilent(&session)
    if isUntouchedByUpstream(&session), !isSilent, error.reason == .reset,
      core.now < connector.connectDeadline(of: &session)
    {
      session.download.stage = .open
      session.connectedAt = .distantFuture
      return .connectAfter(error)
    }
    noteFailure(&session, .upstream, errno)
    if !isSilent, session.end?.origin == .upstream, let endpoint = session.endpoint {
      connector.noteFailed(at: endpoint, isConnecting: false)
    }
    return nil
  }

  /// Whether the client has finished or failed without a byte.
  func isClientSilent(_ session: inout Session) -> Bool {
    guard session.upload.isUntouched else { return false }
    if !session.upload.isOpen { return true }
    // Its end may have come in the same moment, and not have been reported yet.
    switch core.kernel.peekEnd(session.downstream.socket.rawValue) {
    case .nothing, .bytes: return false
    case .endOfStream: return true
    case .failed(let errno):
      session.downstream.noteFailure(errno)
      return true
    }
  }

  // MARK: Deadlines

  func relayingDeadline(of session: inout Session, at index: Int) -> Instant {
    let view = core.view.routes[session.route.position]
    var deadline = Instant.distantFuture
    if let idle = view.idleNanoseconds { deadline = nextLook(at: &session, within: idle) }
    if session.isHalfClosed, let halfClose = view.halfCloseNanoseconds {
      deadline = min(deadline, nextLook(at: &session, within: halfClose))
    }
    if session.flags.contains(.isStarved) {
      deadline = min(deadline, core.now.advanced(by: starvedNanoseconds))
    }
    if !session.upstream.flags.contains(.hasLastingOptions) {
      deadline = min(deadline, session.connectedAt.advanced(by: lastingNanoseconds))
    }
    deadline = min(deadline, closingMoment(of: &session, at: index))
    return min(deadline, nextRecordAt(&session, view))
  }

  /// When to look at the send queues next. Without progress that is at half of `nanoseconds` and at their end.
  func nextLook(at session: inout Session, within nanoseconds: UInt64) -> Instant {
    if session.flags.contains(.hasMovedSinceLook) {
      return session.lastMovedAt.advanced(by: nanoseconds / firstLookShare)
    }
    let halfway = session.lastMovedAt.advanced(by: nanoseconds / 2)
    return halfway > core.now ? halfway : session.lastMovedAt.advanced(by: nanoseconds)
  }

  /// If a receiver has acknowledged something since the last look, this counts as progress of the session.
  func noteProgress(_ session: inout Session) {
    let hasMoved = session.flags.contains(.hasMovedSinceLook)
    session.flags.remove(.hasMovedSinceLook)
    let isDownstream = hasAcknowledged(&session.downstream, hasMoved)
    let isUpstream = hasAcknowledged(&session.upstream, hasMoved)
    if isDownstream || isUpstream { session.lastMovedAt = core.now }
  }

  private func hasAcknowledged(_ connection: inout Connection, _ hasMoved: Bool) -> Bool {
    guard connection.socket.isOpen, !connection.flags.contains(.gone) else { return false }
    let before = connection.unacknowledgedBytes
    let queued = core.kernel.sendQueueBytes(connection.socket.rawValue)
    connection.unacknowledgedBytes = UInt32(clamping: queued)
    return hasMoved || connection.unacknowledgedBytes < before
  }

  private func nextRecordAt(_ session: inout Session, _ view: RouteView) -> Instant {
    guard let every = view.recordEveryNanoseconds else { return .distantFuture }
    let (offset, overflow) = every.multipliedReportingOverflow(
      by: UInt64(session.recordMomentsPassed) + 1)
    return overflow ? .distantFuture : session.acceptedAt.advanced(by: offset)
  }

  private func relayingDeadlinePassed(_ index: Int, _ session: inout Session) -> Next {
    guard core.now < closingMoment(of: &session, at: index) else {
      session.noteEnd(.proxy, .endpointDown)
      return .end
    }
    let view = core.view.routes[session.route.position]
    if !session.upstream.flags.contains(.hasLastingOptions),
      session.connectedAt.advanced(by: lastingNanoseconds) <= core.now
    {
      session.upstream.flags.insert(.hasLastingOptions)
      core.kernel.setLastingOptions(
        session.upstream.socket.rawValue,
        core.view.upstreams[Int(session.upstreamPosition)].options)
    }
    if view.idleNanoseconds != nil || view.halfCloseNanoseconds != nil && session.isHalfClosed {
      noteProgress(&session)
    }
    let still = core.now.nanoseconds(since: session.lastMovedAt)
    if session.isHalfClosed, let halfClose = view.halfCloseNanoseconds, still >= halfClose {
      session.noteEnd(.proxy, .halfCloseTimeout)
      return .end
    }
    if let idle = view.idleNanoseconds, still >= idle {
      session.noteEnd(.proxy, .idle)
      return .end
    }
    if let every = view.recordEveryNanoseconds, nextRecordAt(&session, view) <= core.now {
      // One record, even if several are due: they would be equal.
      let passed = core.now.nanoseconds(since: session.acceptedAt) / every
      session.recordMomentsPassed = UInt32(clamping: passed)
      record(&session, .progress)
    }
    return .wait
  }
}
