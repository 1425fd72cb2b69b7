// SPDX-License-Identifier: Apache-2.0
// Connecting: the session looks for an endpoint and connects to it. Attempts follow one another, each with an
// endpoint that has not failed this session yet, while the upstream's `connect` time lasts; nothing
// has been written to any of them, so nothing can be replayed.
//
// Events: entered, granted (a place was passed on), failed (an attempt has failed, also an established
// connection that was reset before a byte had moved), the client's and the endpoint's connection, deadline.
// Deadline: of the attempt, or when the next one begins. Ways out: secure, queue, end.

import Reactor

/// How long to wait before an endpoint whose backlog is full is tried again.
private let busyEndpointPauseNanoseconds: UInt64 = 10_000_000

extension Worker {
  func connecting(_ event: SessionEvent, _ index: Int, _ session: inout Session) -> Next {
    switch event {
    case .entered:
      beginSearch(&session)
      return select(index, &session)
    case .granted(let place):
      // Its search goes on with a new time to connect: if the search began anew, sessions that fail at once
      // would get the same places again and again.
      session.searchBeganAt = core.now
      session.triedEndpoints = place.tried
      if place.isProbe { session.searchAttempts = 0 }
      connector.accept(place, for: &session)
      return attempt(index, &session)
    case .failed(let error):
      return attemptFailed(index, &session, error)
    case .downstream(let readiness):
      session.downstream.note(readiness)
      return clientChanged(&session)
    case .upstream(let readiness):
      session.upstream.note(readiness)
      return endpointAnswered(index, &session)
    case .deadline:
      return connectingDeadlinePassed(index, &session)
    case .turn, .unavailable, .rerouted: return .wait
    }
  }

  /// A search begins: for a new session, or for one that has left the queue without a place.
  private func beginSearch(_ session: inout Session) {
    assert(!session.flags.contains(.holdsEndpointPlace))
    assert(!session.flags.contains(.isRetrying))
    session.searchBeganAt = core.now
    session.searchAttempts = 0
    session.triedEndpoints = 0
    session.failure = nil
  }

  /// Selects an endpoint and connects to it; if there is none, the session waits or ends.
  private func select(_ index: Int, _ session: inout Session) -> Next {
    switch connector.select(&session) {
    case .endpoint: return attempt(index, &session)
    case let pick:
      let view = core.view.upstreams[Int(session.upstreamPosition)]
      // A session whose client is gone does not wait.
      let mayWait = session.end == nil
      if case .full = pick, mayWait, view.queue != nil {
        session.waitKind = .place
        return .queue
      }
      if case .unavailable = pick, mayWait, view.hold != nil {
        session.waitKind = .endpoint
        return .queue
      }
      if let failure = session.failure { return giveUp(&session, failure) }
      let upstream = core.topology.upstreams[Int(session.upstreamPosition)]
      session.noteEnd(
        .proxy,
        core.topology.isAllDown(upstream)
          ? .allDown : view.state.serving == .none ? .noQuorum : .noEndpoint)
      return .end
    }
  }

  /// Starts an attempt at the endpoint where the session is counted.
  private func attempt(_ index: Int, _ session: inout Session) -> Next {
    let generation = sessions.nextGeneration()
    do throws(SessionError) {
      let token = Token(.upstream, index: index, generation: generation)
      switch try connector.begin(&session, generation: generation, token: token) {
      case .begun(isConnected: true): return .secure
      case .begun(isConnected: false), .busy: return .rearm
      }
    } catch {
      return .connectAfter(error)
    }
  }

  // MARK: Events

  /// A client that has reset its connection no longer needs an endpoint, unless it had sent something before.
  private func clientChanged(_ session: inout Session) -> Next {
    guard session.downstream.flags.contains(.gone) else {
      return session.downstream.flags.contains(.hungUp) && noteIfLost(&session) ? .end : .wait
    }
    if hasClosedWithBytes(&session) { return .wait }
    guard session.end == nil else { return .wait }
    noteClientFailure(&session)
    let waiting = core.kernel.receiveQueueBytes(session.downstream.socket.rawValue)
    return waiting > 0 || !session.upload.isUntouched ? .wait : .end
  }

  /// Whether a unix client has closed its socket, which ends its stream in order, and what it wrote before is
  /// still to be delivered.
  func hasClosedWithBytes(_ session: inout Session) -> Bool {
    guard session.downstream.flags.isSuperset(of: [.isUnix, .gone]), session.end == nil else {
      return false
    }
    return !session.upload.isUntouched
      || core.kernel.receiveQueueBytes(session.downstream.socket.rawValue) > 0
  }

