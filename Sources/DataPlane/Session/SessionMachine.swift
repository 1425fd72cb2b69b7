// SPDX-License-Identifier: Apache-2.0
// The state machine of a session: this file shows all of it. A state's handler receives the session and an
// event and returns what comes next; it never calls another state's handler. Each state has one file in
// States/, with its events, its deadline and its ways out.
//
//     accept ─▶ inspecting ─────▶ connecting ─────▶ securing ─────▶ relaying ─────▶ finishing ─▶ record
//                   │               │  ▲  ▲             │              │                │
//                   └──▶ queued ◀───┘  │  └─────────────┴──────────────┘                └─▶ closed, or reset
//                          └───────────┘     the attempt has failed, nothing was sent
//
// What leads from a state to the next (a dash: the event cannot come there):
//
//  state      │ entered            client's event      endpoint's event     deadline            other
//  ───────────┼───────────────────────────────────────────────────────────────────────────────────────────
//  inspecting │ queue, connect,    –                   –                    –                   –
//             │ end: client gone
//  queued     │ wait, end: queue   end: reset, or      –                    end: waited too     granted, unavailable:
//             │ full, waited too   finished in silence                      long; connect: no   connect;
//             │ long                                                        queue any more      rerouted: inspect
//  connecting │ secure, wait,      end: reset with     secure, wait,        secure, wait,       granted, failed:
//             │ queue, end: no     nothing sent, or    queue, end           queue, end          as entered
//             │ endpoint           finished in silence
//  securing   │ relay,             –                   –                    –                   –
//             │ connect: leads to
//             │ itself
//  relaying   │ wait, finish,      as entered          as entered           as entered;         turn: as entered
//             │ connect: reset,                                             end: idle, half-
//             │ nothing sent                                                closed, closing
//  finishing  │ wait, end          wait, end           wait, end            wait, end: no       turn: wait, end
//             │                                                             progress
//
// In every state: the end of the process, a drain deadline and the like reset both connections (`resetAll`).

import Reactor

/// What happens to a session.
enum SessionEvent {
  /// The state was entered from another one.
  case entered
  /// Connecting was entered with a place that was passed on.
  case granted(PassedPlace)
  /// No endpoint is available to a session that waits, and the upstream has no `hold`.
  case unavailable
  /// Connecting was entered because an attempt has failed.
  case failed(SessionError)
  /// The client's connection has changed.
  case downstream(Readiness)
  /// The connection to the endpoint has changed.
  case upstream(Readiness)
  /// The session's route leads to another upstream now.
  case rerouted
  /// The session's timer has fired: its deadline has passed, or was moved.
  case deadline
  /// The session had spent its budget in the last turn; it may go on.
  case turn
}

/// What follows from an event.
enum Next {
  /// Nothing. The timer stays as it is, unless it has just fired.
  case wait
  /// Nothing, but the deadline has changed.
  case rearm
  /// The session begins anew, as if its client had just been accepted.
  case inspect
  /// The session waits in its upstream's queue for what `waitKind` says.
  case queue
  /// The session looks for an endpoint.
  case connect
  /// The same, with a place that was passed to it.
  case connectAt(PassedPlace)
  /// The same, after an attempt that has failed.
  case connectAfter(SessionError)
  /// The connection to the endpoint is established, and is prepared for use.
  case secure
  /// Bytes are relayed.
  case relay
  /// At least one connection is gone, or both flows have ended; what is left is delivered.
  case finish
  /// The session is over, and the cause is noted. Connections that are still open are reset.
  case end
}

extension Worker {
  /// Carries out what follows from an event of a session, state by state, until it waits or is over.
  func run(_ index: Int, _ event: SessionEvent) {
    guard let session = sessions.find(index) else { return }
    run(index, session, event)
  }

  /// The same, for a session that was just found.
  func run(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ event: SessionEvent
  ) {
    var event = event
    var mustArm = false
    if case .deadline = event { mustArm = true }
    while true {
      let next = handle(event, index, &session.pointee)
      switch next {
      case .wait: break
      case .rearm: mustArm = true
      case .inspect: (session.pointee.state, event) = (.inspecting, .entered)
      case .queue: (session.pointee.state, event) = (.queued, .entered)
      case .connect: (session.pointee.state, event) = (.connecting, .entered)
      case .connectAt(let place): (session.pointee.state, event) = (.connecting, .granted(place))
      case .connectAfter(let error): (session.pointee.state, event) = (.connecting, .failed(error))
      case .secure: (session.pointee.state, event) = (.securing, .entered)
      case .relay: (session.pointee.state, event) = (.relaying, .entered)
      case .finish: (session.pointee.state, event) = (.finishing, .entered)
      case .end: return endSession(index, &session.pointee)
      }
      switch next {
      case .wait, .rearm:
        session.pointee.checkInvariants()
        if mustArm { sessions.arm(index, at: deadline(of: &session.pointee, at: index)) }
        return
      default: mustArm = true
      }
    }
  }

  private func handle(_ event: SessionEvent, _ index: Int, _ session: inout Session) -> Next {
    switch session.state {
    case .inspecting: inspecting(event, &session)
    case .queued: queued(event, index, &session)
    case .connecting: connecting(event, index, &session)
    case .securing: securing(event, &session)
    case .relaying: relaying(event, index, &session)
    case .finishing: finishing(event, index, &session)
    }
  }

