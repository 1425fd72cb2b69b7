// SPDX-License-Identifier: Apache-2.0
// Connecting: the phase between a client and an endpoint. Attempts follow one another, each with an
// endpoint that has not failed this session yet, while the upstream's `connect` time lasts; nothing
// has been written to any of them, so nothing can be replayed.

import Balancing
import Plan
import Reactor

extension Worker {
  /// The upstream of the session's route as the plan has it now.
  func upstream(of session: borrowing Session) -> Upstream {
    topology.upstreams[topology.routes[session.route.position].upstream]
  }

  /// Tries endpoints until one is being connected; ends the session when none is left. `failure` is
  /// what became of the attempt before, `nil` at the first.
  func connect(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, after failure: SessionError? = nil
  ) {
    let upstreamNumber = topology.routes[session.pointee.route.position].upstream
    let upstream = topology.upstreams[upstreamNumber]
    let deadline = session.pointee.acceptedAt.advanced(by: upstream.connectNanoseconds)
    var failure = failure
    session.pointee.state = .connecting
    while true {
      if let failure {
        releaseEndpoint(session)
        guard failure.isRetryable, now < deadline else {
          return connectFailed(index, session, failure)
        }
      }
      let pick = pickers[upstreamNumber].pick(
        upstream, of: topology, tried: session.pointee.triedEndpoints,
        key: hashKey(of: session.pointee, upstream), at: now, random: &random)
      guard case .endpoint(let endpoint) = pick else {
        return connectFailed(index, session, failure)
      }
      assign(endpoint, to: session)
      do throws(SessionError) {
        return try attempt(index, session, endpoint, upstream, upstreamNumber)
      } catch {
        noteFailure(error, of: session)
        failure = error
      }
    }
  }

  /// What a hash tells the session apart by; without a hash, nothing.
  private func hashKey(of session: borrowing Session, _ upstream: Upstream) -> UInt64 {
    guard let plan = upstream.hash else { return 0 }
    var prefix: (high: UInt64, low: UInt64)?
    switch plan.key {
    case .source: prefix = session.client.prefix(v4: 32, v6: 128)
    case .prefix(let v4, let v6): prefix = session.client.prefix(v4: v4, v6: v6)
    case .route: return topology.routes[session.route.position].hashKey
    }
    var hash = StableHash()
    hash.add(prefix?.high ?? 0)
    hash.add(prefix?.low ?? 0)
    return hash.value
  }

  /// Begins with an endpoint that was picked, and counted there.
  private func assign(_ endpoint: EndpointIndex, to session: UnsafeMutablePointer<Session>) {
    forgetEndpoint(session)
    session.pointee.endpoint = endpoint
    session.pointee.isCountedAtEndpoint = true
    session.pointee.triedEndpoints |= topology.endpoints[endpoint.position].triedBit
    session.pointee.attempts = min(session.pointee.attempts, .max - 1) + 1
    session.pointee.stepStartedAt = now
    counters[.attempts] += 1
    tallies.endpoints[endpoint.position].hold()
    tallies.endpoints[endpoint.position].noteAttempt()
  }

  private func noteFailure(_ error: SessionError, of session: UnsafeMutablePointer<Session>) {
    counters[.attemptsFailed] += 1
    guard let endpoint = session.pointee.endpoint else { return }
    tallies.endpoints[endpoint.position].noteFailure(error.reason)
    let upstream = upstream(of: session.pointee)
    // Who fails at once must not look quick: it counts as if the whole time had been spent.
    if upstream.measure != nil, error.origin == .upstream {
      topology.endpoints[endpoint.position].state.noteLatency(
        nanoseconds: upstream.attemptNanoseconds, at: now,
        decayNanoseconds: upstream.decayNanoseconds)
    }
  }

  private func noteLatency(_ session: UnsafeMutablePointer<Session>, of what: EWMAPlan.Measure) {
    let upstream = upstream(of: session.pointee)
    guard upstream.measure == what, let endpoint = session.pointee.endpoint else { return }
    topology.endpoints[endpoint.position].state.noteLatency(
      nanoseconds: now.nanoseconds(since: session.pointee.stepStartedAt), at: now,
      decayNanoseconds: upstream.decayNanoseconds)
  }

