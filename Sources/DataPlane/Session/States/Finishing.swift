// SPDX-License-Identifier: Apache-2.0
// Finishing: nothing more is relayed; what is left is delivered. Of each connection that is still open:
//
//   what came for it      │ what it gets
//   ──────────────────────┼──────────────────────────────────────────────────────────────────────────
//   a complete stream     │ the rest, the end of the stream; closed once all of it is acknowledged
//   a stream that was cut │ the rest; reset once all of it is acknowledged, so that it never looks complete
//   nothing any more      │ reset: it is gone itself
//
// What its peer goes on sending meanwhile is read and discarded: closing a socket with unread input makes the
// kernel send a reset and drop what is still to be delivered (tcp(7); RFC 2525, 2.17). (A reset with
// unsent bytes in the queue throws those away, too: SO_LINGER, socket(7).)
//
// The wait for acknowledgements ends when the receiver makes no progress for `flush_timeout`. A complete stream
// whose end is with the kernel is then closed all the same: the kernel goes on delivering.
//
// Events: entered, both connections, turn, deadline. Deadline: `flush_timeout` without progress; where only
// acknowledgements are waited for that no event reports, the next look. Ways out: end.

import Reactor

/// How often a send queue is looked at whose end no event reports: soon at first, then less and less often.
private let acknowledgementLookMin: UInt64 = 1_000_000
private let acknowledgementLookMax: UInt64 = 50_000_000

extension Worker {
  func finishing(_ event: SessionEvent, _ index: Int, _ session: inout Session) -> Next {
    switch event {
    case .entered: session.lastMovedAt = core.now
    case .downstream(let readiness): session.downstream.note(readiness)
    case .upstream(let readiness): session.upstream.note(readiness)
    case .turn: break
    case .deadline:
      noteProgress(&session)
      let still = core.now.nanoseconds(since: session.lastMovedAt)
      if still >= core.view.routes[session.route.position].flushNanoseconds {
        giveUpDelivering(&session, .upload)
        giveUpDelivering(&session, .download)
        session.noteEnd(.proxy, .flushTimeout)
        return over(&session)
      }
    case .granted, .failed, .unavailable: return .wait
    }
    session.flags.remove(.isStarved)
    deliver(index, &session, .upload)
    deliver(index, &session, .download)
    settle(&session, .upload)
    settle(&session, .download)
    guard session.downstream.socket.isOpen || session.upstream.socket.isOpen else {
      return over(&session)
    }
    return .rearm
  }

  /// Both connections are closed.
  private func over(_ session: inout Session) -> Next {
    let first = session.firstToFinish
    if session.end == nil {
      session.noteEnd(
        first, .finished, in: first == .downstream ? .downstreamFinished : .upstreamFinished)
      // A client that was served without a word: some protocols have none.
      if session.download.bytes == 0, session.upload.bytes > 0, first == .downstream,
        let endpoint = session.endpoint, !core.view.endpoints[endpoint.position].countsOnlyConnects
      {
        connector.noteServed(at: endpoint, since: session.connectedAt)
      }
    }
    return .end
  }

  // MARK: Delivering

  /// Moves what is left of a flow; what its source still sends to a destination that is gone is discarded.
  private func deliver(_ index: Int, _ session: inout Session, _ way: Way) {
    while true {
      let isGone =
        way == .upload
        ? session.upstream.flags.contains(.gone) || !session.upstream.socket.isOpen
        : session.downstream.flags.contains(.gone) || !session.downstream.socket.isOpen
      if isGone {
        noteGoneReceiver(&session, way)
        break
      }
      let before = session.upload.bytes &+ session.download.bytes
      let step = move(&session, way)
      if session.upload.bytes &+ session.download.bytes != before { session.lastMovedAt = core.now }
      switch step {
      case .waiting, .ended, .cut: break
      case .starved: session.flags.insert(.isStarved)
      case .budgetSpent: awaitTurn(index, &session)
      case .sourceFailed(let errno):
        let stage = way == .upload ? session.upload.stage : session.download.stage
        if stage == .cut { noteFailure(&session, way.source, errno) }
        continue
      case .destinationFailed(let errno):
        destinationFailed(&session, way, errno)
        continue
      }
      break
    }
    discard(index, &session, way)
  }

  /// Nothing can be delivered any more: what is pending is forgotten. An end that was sent stays so.
  private func noteGoneReceiver(_ session: inout Session, _ way: Way) {
    switch way {
    case .upload: relay.breakOff(&session.upload)
    case .download: relay.breakOff(&session.download)
    }
  }

  // MARK: Closing