  /// Sets a session's timer anew, since its deadline may have changed.
  func rearm(_ index: Int) {
    guard let session = sessions.find(index) else { return }
    sessions.arm(index, at: deadline(of: &session.pointee, at: index))
  }

  /// A session's deadline, `distantFuture` if it has none.
  private func deadline(of session: inout Session, at index: Int) -> Instant {
    switch session.state {
    case .inspecting, .securing: .distantFuture
    case .queued: queuedDeadline(of: &session)
    case .connecting: connectingDeadline(of: &session)
    case .relaying: relayingDeadline(of: &session, at: index)
    case .finishing: finishingDeadline(of: &session)
    }
  }

  // MARK: Beginning and end

  /// Starts a session for a connection that is counted already. Owns the descriptor from here on.
  func startSession(_ connection: AcceptedConnection) {
    let generation = sessions.nextGeneration()
    let route = core.view.routes[connection.route.position]
    let index = sessions.insert(
      Session(
        socket: SocketHandle(owning: connection.descriptor), generation: generation,
        client: connection.client, listener: connection.listener, route: connection.route,
        upstreamPosition: route.upstream, now: core.now))
    do throws(Errno) {
      try core.poller.add(
        connection.descriptor, for: .stream,
        token: Token(.downstream, index: index, generation: generation))
    } catch {
      // The connection is kept, and watched as soon as there is memory.
      _ = sessions.find(index)?.pointee.downstream.socket.take()
      sessions.remove(index)
      return acceptor.park(connection, after: error)
    }
    relay.coalescing.noteExchange(at: core.now)
    run(index, .entered)
  }

  /// Resets every session.
  func resetAll(_ reason: SessionEnd.Reason) {
    var next = sessions.nextIndex(from: 0)
    while let index = next {
      if let session = sessions.find(index) {
        session.pointee.noteEnd(.proxy, reason)
        endSession(index, &session.pointee)
      }
      next = sessions.nextIndex(from: index + 1)
    }
  }

  /// Closes what is still open, by resets, records the session and frees its slot.
  private func endSession(_ index: Int, _ session: inout Session) {
    assert(session.end != nil)
    leaveQueue(&session)
    reset(&session, .download)
    reset(&session, .upload)
    relay.releasePending(&session.upload)
    relay.releasePending(&session.download)
    connector.endRetrying(&session)
    connector.releasePlace(&session)
    let (listener, route) = (session.listener, session.route)
    let view = core.view.routes[route.position]
    if view.access.end { record(&session, .end) }
    if let end = session.end {
      view.counters.noteEnd(end, after: core.now.nanoseconds(since: session.acceptedAt))
    }
    let isOurs = session.end?.origin == .proxy
    let shortage = session.failure.flatMap { isOurs && $0.isShortage ? $0 : nil }
    // From here on the slots of its endpoint, route and listener may be given to others, once the records that
    // were written before have been read.
    connector.forgetEndpoint(&session)
    sessions.remove(index)
    core.view.listeners[listener.position].noteLeft()
    acceptor.uncount(view.state)
    core.counters[.ended] += 1
    if let shortage {
      // The next client would meet the same shortage; it can wait in the kernel's queue.
      acceptor.pauseAccepting(.resources(shortage.errno))
    } else if acceptor.pause.reason != nil {
      acceptor.resume()
    }
    reportIfFinished()
  }

  /// Writes a record of a session as it is now.
  func record(_ session: inout Session, _ moment: SessionRecord.Moment) {
    guard let records else { return }
    let isConnected = session.connectedAt != .distantFuture
    records.write(
      SessionRecord(
        moment: moment, at: core.now, listener: session.listener, route: session.route,
        client: session.client, endpoint: session.endpoint, uploadBytes: session.upload.bytes,
        downloadBytes: session.download.bytes,
        connectNanoseconds: isConnected
          ? session.connectedAt.nanoseconds(since: session.acceptedAt) : nil,
        durationNanoseconds: core.now.nanoseconds(since: session.acceptedAt),
        attempts: session.attempts, end: session.end))
  }

  // MARK: Connections

  /// Resets the connection to which `way` leads, if it is open. Bytes that its peer has not acknowledged no longer
  /// count as delivered.
  func reset(_ session: inout Session, _ way: Way) {
    guard let descriptor = takeSocket(&session, way) else { return }
    core.kernel.reset(descriptor)
  }

  private func takeSocket(_ session: inout Session, _ way: Way) -> CInt? {
    switch way {
    case .download:
      guard session.downstream.socket.isOpen else { return nil }
      session.download.bytes &-= lostBytes(&session.downstream, session.download.bytes)
      return session.downstream.socket.take()
    case .upload:
      guard session.upstream.socket.isOpen else { return nil }
      session.upload.bytes &-= lostBytes(&session.upstream, session.upload.bytes)
      return session.upstream.socket.take()
    }
  }

  /// How many of the `bytes` that were written to a connection its peer has not acknowledged. Bytes written to a
  /// unix socket have arrived at the peer.
  func lostBytes(_ connection: inout Connection, _ bytes: UInt64) -> UInt64 {
    guard bytes > 0, !connection.flags.contains(.isUnix) else { return 0 }
    let queued = core.kernel.sendQueueBytes(connection.socket.rawValue)
    let ends = connection.flags.contains(.isShut) ? 1 : 0
    return min(bytes, UInt64(max(0, queued - ends)))
  }
}
