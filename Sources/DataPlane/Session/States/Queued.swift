// SPDX-License-Identifier: Apache-2.0
// Queued: the session waits in its upstream's queue, because all endpoints are full (`queue`) or none is
// available (`hold`). Its client's bytes stay in the kernel, and are dropped if the client resets: it has left the
// queue. Order and places are managed by the queue
// (Queue/WaitQueue.swift); this file is what a worker does with its own sessions.
//
// Events: entered, the client's connection, deadline, granted and unavailable (which arrive as messages),
// rerouted. Deadline: `timeout` of what it waits for; of both together, if it has waited for both. Ways out: connect
// with a place, connect without one when the queue or the hold is no longer configured, inspect, end.

import Reactor

extension Worker {
  func queued(_ event: SessionEvent, _ index: Int, _ session: inout Session) -> Next {
    switch event {
    case .entered: return enterQueue(index, &session)
    case .downstream(let readiness):
      session.downstream.note(readiness)
      // A client that has finished sending still wants an answer; one that has reset wants nothing.
      if hasClosedWithBytes(&session) { return .wait }
      if session.downstream.flags.contains(.gone) {
        noteClientFailure(&session)
        return .end
      }
      if session.downstream.flags.contains(.hungUp), noteIfLost(&session) { return .end }
      return .wait
    case .deadline: return endWait(&session)
    case .granted(let place): return .connectAt(place)
    case .unavailable:
      leaveQueue(&session)
      return .connect
    case .rerouted:
      session.flags.subtract([.hasWaited, .wasCountedAsQueued, .wasCountedAsHeld])
      return .inspect
    case .failed, .upstream, .turn: return .wait
    }
  }

  /// What a new session waits for behind others: the same as the last of them, but for an endpoint if none is
  /// available.
  func kindOfNewcomers(_ view: UpstreamView, at position: Int) -> WaitQueue.Kind {
    guard view.queue != nil else { return .endpoint }
    guard view.hold != nil else { return .place }
    let isAvailable = core.topology.mayServe(core.topology.upstreams[position])
    return view.state.queue.isFailing || !isAvailable ? .endpoint : view.state.queue.lastKind
  }

  private func enterQueue(_ index: Int, _ session: inout Session) -> Next {
    assert(!session.upstream.socket.isOpen)
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    connector.endRetrying(&session)
    connector.releasePlace(&session)
    let kind = session.waitKind
    let hasWaited = session.flags.contains(.hasWaited)
    guard !hasWaited || core.now < lastWaitMoment(of: &session, view) else {
      return timeOut(&session, view)
    }
    let token = Token(.downstream, index: index, generation: session.downstream.generation)
    let entry = view.state.queue.enter(
      WaitQueue.Waiter(
        worker: core.settings.number, token: token, kind: kind,
        key: connector.hashKey(of: &session),
        tried: session.triedEndpoints),
      max: (kind == .place ? view.queue?.length : view.hold?.length) ?? 0,
      sequence: hasWaited ? session.waitSequence : nil, at: core.now)
    guard case .entered(let ticket, let sequence, let isUnattended) = entry else {
      view.state.note(kind == .place ? .queueOverflow : .holdOverflow)
      session.noteEnd(.proxy, kind == .place ? .queueFull : .holdFull, in: .waiting)
      return .end
    }
    if !hasWaited {
      session.flags.insert(.hasWaited)
      session.waitBeganAt = core.now
    }
    session.waitSequence = sequence
    session.waitTicket = ticket
    session.flags.insert(.isInQueue)
    count(&session, as: kind, view)
    if isUnattended { core.report(.waiting(view.state)) }
    // A place may have become free before the entry could be seen.
    if kind == .place { connector.handOut(Int(session.upstreamPosition)) }
    return .wait
  }