  /// Nothing had come back from the endpoint before these bytes moved. The time counts from the first byte
  /// to it; if the endpoint speaks first, from the connection.
  func noteFirstBytes(_ session: UnsafeMutablePointer<Session>, uploadBefore: UInt64) {
    if session.pointee.download.bytes > 0 {
      noteLatency(session, of: .firstByte)
    } else if uploadBefore == 0, session.pointee.upload.bytes > 0 {
      session.pointee.stepStartedAt = now
    }
  }

  /// Starts one attempt.
  private func attempt(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ endpoint: EndpointIndex,
    _ upstream: Upstream, _ upstreamNumber: Int
  ) throws(SessionError) {
    let address = topology.endpoints[endpoint.position].address
    let descriptor: CInt
    do throws(Errno) {
      descriptor = try kernel.makeSocket(for: address, options: upstream.options)
    } catch {
      throw SessionError(connecting: error)
    }
    do throws(SessionError) {
      try bindSource(descriptor, family: address.family, upstream, upstreamNumber)
      let progress = kernel.connect(descriptor, to: address)
      switch progress {
      case .failed(let errno): throw SessionError(connecting: errno)
      case .busy:
        kernel.close(descriptor)
        armTimer(index, session)
      case .inProgress, .connected:
        try watch(descriptor, of: index, session, isIP: address.isIP)
        if progress == .connected { connected(index, session) } else { armTimer(index, session) }
      }
    } catch {
      kernel.reset(descriptor)
      throw error
    }
  }

  private func bindSource(
    _ descriptor: CInt, family: CInt, _ upstream: Upstream, _ upstreamNumber: Int
  ) throws(SessionError) {
    guard !upstream.sources.isEmpty,
      let source = pickers[upstreamNumber].source(of: upstream, family: family)
    else { return }
    do throws(Errno) {
      try kernel.bindSource(descriptor, to: upstream.sources[source].address)
    } catch {
      throw SessionError(binding: error)
    }
  }

  /// Makes a socket the session's upstream. Not before it connects: until then the kernel reports it
  /// as hung up.
  private func watch(
    _ descriptor: CInt, of index: Int, _ session: UnsafeMutablePointer<Session>, isIP: Bool
  ) throws(SessionError) {
    let generation = nextGeneration()
    do throws(Errno) {
      try poller.add(
        descriptor, for: .stream, token: Token(.upstream, index: index, generation: generation))
    } catch {
      throw SessionError(connecting: error)
    }
    session.pointee.upstream = Side(
      socket: SocketHandle(owning: descriptor), generation: generation)
    if !isIP { session.pointee.upstream.flags = .readsInPieces }
  }

  /// The time of an attempt is over, or it is time to ask an endpoint again that was busy.
  func continueConnecting(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    let upstreamNumber = topology.routes[session.pointee.route.position].upstream
    let upstream = topology.upstreams[upstreamNumber]
    guard !session.pointee.upstream.socket.isOpen, now < attemptDeadline(of: session.pointee),
      let endpoint = session.pointee.endpoint
    else { return attemptFailed(index, session, .timedOut) }
    do throws(SessionError) {
      try attempt(index, session, endpoint, upstream, upstreamNumber)
    } catch {
      noteFailure(error, of: session)
      connect(index, session, after: error)
    }
  }

  /// When the current attempt is given up.
  func attemptDeadline(of session: borrowing Session) -> Instant {
    let upstream = upstream(of: session)
    return min(
      session.acceptedAt.advanced(by: upstream.connectNanoseconds),
      session.stepStartedAt.advanced(by: upstream.attemptNanoseconds))
  }