  /// Closes the connection to which `way` leads once it has everything, and nothing is to be read from it
  /// any more.
  private func settle(_ session: inout Session, _ way: Way) {
    switch way {
    case .upload where session.upstream.socket.isOpen:
      let isLost = settle(&session.upstream, incoming: &session.upload, outgoing: &session.download)
      if isLost { session.noteEnd(.upstream, .reset) }
      if !session.upstream.socket.isOpen { connector.releasePlace(&session) }
    case .download where session.downstream.socket.isOpen:
      let isLost = settle(
        &session.downstream, incoming: &session.download, outgoing: &session.upload)
      if isLost { session.noteEnd(.downstream, .reset) }
    case .upload, .download: break
    }
  }

  /// The same, with the flow that leads to the connection and the one that comes from it. Returns whether it has
  /// failed with bytes unacknowledged.
  private func settle(
    _ connection: inout Connection, incoming: inout Flow, outgoing: inout Flow
  ) -> Bool {
    // What had arrived before it failed is still to be read.
    guard !outgoing.isOpen, incoming.pendingBytes == 0 else { return false }
    let isGone = connection.flags.contains(.gone)
    switch incoming.stage {
    case .open: return false
    case .broken:
      noteLost(&connection, &incoming)
      core.kernel.reset(connection.socket.take())
      return false
    case .cut, .ended, .passed: break
    }
    let isAcknowledged = isAcknowledged(&connection, incoming)
    if !isAcknowledged, isGone { noteLost(&connection, &incoming) }
    if isAcknowledged || isGone {
      if incoming.stage == .cut {
        core.kernel.reset(connection.socket.take())
      } else {
        closeInOrder(&connection, &outgoing)
      }
    } else if incoming.stage == .ended {
      core.kernel.shutdownWrite(connection.socket.rawValue)
      connection.flags.insert(.isShut)
      incoming.stage = .passed
    }
    return isGone && !isAcknowledged
  }

  /// Whether a connection's peer has acknowledged everything, an end that was sent included. What was written to
  /// a unix socket is with its peer.
  private func isAcknowledged(_ connection: inout Connection, _ flow: Flow) -> Bool {
    if connection.flags.contains(.isUnix) { return true }
    if flow.bytes == 0, !connection.flags.contains(.isShut) { return true }
    return core.kernel.sendQueueBytes(connection.socket.rawValue) == 0
  }

  /// What a connection's peer has not acknowledged does not count as delivered.
  private func noteLost(_ connection: inout Connection, _ flow: inout Flow) {
    flow.bytes &-= lostBytes(&connection, flow.bytes)
  }

  /// Closes a connection without a reset, as far as that is ours to decide.
  private func closeInOrder(_ connection: inout Connection, _ outgoing: inout Flow) {
    // The peer may still send. On a unix socket that must stop before the last of it is read, or the peer
    // would get an error behind what it has to read.
    if connection.flags.contains(.isUnix), !connection.flags.contains(.gone) {
      core.kernel.shutdownRead(connection.socket.rawValue)
      connection.flags.insert(.readable)
    }
    if outgoing.stage == .broken {
      _ = relay.discard(&outgoing, from: &connection, budget: core.settings.relay.turnBytes)
    }
    core.kernel.close(connection.socket.take())
  }

  private func giveUpDelivering(_ session: inout Session, _ way: Way) {
    switch way {
    case .upload where session.upload.stage == .passed && session.upstream.socket.isOpen:
      noteLost(&session.upstream, &session.upload)
      closeInOrder(&session.upstream, &session.download)
    case .download where session.download.stage == .passed && session.downstream.socket.isOpen:
      noteLost(&session.downstream, &session.download)
      closeInOrder(&session.downstream, &session.upload)
    // What is still open is reset at the end.
    case .upload, .download: break
    }
  }

  // MARK: Deadline

  func finishingDeadline(of session: inout Session) -> Instant {
    let view = core.view.routes[session.route.position]
    let look = nextLook(at: &session, within: view.flushNanoseconds)
    guard awaitsSilentAcknowledgement(&session) || session.flags.contains(.isStarved) else {
      return look
    }
    let waited = core.now.nanoseconds(since: session.lastMovedAt)
    return min(
      look,
      core.now.advanced(
        by: min(max(waited / 2, acknowledgementLookMin), acknowledgementLookMax)))
  }

  /// Whether a connection is to be reset once everything is acknowledged: no event reports that, as it does
  /// once an end was sent.
  private func awaitsSilentAcknowledgement(_ session: inout Session) -> Bool {
    session.upstream.socket.isOpen && session.upload.stage == .cut
      && session.upload.pendingBytes == 0
      || session.downstream.socket.isOpen && session.download.stage == .cut
        && session.download.pendingBytes == 0
  }
}