  /// Counts a session among those that have waited for this; each kind of wait is counted once per session.
  private func count(_ session: inout Session, as kind: WaitQueue.Kind, _ view: UpstreamView) {
    let flag: Session.Flags = kind == .place ? .wasCountedAsQueued : .wasCountedAsHeld
    guard !session.flags.contains(flag) else { return }
    session.flags.insert(flag)
    view.state.note(kind == .place ? .queued : .held)
  }

  /// Takes a session out of the queue that it waits in, if it does. `upstream` is the queue's, if that is
  /// another than its own now.
  func leaveQueue(_ session: inout Session, of upstream: UpstreamState? = nil) {
    guard session.flags.contains(.isInQueue) else { return }
    session.flags.remove(.isInQueue)
    let state = upstream ?? core.view.upstreams[Int(session.upstreamPosition)].state
    state.queue.leave(session.waitTicket)
  }

  /// A place has arrived for a session of this worker. If the session is gone, the place goes to the next one.
  func receive(_ grant: Grant) {
    use(grant.topology)
    guard grant.upstream.queue.claim(grant.ticket), let session = sessions.find(grant.token) else {
      return connector.free(grant.endpoint, near: 0)
    }
    assert(session.pointee.state == .queued && session.pointee.waitTicket == grant.ticket)
    session.pointee.flags.remove(.isInQueue)
    relay.coalescing.noteExchange(at: core.now)
    run(grant.token.index, .granted(grant.place))
  }

  /// No endpoint is available, and the upstream may have no hold.
  func giveUpWaiting(_ token: Token) {
    guard let session = sessions.find(token), session.pointee.state == .queued else { return }
    let view = core.view.upstreams[Int(session.pointee.upstreamPosition)]
    // A grant may be on its way.
    guard view.hold == nil, view.state.queue.stay(of: session.pointee.waitTicket) != nil else {
      return
    }
    run(token.index, .unavailable)
  }

  func queuedDeadline(of session: inout Session) -> Instant {
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    // A grant is on its way.
    guard let stay = view.state.queue.stay(of: session.waitTicket) else { return .distantFuture }
    // A reload has removed the queue or hold: it looks for an endpoint at once.
    guard let timeout = timeout(of: stay.kind, view) else { return core.now }
    let deadline = min(stay.since.advanced(by: timeout), lastWaitMoment(of: &session, view))
    // The control loop may change what the session waits for, and wakes no worker then (`WaitQueue.setKind`).
    let other = self.timeout(of: stay.kind == .place ? .endpoint : .place, view)
    return other.map { min(deadline, core.now.advanced(by: max($0, 1_000_000))) } ?? deadline
  }

  private func timeout(of kind: WaitQueue.Kind, _ view: UpstreamView) -> UInt64? {
    kind == .place ? view.queue?.timeoutNanoseconds : view.hold?.timeoutNanoseconds
  }

  /// The latest moment until which the session waits, whatever it waits for.
  private func lastWaitMoment(of session: inout Session, _ view: UpstreamView) -> Instant {
    session.waitBeganAt
      .advanced(by: view.queue?.timeoutNanoseconds ?? 0)
      .advanced(by: view.hold?.timeoutNanoseconds ?? 0)
  }

  private func endWait(_ session: inout Session) -> Next {
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    guard let stay = view.state.queue.stay(of: session.waitTicket) else { return .wait }
    if stay.kind != session.waitKind {
      session.waitKind = stay.kind
      count(&session, as: stay.kind, view)
    }
    guard timeout(of: stay.kind, view) != nil else {
      leaveQueue(&session)
      return .connect
    }
    let timeout = timeout(of: stay.kind, view) ?? 0
    guard
      core.now >= min(stay.since.advanced(by: timeout), lastWaitMoment(of: &session, view))
    else { return .wait }
    return timeOut(&session, view)
  }

  private func timeOut(_ session: inout Session, _ view: UpstreamView) -> Next {
    let kind = session.waitKind
    view.state.note(kind == .place ? .queueTimeout : .holdTimeout)
    session.noteEnd(.proxy, kind == .place ? .queueTimedOut : .holdTimedOut, in: .waiting)
    return .end
  }
}
