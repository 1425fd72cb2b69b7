// SPDX-License-Identifier: Apache-2.0
// Connecting: the phase between a client and an endpoint. Attempts follow one another, each with an
// endpoint that has not failed this session yet, while the upstream's `connect` time lasts; nothing
// has been written to any of them, so nothing can be replayed.

import Reactor

extension Worker {
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
      guard
        let endpoint = pickers[upstreamNumber].pick(
          upstream, of: topology, tried: session.pointee.triedEndpoints, random: &random)
      else {
        return connectFailed(index, session, failure)
      }
      session.pointee.endpoint = endpoint
      session.pointee.isCountedAtEndpoint = true
      session.pointee.triedEndpoints |= endpoint.triedBit
      session.pointee.attempts = min(session.pointee.attempts, .max - 1) + 1
      session.pointee.stepStartedAt = now
      counters[.attempts] += 1
      do throws(Errno) {
        let isConnected = try attempt(
          index, session, topology.endpoints[endpoint.position].address, upstream, upstreamNumber)
        return isConnected ? connected(index, session) : armTimer(index, session)
      } catch {
        counters[.attemptsFailed] += 1
        failure = SessionError(connecting: error)
      }
    }
  }

  /// Starts one attempt. Returns whether the connection stands already.
  private func attempt(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ address: KernelAddress,
    _ upstream: Upstream, _ upstreamNumber: Int
  ) throws(Errno) -> Bool {
    let descriptor = try kernel.makeSocket(for: address, options: upstream.options)
    do throws(Errno) {
      if !upstream.sources.isEmpty,
        let source = pickers[upstreamNumber].source(of: upstream, family: address.family)
      {
        try kernel.bindSource(descriptor, to: upstream.sources[source].address)
      }
      let progress = kernel.connect(descriptor, to: address)
      if case .failed(let errno) = progress { throw errno }
      // Not before connect: a socket that is not connecting is reported as hung up.
      let generation = nextGeneration()
      try poller.add(
        descriptor, for: .stream, token: Token(.upstream, index: index, generation: generation))
      session.pointee.upstream = Side(
        socket: SocketHandle(owning: descriptor), generation: generation)
      if !address.isIP { session.pointee.upstream.flags = .readsInPieces }
      return progress == .connected
    } catch {
      kernel.reset(descriptor)
      throw error
    }
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
    if sideFailed(token.index, session, .download, errno) { relayBytes(token.index, session) }
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
    counters[.attemptsFailed] += 1
    // Not closed: the endpoint may have accepted just now, and must not see an orderly end.
    kernel.reset(session.pointee.upstream.socket.take())
    connect(index, session, after: SessionError(connecting: errno))
  }

  private func connected(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    establish(index, session)
    relayBytes(index, session)
  }

  private func establish(_ index: Int, _ session: UnsafeMutablePointer<Session>) {
    session.pointee.state = .relaying
    session.pointee.upstream.flags.insert(.writable)
    session.pointee.connectNanoseconds = now.nanoseconds(since: session.pointee.acceptedAt)
    session.pointee.lastMovedAt = now
    if topology.routes[session.pointee.route.position].access.start { record(session, .start) }
    armTimer(index, session)
  }

  private func connectFailed(
    _ index: Int, _ session: UnsafeMutablePointer<Session>, _ failure: SessionError?
  ) {
    if let failure {
      session.pointee.noteEnd(failure.origin, failure.reason, errno: failure.errno)
    } else {
      session.pointee.noteEnd(.proxy, .noEndpoint)
    }
    resetSession(index, session)
  }

  /// Takes the session out of its endpoint's count.
  func releaseEndpoint(_ session: UnsafeMutablePointer<Session>) {
    guard session.pointee.isCountedAtEndpoint, let endpoint = session.pointee.endpoint else {
      return
    }
    topology.endpoints[endpoint.position].sessions.giveBack()
    session.pointee.isCountedAtEndpoint = false
  }
}
