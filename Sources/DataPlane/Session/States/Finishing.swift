// SPDX-License-Identifier: Apache-2.0
// Finishing: nothing more is relayed; what is left is delivered. For each connection that is still open:
//
//   the flow to it is     │ what it gets
//   ──────────────────────┼──────────────────────────────────────────────────────────────────────────
//   a complete stream     │ the rest and the end of the stream; closed once all bytes are acknowledged, and the
//                         │ end, too, if its peer may still send
//   a stream that was cut │ the rest; reset once all of it is acknowledged, so that it never looks complete
//   broken                │ reset: nothing can be sent to it
//
// What its peer goes on sending meanwhile is read and discarded: closing a socket with unread input makes the
// kernel send a reset and drop the bytes that are still to be delivered (tcp(7); RFC 2525, 2.17). (A reset with
// unsent bytes in the queue drops those, too: SO_LINGER, socket(7).)
//
// The wait for acknowledgements ends when the receiver makes no progress for `flush_timeout`. If the kernel has
// all of a complete stream and its end, the connection is then closed in order: the kernel goes on delivering.
//
// Events: entered, both connections, turn, deadline. Deadline: `flush_timeout` without progress; while the session
// waits for acknowledgements that no event reports, the next look. Ways out: end.

import Reactor

/// The interval between looks at a send queue when no event reports that it is empty: short at first, then longer.
private let acknowledgementLookMin: UInt64 = 1_000_000
private let acknowledgementLookMax: UInt64 = 50_000_000

extension Worker {
  func finishing(_ event: SessionEvent, _ index: Int, _ session: inout Session) -> Next {
    switch event {
    case .entered:
      session.lastMovedAt = core.now
      session.flags.insert(.hasMovedSinceLook)
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
    case .granted, .failed, .unavailable, .rerouted: return .wait
    }
    session.flags.remove(.isStarved)
    deliver(index, &session, .upload)
    deliver(index, &session, .download)
    settle(&session, .upload)
    settle(&session, .download)
    guard session.downstream.socket.isOpen || session.upstream.socket.isOpen else {
      return over(&session)
    }
    // What is left now is what later looks compare with.
    if case .entered = event { noteProgress(&session) }
    return .rearm
  }

  /// Both connections are closed.
  private func over(_ session: inout Session) -> Next {
    let first = session.firstToFinish
    if session.end == nil {
      session.noteEnd(
        first, .finished, in: first == .downstream ? .downstreamFinished : .upstreamFinished)
      // The client was served without an answer: some protocols have none.
      if session.download.bytes == 0, session.upload.bytes > 0, first == .downstream,
        let endpoint = session.endpoint, !core.view.endpoints[endpoint.position].countsOnlyConnects
      {
        connector.noteServed(at: endpoint, since: session.connectedAt)
      }
    }
    return .end
  }

  // MARK: Delivering

