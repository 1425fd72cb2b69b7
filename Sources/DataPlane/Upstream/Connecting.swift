// SPDX-License-Identifier: Apache-2.0
// Connecting: the phase between a client and an endpoint. Attempts follow one another, each with an
// endpoint that has not failed this session yet, while the upstream's `connect` time lasts; nothing
// has been written to any of them, so nothing can be replayed. Which attempts may follow others is
// in Retrying.swift, where sessions wait that can have no endpoint now in Waiting.swift.

import Balancing
import Plan
import Reactor

extension Worker {
  /// The upstream of the session's route as the plan has it now.
  func upstream(of session: borrowing Session) -> Upstream {
    topology.upstreams[topology.routes[session.route.position].upstream]
  }

  /// What outlives topologies of the upstream of the session's route.
  func upstreamState(of session: borrowing Session) -> UpstreamState {
    topology.upstreams[topology.routes[session.route.position].upstream].state
  }

  /// Has a session begin to look for an endpoint: a new one, or one that has left the waiting room.
  func beginSearch(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, isAdmitted: Bool = false
  ) {
    assert(!session.pointee.isCountedAtEndpoint)
    assert(!session.pointee.search.isRetry)
    session.pointee.search = Session.Search(
      beganMilliseconds: session.pointee.milliseconds(at: now), isAdmitted: isAdmitted)
    session.pointee.triedEndpoints = 0
    session.pointee.state = .connecting
    connect(index, session)
  }

  /// Tries endpoints until one is being connected; when there is none to try, the session waits or
  /// ends. `failure` is what became of the attempt before, `nil` at the first.
  func connect(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, after failure: SessionError? = nil
  ) {
    assert(session.pointee.state != .waiting)
    session.pointee.state = .connecting
    var failure = failure
    while true {
      if let failure {
        // The place stays this session's to take again; what failed it is no news for those who wait,
        // until the session is served elsewhere.
        if uncountAtEndpoint(session) != nil { session.pointee.search.hasLeftPlace = true }
        guard mayTryAgain(index, session, after: failure) else { return }
      }
      guard let error = connectOnce(index, session) else { return }
      failure = error
    }
  }

  /// Picks an endpoint and starts to connect to it. Returns why that failed at once; `nil` when it did
  /// not, or when there was none to pick and the session waits or has ended.
  func connectOnce(
    _ index: Int, _ session: UnsafeMutablePointer<Session>
  ) -> SessionError? {
    let upstreamNumber = topology.routes[session.pointee.route.position].upstream
    var pick = reserve(upstreamNumber, for: session.pointee)
    if case .endpoint = pick {
    } else {
      guard let second = wait(index, session, after: pick) else { return nil }
      pick = .endpoint(second)
    }
    guard case .endpoint(let endpoint) = pick else { return nil }
    return begin(index, session, with: endpoint, topology.upstreams[upstreamNumber], upstreamNumber)
  }

  /// Picks an endpoint and counts a session there, and at its upstream.
  func reserve(_ upstreamNumber: Int, for session: borrowing Session) -> Pick {
    let upstream = topology.upstreams[upstreamNumber]
    guard upstream.state.sessions.take(below: upstream.sessionsMax) else {
      // Those who would find nobody to serve them need not wait for a place.
      return topology.mayServe(upstream) ? .full : .unavailable
    }
    let pick = pickers[upstreamNumber].pick(
      upstream, of: topology, tried: session.triedEndpoints, key: hashKey(of: session, upstream),
      at: now, random: &random)
    if case .endpoint = pick { return pick }
    upstream.state.sessions.giveBack()
    // Somebody may have found the upstream full meanwhile, and waits. Only a newcomer says so: those whom a
    // session of the room could have misled are behind it, and would find no more than it has found; and
    // if those who were let in, or try again, had each other let in, there would be no end.
    if upstream.sessionsMax < .max, session.search.attempts == 0, !session.search.isAdmitted,
      session.state != .waiting, upstream.state.room.isOccupiedAfterChange
    {
      releaseNext(upstream.state, because: .perhaps)
    }
    return pick
  }