  /// Notes why a client's connection has failed that is not being read.
  func noteClientFailure(_ session: inout Session) {
    if session.downstream.flags.contains(.isUnix) { session.noteEnd(.downstream, .finished) }
    let errno =
      core.kernel.takeError(session.downstream.socket.rawValue) ?? .connectionReset
    session.downstream.noteFailure(errno)
    let error = SessionError(relaying: errno, on: .downstream)
    session.noteEnd(error.origin, error.reason, errno: errno)
  }

  private func endpointAnswered(_ index: Int, _ session: inout Session) -> Next {
    guard session.upstream.flags.contains(.gone) else {
      return session.upstream.flags.contains(.writable) ? .secure : .wait
    }
    guard let errno = core.kernel.takeError(session.upstream.socket.rawValue) else {
      // The endpoint has accepted, and closed in order since.
      return .secure
    }
    let error = SessionError(connecting: errno)
    guard error.reason == .reset else { return attemptFailed(index, &session, error) }
    // The endpoint has accepted, and reset since (a refusal has another error): it may have sent something before.
    session.upstream.noteFailure(errno)
    return .secure
  }

  /// The time of an attempt is over, or it is time for the next one, or for trying an endpoint again that was
  /// busy.
  private func connectingDeadlinePassed(_ index: Int, _ session: inout Session) -> Next {
    guard session.flags.contains(.holdsEndpointPlace) else {
      // A timer may fire before the wait between two attempts is over, as after a reload.
      guard core.now >= session.attemptBeganAt else { return .wait }
      // It may have finished in silence meanwhile: see `isClientSilent`.
      if let failure = session.failure, failure.reason == .reset, isClientSilent(&session) {
        session.noteEnd(failure.origin, failure.reason, errno: failure.errno)
        return .end
      }
      return select(index, &session)
    }
    if core.now < connector.connectDeadline(of: &session) {
      let view = core.view.upstreams[Int(session.upstreamPosition)]
      let isOver =
        session.flags.contains(.isLastAttempt)
        || core.now >= session.attemptBeganAt.advanced(by: view.attemptNanoseconds)
      if isOver, !connector.couldFollow(&session) {
        session.flags.insert(.isLastAttempt)
      } else if isOver {
        return attemptFailed(index, &session, SessionError(connecting: .timedOut))
      }
      return session.upstream.socket.isOpen ? .wait : attempt(index, &session)
    }
    return attemptFailed(index, &session, SessionError(connecting: .timedOut))
  }

  func connectingDeadline(of session: inout Session) -> Instant {
    guard session.flags.contains(.holdsEndpointPlace) else { return session.attemptBeganAt }
    let deadline = connector.attemptDeadline(of: &session)
    return session.upstream.socket.isOpen
      ? deadline : min(deadline, core.now.advanced(by: busyEndpointPauseNanoseconds))
  }

  // MARK: After a failure

  /// Gives up the current attempt and goes on to the next endpoint, if another attempt may follow.
  private func attemptFailed(
    _ index: Int, _ session: inout Session, _ error: SessionError
  ) -> Next {
    connector.noteFailure(error, of: &session)
    // Not closed: the endpoint may have accepted just now, and must not see an orderly end.
    reset(&session, .upload)
    connector.leaveEndpoint(&session)
    guard error.isRetryable else {
      session.noteEnd(error.origin, error.reason, errno: error.errno)
      return .end
    }
    switch connector.mayRetry(&session) {
    case .giveUp: return giveUp(&session, error)
    case .retry(let moment) where moment <= core.now: return select(index, &session)
    case .retry(let moment):
      session.attemptBeganAt = moment
      return .rearm
    case .overBudget:
      if mayHold(&session, error) { return hold(&session) }
      session.noteEnd(.proxy, .retryBudget, errno: error.errno)
      return .end
    }
  }

  /// No attempt is left: the session waits in the hold, or ends.
  private func giveUp(_ session: inout Session, _ error: SessionError) -> Next {
    if mayHold(&session, error) { return hold(&session) }
    session.noteEnd(error.origin, error.reason, errno: error.errno)
    return .end
  }

  /// Whether a session whose attempts have failed may wait for an endpoint. Not if its client is gone, and not
  /// after a shortage of this machine.
  private func mayHold(_ session: inout Session, _ error: SessionError) -> Bool {
    core.view.upstreams[Int(session.upstreamPosition)].hold != nil && error.origin == .upstream
      && session.end == nil
  }

  private func hold(_ session: inout Session) -> Next {
    let position = Int(session.upstreamPosition)
    let state = core.view.upstreams[position].state
    state.queue.noteFailure()
    // An endpoint that has not been tried may be able to serve.
    if !core.topology.hasUntried(core.topology.upstreams[position], session.triedEndpoints) {
      state.queue.isFailing = true
    }
    session.waitKind = .endpoint
    return .queue
  }
}
