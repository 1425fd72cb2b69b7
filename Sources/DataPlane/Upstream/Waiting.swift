// SPDX-License-Identifier: Apache-2.0
// Waiting for an endpoint: what a session does that cannot have one now, if its upstream has a `queue` (all
// endpoints are full) or a `hold` (none is available). Its client's bytes stay with the kernel. Order and
// releases are the room's (WaitingRoom.swift); here is what a worker does with its own sessions.

import Reactor

extension Worker {
  /// Serves a new session: at once, or after those who wait already.
  func serve(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    // Only exceptions need all of the upstream.
    guard upstreamState(of: session.pointee).room.isOccupied else {
      return beginSearch(index, session)
    }
    let upstream = upstream(of: session.pointee)
    if upstream.queue != nil || upstream.hold != nil {
      let kind = kindOfNewcomers(upstream)
      if enterRoom(index, session, upstream, kind) == .isFirst {
        // Those who were ahead are gone.
        _ = upstream.state.release(kind, because: .perhaps, post: post)
      }
      return
    }
    beginSearch(index, session)
  }

  /// What those wait for who go behind others: what these wait for, as long as there is somebody to serve
  /// them.
  private func kindOfNewcomers(_ upstream: Upstream) -> WaitingRoom.Kind {
    guard upstream.queue != nil else { return .hold }
    guard upstream.hold != nil else { return .queue }
    let room = upstream.state.room
    return room.isFailing || !topology.mayServe(upstream) ? .hold : room.lastKind
  }

  // MARK: Entering

  /// There is no endpoint to pick: has the session wait, or ends it. Returns an endpoint that is there
  /// after all, where the session is counted.
  func wait(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, after pick: Pick
  ) -> EndpointIndex? {
    let upstream = upstream(of: session.pointee)
    // Nobody waits for the sake of a client that is gone.
    let mayWait = session.pointee.end == nil
    switch pick {
    case .endpoint(let endpoint):
      return endpoint
    case .full where mayWait && upstream.queue != nil:
      guard enterRoom(index, session, upstream, .queue) == .isFirst else { return nil }
      // A place may have become free before anybody could see that this one waits.
      let number = topology.routes[session.pointee.route.position].upstream
      guard case .endpoint(let endpoint) = reserve(number, for: session.pointee)
      else { return nil }
      leaveRoom(session)
      session.pointee.state = .connecting
      return endpoint
    case .unavailable where mayWait && upstream.hold != nil:
      _ = enterRoom(index, session, upstream, .hold)
    case .full, .tried, .unavailable:
      guard let failure = session.pointee.search.failure else {
        connectFailed(index, session, nil)
        return nil
      }
      giveUp(index, session, failure)
    }
    return nil
  }

  /// Endpoints have failed a session, and it may try no other now: it waits for better times.
  func hold(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    let upstream = upstream(of: session.pointee)
    upstream.state.room.noteFailure()
    // One that has not been tried may do well.
    if !topology.hasUntried(upstream, session.pointee.triedEndpoints) {
      upstream.state.room.isFailing = true
    }
    _ = enterRoom(index, session, upstream, .hold)
  }

  /// What became of entering.
  private enum Entered {
    case isFirst, isBehind
    /// It was turned away, and has ended.
    case hasEnded
  }

  private func enterRoom(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ upstream: Upstream,
    _ kind: WaitingRoom.Kind
  ) -> Entered {
    assert(!session.pointee.upstream.socket.isOpen)
    endRetrying(session)
    let hasWaited = session.pointee.wait.hasBegun
    if hasWaited { noteWaiting(session, for: kind, since: now, upstream.state) }
    if hasWaited, now >= waitDeadline(of: session.pointee, for: kind) {
      timeOut(index, session, kind)
      return .hasEnded
    }
    let max = (kind == .queue ? upstream.queue?.length : upstream.hold?.length) ?? 0
    let token = Token(
      .downstream, index: index, generation: session.pointee.downstream.generation)
    let entry = upstream.state.room.enter(
      worker: settings.number, token: token, kind: kind, max: max,
      sequence: hasWaited ? session.pointee.wait.sequence : nil,
      hasFailed: session.pointee.search.failure != nil)
    guard case .entered(let ticket, let sequence, let isFirst, let isUnattended) = entry else {
      upstream.state.note(kind == .queue ? .queueOverflow : .holdOverflow)
      session.pointee.noteEnd(.proxy, kind == .queue ? .queueFull : .holdFull, in: .waiting)
      resetSession(index, session)
      return .hasEnded
    }
    if !hasWaited {
      session.pointee.wait.beganMilliseconds = session.pointee.milliseconds(at: now)
      upstream.state.note(kind == .queue ? .queued : .held)
    }
    session.pointee.wait.sequence = sequence
    session.pointee.wait.ticket = ticket
    session.pointee.wait.kind = kind
    session.pointee.state = .waiting
    if isUnattended { report(.waiting(upstream.state)) }
    armTimer(index, session)
    return isFirst ? .isFirst : .isBehind
  }