  /// Starts the attempt at an endpoint where the session is counted. Returns why that failed at once.
  private func begin(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, with endpoint: EndpointIndex,
    _ upstream: Upstream, _ upstreamNumber: Int
  ) -> SessionError? {
    assign(endpoint, to: session)
    do throws(SessionError) {
      try attempt(index, session, endpoint, upstream, upstreamNumber)
      return nil
    } catch {
      noteFailure(error, of: session)
      return error
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
    session.pointee.search.attempts = min(session.pointee.search.attempts, .max - 1) + 1
    session.pointee.stepStartedAt = now
    counters[.attempts] += 1
    tallies.endpoints[endpoint.position].hold()
    tallies.endpoints[endpoint.position].noteAttempt()
  }

  private func noteFailure(_ error: SessionError, of session: UnsafeMutablePointer<Session>) {
    counters[.attemptsFailed] += 1
    session.pointee.search.failure = error
    guard let endpoint = session.pointee.endpoint else { return }
    tallies.endpoints[endpoint.position].noteFailure(error.reason)
    if error.origin == .upstream { noteFailed(at: endpoint) }
    let upstream = upstream(of: session.pointee)
    // Who fails at once must not look quick: it counts as if the whole time had been spent.
    if upstream.measure != nil, error.origin == .upstream {
      topology.endpoints[endpoint.position].state.noteLatency(
        nanoseconds: upstream.attemptNanoseconds, at: now,
        decayNanoseconds: upstream.decayNanoseconds)
    }
  }

  private func noteLatency(_ session: UnsafeMutablePointer<Session>, of what: EWMAPlan.Measure) {
    // Most upstreams measure nothing: only what is asked for is read, not all of the upstream.
    let number = topology.routes[session.pointee.route.position].upstream
    guard topology.upstreams[number].measure == what, let endpoint = session.pointee.endpoint else {
      return
    }
    topology.endpoints[endpoint.position].state.noteLatency(
      nanoseconds: now.nanoseconds(since: session.pointee.stepStartedAt), at: now,
      decayNanoseconds: topology.upstreams[number].decayNanoseconds)
  }

  /// Nothing had come back from the endpoint before these bytes moved. The time of an answer counts
  /// from the last bytes to it, so that a client that thinks while it asks does not make the endpoint
  /// look slow; if the endpoint speaks first, from the connection.
  func noteFirstBytes(_ session: UnsafeMutablePointer<Session>, uploaded: UInt64) {
    if session.pointee.search.hasLeftPlace {
      // It will not come back for that any more, whatever becomes of it. (When it was merely connected, it
      // still might; and two that are accepted and reset would let each other in without end.)
      session.pointee.search.hasLeftPlace = false
      let state = upstreamState(of: session.pointee)
      if state.room.isOccupiedAfterChange { releaseNext(state, because: .place) }
    }
    if session.pointee.download.bytes > 0 {
      noteLatency(session, of: .firstByte)
    } else if uploaded > 0 {
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
        try watch(descriptor, of: index, session)
        session.pointee.upstream.flags = firstFlags(of: address, upstream)
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
    _ descriptor: CInt, of index: Int, _ session: UnsafeMutablePointer<Session>
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
  }

  /// What is known of a connection to an endpoint before it has told anything.
  private func firstFlags(of address: KernelAddress, _ upstream: Upstream) -> Side.Flags {
    guard address.isIP else { return [.readsInPieces, .hasLastingOptions] }
    return upstream.options.noDelay ? .delaysSecond : []
  }

  /// The time of an attempt is over, or it is time for the next one, or to ask an endpoint again that
  /// was busy.
  func continueConnecting(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    if !session.pointee.isCountedAtEndpoint {
      // A timer may come before the wait between two attempts is over, as after a reload.
      guard now >= session.pointee.stepStartedAt else { return armTimer(index, session) }
      if let failure = connectOnce(index, session) { connect(index, session, after: failure) }
      return
    }
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
    min(
      connectDeadline(of: session),
      session.stepStartedAt.advanced(
        by: topology.upstreams[topology.routes[session.route.position].upstream].attemptNanoseconds)
    )
  }

  /// When all attempts are given up.
  func connectDeadline(of session: borrowing Session) -> Instant {
    session.moment(session.search.beganMilliseconds).advanced(
      by: topology.upstreams[topology.routes[session.route.position].upstream].connectNanoseconds)
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
    endRetrying(session)
    let room = upstreamState(of: session.pointee).room
    if room.isFailing { room.isFailing = false }
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

  /// Ends a session that gets no endpoint. `failure` is what became of its last attempt, `nil` if there
  /// was none.
  func connectFailed(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ failure: SessionError?
  ) {
    if let failure {
      session.pointee.noteEnd(failure.origin, failure.reason, errno: failure.errno)
    } else {
      let upstream = upstream(of: session.pointee)
      let reason: SessionEnd.Reason =
        topology.isAllDown(upstream)
        ? .allDown : upstream.state.serving == .none ? .noQuorum : .noEndpoint
      session.pointee.noteEnd(.proxy, reason)
    }
    resetSession(index, session)
    // Whoever is accepted next would fare no better; in the kernel's queue he can wait. Only now, for
    // the end of a session makes room as a rule, and here it made none.
    if let failure, failure.isShortage { pauseAccepting(.resources(failure.errno)) }
  }

  /// Takes the session out of the counts of its endpoint and upstream, and lets the next one have its
  /// place.
  func releaseEndpoint(_ session: UnsafeMutablePointer<Session>) {
    guard let upstream = uncountAtEndpoint(session) else { return }
    if upstream.room.isOccupiedAfterChange { releaseNext(upstream, because: .place) }
  }

  /// Takes the session out of the counts of its endpoint and upstream. Returns the upstream, `nil` if the
  /// session was not counted.
  @discardableResult
  private func uncountAtEndpoint(
    _ session: UnsafeMutablePointer<Session>
  ) -> UpstreamState? {
    guard session.pointee.isCountedAtEndpoint, let endpoint = session.pointee.endpoint else {
      return nil
    }
    topology.giveBack(endpoint)
    session.pointee.isCountedAtEndpoint = false
    let upstream = topology.endpoints[endpoint.position].upstreamState
    upstream.sessions.giveBack()
    return upstream
  }

  /// The session will name its endpoint no more, not in a record either.
  func forgetEndpoint(_ session: UnsafeMutablePointer<Session>) {
    assert(!session.pointee.isCountedAtEndpoint)
    guard let endpoint = session.pointee.endpoint else { return }
    tallies.endpoints[endpoint.position].release()
    session.pointee.endpoint = nil
  }
}