  /// An event of a session that is being connected.
  func receiveConnecting(
    _ readiness: Readiness, _ token: Token, _ session: UnsafeMutablePointer<Session>
  ) {
    if token.kind == .downstream {
      session.pointee.downstream.note(readiness)
      if readiness.contains(.error) { clientFailed(token.index, session) }
      return
    }
    session.pointee.upstream.note(readiness)
    if readiness.isDisjoint(with: [.error, .hangUp]) {
      if readiness.contains(.writable) { connected(token.index, session) }
      return
    }
    let descriptor = session.pointee.upstream.socket.rawValue
    guard let errno = kernel.takeError(descriptor) else {
      // Accepted, and closed in order since.
      return connected(token.index, session)
    }
    guard SessionError(connecting: errno).reason == .reset else {
      return attemptFailed(token.index, session, errno)
    }
    // Accepted, and reset since (a refusal has its own number): it may have said something.
    establish(token.index, session)
    guard sideFailed(token.index, session, .download, errno) else { return }
    recordStart(session)
    relayBytes(token.index, session)
  }

  /// A client has reset its connection while an endpoint was being looked for. What it had sent is
  /// still to be delivered; if that is nothing, nobody needs an endpoint any more.
  private func clientFailed(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    guard !session.pointee.downstream.flags.contains(.failed) else { return }
    let descriptor = session.pointee.downstream.socket.rawValue
    let errno = kernel.takeError(descriptor) ?? .connectionReset
    let error = SessionError(relaying: errno, on: .downstream)
    session.pointee.noteEnd(error.origin, error.reason, errno: errno)
    guard kernel.receiveQueueBytes(descriptor) > 0 else { return resetSession(index, session) }
    session.pointee.downstream.flags.formUnion([.failed, .readable])
    relay.abandon(&session.pointee.download)
  }

  /// Gives the current attempt up and goes on to the next endpoint.
  func attemptFailed(_ index: Int, _ session: UnsafeMutablePointer<Session>, _ errno: Errno) {
    let failure = SessionError(connecting: errno)
    noteFailure(failure, of: session)
    // Not closed: the endpoint may have accepted just now, and must not see an orderly end.
    if session.pointee.upstream.socket.isOpen {
      kernel.reset(session.pointee.upstream.socket.take())
    }
    connect(index, session, after: failure)
  }

  private func connected(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    establish(index, session)
    recordStart(session)
    relayBytes(index, session)
  }

  private func establish(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    session.pointee.state = .relaying
    session.pointee.upstream.flags.insert(.writable)
    noteLatency(session, of: .connect)
    session.pointee.stepStartedAt = now
    let nanoseconds = now.nanoseconds(since: session.pointee.acceptedAt)
    session.pointee.connectNanoseconds = nanoseconds
    tallies.routes[session.pointee.route.position].noteConnected(after: nanoseconds)
    session.pointee.lastMovedAt = now
    armTimer(index, session)
  }

  /// Records that a session has an endpoint: once, though another one may yet have to serve it.
  private func recordStart(_ session: UnsafeMutablePointer<Session>) {
    guard topology.routes[session.pointee.route.position].access.start,
      !session.pointee.hasStarted
    else { return }
    session.pointee.hasStarted = true
    record(session, .start)
  }

  private func connectFailed(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ failure: SessionError?
  ) {
    if let failure {
      session.pointee.noteEnd(failure.origin, failure.reason, errno: failure.errno)
    } else {
      let isAllDown = topology.isAllDown(upstream(of: session.pointee))
      session.pointee.noteEnd(.proxy, isAllDown ? .allDown : .noEndpoint)
    }
    resetSession(index, session)
    // Whoever is accepted next would fare no better; in the kernel's queue he can wait. Only now, for
    // the end of a session makes room as a rule, and here it made none.
    if let failure, failure.isShortage { pauseAccepting(.resources(failure.errno)) }
  }

  /// Takes the session out of its endpoint's count.
  func releaseEndpoint(_ session: UnsafeMutablePointer<Session>) {
    guard session.pointee.isCountedAtEndpoint, let endpoint = session.pointee.endpoint else {
      return
    }
    topology.giveBack(endpoint)
    session.pointee.isCountedAtEndpoint = false
  }

  /// The session will name its endpoint no more, not in a record either.
  func forgetEndpoint(_ session: UnsafeMutablePointer<Session>) {
    assert(!session.pointee.isCountedAtEndpoint)
    guard let endpoint = session.pointee.endpoint else { return }
    tallies.endpoints[endpoint.position].release()
    session.pointee.endpoint = nil
  }
}