  /// A session that has waited before waits for this from then on.
  private func noteWaiting(
    _ session: UnsafeMutablePointer<Session>, for kind: WaitingRoom.Kind, since moment: Instant,
    _ upstream: UpstreamState
  ) {
    guard kind != session.pointee.wait.kind else { return }
    let milliseconds = session.pointee.milliseconds(at: moment)
    if session.pointee.wait.change(to: kind, at: milliseconds) {
      upstream.note(kind == .queue ? .queued : .held)
    }
  }

  /// Takes up what the room says that a session there waits for.
  private func noteStay(
    _ session: UnsafeMutablePointer<Session>, _ upstream: UpstreamState
  ) {
    let stay = upstream.room.stay(of: session.pointee.wait.ticket)
    noteWaiting(session, for: stay.kind, since: stay.kindSince, upstream)
  }

  // MARK: Leaving

  /// Takes a session out of the room that it waits in, if it does. `upstream` is the room's, if that is
  /// another than its route's. The state is the caller's to change.
  func leaveRoom(
    _ session: UnsafeMutablePointer<Session>, of upstream: UpstreamState? = nil
  ) {
    guard session.pointee.state == .waiting else { return }
    let upstream = upstream ?? upstreamState(of: session.pointee)
    // What it was released for is the next one's.
    if let cause = upstream.room.leave(session.pointee.wait.ticket) {
      releaseNext(upstream, because: cause)
    }
  }

  /// A session of this worker was released: it looks for an endpoint, ahead of all who wait.
  func admit(_ admission: Admission) {
    // Whoever has left meanwhile has had the next one released.
    guard let session = findSession(admission.token), session.pointee.state == .waiting,
      session.pointee.wait.ticket == admission.ticket,
      upstreamState(of: session.pointee) === admission.upstream
    else { return }
    noteStay(session, admission.upstream)
    guard let look = admission.upstream.room.admit(admission.ticket) else { return }
    session.pointee.state = .connecting
    coalescing.noteExchange(at: now)
    beginSearch(admission.token.index, session, isAdmitted: true)
    let missed = admission.upstream.room.settle(look)
    let found = findSession(admission.token)
    found?.pointee.search.isAdmitted = false
    // There may be more where that came from; and if there was nothing, those behind need not look.
    let isBack = found?.pointee.state == .waiting
    if let cause = missed ?? (isBack ? nil : .following) {
      releaseNext(admission.upstream, because: cause)
    }
  }

  /// Has the next one look that waits for a place.
  func releaseNext(_ upstream: UpstreamState, because cause: WaitingRoom.Cause) {
    guard upstream.room.isOccupied else { return }
    _ = upstream.release(.queue, because: cause, post: post)
  }

  private func post(_ worker: Int, _ message: WorkerMessage) -> Bool {
    workers[worker].inbox.post(message)
  }

  /// The session's route leads to another upstream now, whose endpoints have not failed it.
  func goOver(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, from old: UpstreamState
  ) {
    session.pointee.triedEndpoints = 0
    endRetrying(session, at: old)
    guard session.pointee.state == .waiting else { return }
    leaveRoom(session, of: old)
    session.pointee.wait = Session.Wait()
    session.pointee.state = .connecting
    serve(index, session)
  }

  // MARK: What happens meanwhile

  /// An event of a session that waits: only the client can have one.
  func receiveWaiting(
    _ readiness: Readiness, _ token: Token, _ session: UnsafeMutablePointer<Session>
  ) {
    session.pointee.downstream.note(readiness)
    // Who has finished sending still wants an answer; who has reset wants nothing any more.
    guard readiness.contains(.error) else { return }
    let errno =
      kernel.takeError(session.pointee.downstream.socket.rawValue) ?? .connectionReset
    let error = SessionError(relaying: errno, on: .downstream)
    session.pointee.noteEnd(error.origin, error.reason, errno: errno)
    resetSession(token.index, session)
  }

  /// When a session that waits is given up.
  func waitDeadline(of session: borrowing Session) -> Instant {
    waitDeadline(of: session, for: session.wait.kind)
  }

  private func waitDeadline(of session: borrowing Session, for kind: WaitingRoom.Kind) -> Instant {
    let upstream = upstream(of: session)
    let timeout =
      kind == .queue ? upstream.queue?.timeoutNanoseconds : upstream.hold?.timeoutNanoseconds
    // A reload has taken away what it waits in: it looks at once.
    guard let timeout else { return now }
    return session.moment(session.wait.beganMilliseconds).advanced(by: timeout)
  }

  /// The time to wait is over, or there is nothing to wait in any more.
  func endWait(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    let upstream = upstream(of: session.pointee)
    noteStay(session, upstream.state)
    let kind = session.pointee.wait.kind
    let isWanted = kind == .queue ? upstream.queue != nil : upstream.hold != nil
    if isWanted {
      guard now >= waitDeadline(of: session.pointee) else { return armTimer(index, session) }
      return timeOut(index, session, kind)
    }
    leaveRoom(session)
    session.pointee.state = .connecting
    beginSearch(index, session)
  }

  private func timeOut(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ kind: WaitingRoom.Kind
  ) {
    upstreamState(of: session.pointee).note(kind == .queue ? .queueTimeout : .holdTimeout)
    session.pointee.noteEnd(.proxy, kind == .queue ? .queueTimedOut : .holdTimedOut, in: .waiting)
    resetSession(index, session)
  }
}