  /// Moves what is left of a flow; if the destination is gone, what the source still sends is discarded.
  private func deliver(_ index: Int, _ session: inout Session, _ way: Way) {
    while true {
      let isGone =
        way == .upload
        ? session.upstream.flags.contains(.gone) || !session.upstream.socket.isOpen
        : session.downstream.flags.contains(.gone) || !session.downstream.socket.isOpen
      if isGone {
        // An end that was sent stays so.
        if way == .upload {
          relay.breakOff(&session.upload)
        } else {
          relay.breakOff(&session.download)
        }
        break
      }
      let before = session.upload.progress &+ session.download.progress
      let step = move(&session, way)
      if session.upload.progress &+ session.download.progress != before {
        session.lastMovedAt = core.now
        session.flags.insert(.hasMovedSinceLook)
      }
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

  // MARK: Closing

  /// Closes the connection to which `way` leads once it has everything, and nothing more has to be read from it.
  private func settle(_ session: inout Session, _ way: Way) {
    switch way {
    case .upload where session.upstream.socket.isOpen:
      // The client is gone, so the endpoint may be reset once it has everything.
      if session.upload.stage == .ended, session.upload.pendingBytes == 0,
        session.download.stage == .broken, avoidsTimeWait(&session)
      {
        session.upload.stage = .cut
      }
      let hasLost = closeIfSettled(
        &session.upstream, to: &session.upload, from: &session.download)
      if hasLost { session.noteEnd(.upstream, .reset) }
      if !session.upstream.socket.isOpen { connector.releasePlace(&session) }
    case .download where session.downstream.socket.isOpen:
      let hasLost = closeIfSettled(
        &session.downstream, to: &session.download, from: &session.upload)
      if hasLost { session.noteEnd(.downstream, .reset) }
    case .upload, .download: break
    }
  }

  /// The same, with the flow that leads to the connection and the one that comes from it. Returns whether it has
  /// failed with bytes unacknowledged.
  private func closeIfSettled(
    _ connection: inout Connection, to flowToIt: inout Flow, from flowFromIt: inout Flow
  ) -> Bool {
    // Bytes that had arrived before it failed must be read first.
    guard !flowFromIt.isOpen, flowToIt.pendingBytes == 0 else { return false }
    let isGone = connection.flags.contains(.gone)
    switch flowToIt.stage {
    case .open: return false
    case .broken:
      noteLost(&connection, &flowToIt)
      core.kernel.reset(connection.socket.take())
      return false
    case .ended where flowFromIt.stage == .broken && !isGone && !connection.flags.contains(.isUnix):
      // Its peer may still send, and what arrives at a closed socket is answered by a reset: before closing, the
      // end must be acknowledged.
      relay.sendEnd(of: &flowToIt, to: &connection)
      return false
    case .cut, .ended, .passed: break
    }
    let isAcknowledged = isAcknowledged(&connection, flowToIt)
    if !isAcknowledged, isGone { noteLost(&connection, &flowToIt) }
    if isAcknowledged || isGone {
      if flowToIt.stage == .cut {
        core.kernel.reset(connection.socket.take())
      } else {
        closeInOrder(&connection, &flowFromIt)
      }
    } else if flowToIt.stage == .ended {
      relay.sendEnd(of: &flowToIt, to: &connection)
    }
    return isGone && !isAcknowledged
  }

  /// Whether a connection's peer has acknowledged everything, an end that was sent included. Bytes written to a
  /// unix socket have arrived at the peer.
  private func isAcknowledged(_ connection: inout Connection, _ flow: Flow) -> Bool {
    if connection.flags.contains(.isUnix) { return true }
    if flow.bytes == 0, !connection.flags.contains(.isShut) { return true }
    return core.kernel.sendQueueBytes(connection.socket.rawValue) == 0
  }

  /// Bytes that a connection's peer has not acknowledged do not count as delivered.
  private func noteLost(_ connection: inout Connection, _ flow: inout Flow) {
    flow.bytes &-= lostBytes(&connection, flow.bytes)
  }

  /// Closes a connection without a reset, as far as this side can avoid one.
  private func closeInOrder(_ connection: inout Connection, _ flowFromIt: inout Flow) {
    // The peer may still send. On a unix socket this must be stopped before the last input is read, or the
    // peer would get an error behind the bytes that it has to read.
    if connection.flags.contains(.isUnix), !connection.flags.contains(.gone) {
      core.kernel.shutdownRead(connection.socket.rawValue)
      connection.flags.insert(.readable)
    }
    if flowFromIt.stage == .broken {
      let isBounded = connection.flags.contains(.isUnix)
      _ = relay.discard(
        &flowFromIt, from: &connection, budget: isBounded ? .max : core.settings.relay.turnBytes)
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

  /// Whether a connection will be reset once everything is acknowledged. No event reports this; it does only after
  /// an end was sent.
  private func awaitsSilentAcknowledgement(_ session: inout Session) -> Bool {
    session.upstream.socket.isOpen && session.upload.stage == .cut
      && session.upload.pendingBytes == 0
      || session.downstream.socket.isOpen && session.download.stage == .cut
        && session.download.pendingBytes == 0
  }
}
