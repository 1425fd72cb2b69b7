// SPDX-License-Identifier: Apache-2.0
// From a session to its endpoint: the connector selects one, counts the session there, begins attempts to
// connect, says which attempts may follow one that has failed, and passes on the places of sessions that
// are over. When it does what is the states' business (Session/States).
//
// The first attempt is free. A second one goes to another endpoint at once, as long as not too many sessions
// of the upstream are past their first (the budget): when everything fails, retries must not multiply what
// the endpoints have to bear. Those after it wait a little longer each time. All of them together have the
// upstream's `connect` time.

import Balancing
import Plan
import Reactor

/// What may follow a failed attempt.
enum RetryDecision {
  /// Another attempt at this instant, which may be now.
  case retry(at: Instant)
  /// No other attempt may be made.
  case giveUp
  /// One might be, but too many sessions are at a further attempt already.
  case overBudget
}

/// What became of starting to connect.
enum AttemptProgress {
  /// The connection stands, or will be reported to stand or to have failed.
  case begun(isConnected: Bool)
  /// The queue of a unix listener is full; nothing reports when it no longer is.
  case busy
}

/// A worker's end of the upstreams. Not thread-safe: the worker owns it.
struct Connector<K: Kernel>: ~Copyable {
  private let core: WorkerCore<K>
  private var pickers: [EndpointPicker]

  init(core: WorkerCore<K>) {
    self.core = core
    pickers = core.topology.upstreams.map { EndpointPicker($0, offset: core.settings.number) }
  }

  /// The worker has gone over to another topology. Upstreams with other members begin their turn anew,
  /// somewhere: if it were always at the same place, the members there would get more, the more often
  /// members change.
  mutating func followTopology() {
    for (position, upstream) in core.topology.upstreams.enumerated() {
      guard position >= pickers.count || pickers[position].turnsVersion != upstream.turnsVersion
      else { continue }
      let offset = Int(core.random.next(below: 64))
      let rotation = Int(core.random.next(below: 1 << 24))
      let picker = EndpointPicker(upstream, offset: offset, rotation: rotation)
      if position < pickers.count { pickers[position] = picker } else { pickers.append(picker) }
    }
  }

  // MARK: Selecting

  /// Finds an endpoint for a session and counts the session there and at its upstream.
  mutating func select(_ session: inout Session) -> Pick {
    assert(!session.flags.contains(.holdsEndpointPlace))
    let position = Int(session.upstreamPosition)
    let key = hashKey(of: &session)
    let pick: Pick
    if session.flags.contains(.holdsUpstreamPlace) {
      pick = pickers[position].pick(
        core.topology.upstreams[position], of: core.topology, tried: session.triedEndpoints,
        key: key, at: core.now, random: &core.random)
    } else {
      pick = core.topology.take(
        ofUpstream: position, picker: &pickers[position], tried: session.triedEndpoints, key: key,
        at: core.now, random: &core.random)
    }
    if case .endpoint(let endpoint) = pick {
      session.flags.insert(.holdsUpstreamPlace)
      assign(endpoint, to: &session)
      return pick
    }
    if session.flags.contains(.holdsUpstreamPlace) {
      giveBackUpstreamPlace(&session)
    } else if core.view.upstreams[position].sessionsMax < .max,
      core.view.upstreams[position].state.queue.isOccupiedAfterChange
    {
      // The upstream's count included the session for a moment, which another one may have taken for full.
      handOut(position)
    }
    return pick
  }

  /// What a hash tells a session apart by; 0 without a hash.
  func hashKey(of session: inout Session) -> UInt64 {
    guard let plan = core.view.upstreams[Int(session.upstreamPosition)].hash else { return 0 }
    var prefix: (high: UInt64, low: UInt64)?
    switch plan.key {
    case .source: prefix = session.client.prefix(v4: 32, v6: 128)
    case .prefix(let v4, let v6): prefix = session.client.prefix(v4: v4, v6: v6)
    case .route: return core.view.routes[session.route.position].hashKey
    }
    var hash = StableHash()
    hash.add(prefix?.high ?? 0)
    hash.add(prefix?.low ?? 0)
    return hash.value
  }

  /// A place was passed to a session that waited for one.
  func accept(_ grant: Grant, for session: inout Session) {
    session.flags.insert(.holdsUpstreamPlace)
    assign(grant.endpoint, to: &session)
  }

  /// Begins with an endpoint where the session is counted.
  private func assign(_ endpoint: EndpointIndex, to session: inout Session) {
    forgetEndpoint(&session)
    let view = core.view.endpoints[endpoint.position]
    session.endpoint = endpoint
    session.flags.insert(.holdsEndpointPlace)
    session.flags.remove(.isLastAttempt)
    session.triedEndpoints |= view.triedBit
    session.attempts = min(session.attempts, .max - 1) + 1
    session.searchAttempts = min(session.searchAttempts, .max - 1) + 1
    session.attemptBeganAt = core.now
    core.counters[.attempts] += 1
    view.counters.hold()
    view.counters.noteAttempt()
  }

  /// The session will name its endpoint no more, not in a record either.
  func forgetEndpoint(_ session: inout Session) {
    assert(!session.flags.contains(.holdsEndpointPlace))
    guard let endpoint = session.endpoint else { return }
    core.view.endpoints[endpoint.position].counters.release()
    session.endpoint = nil
  }

  // MARK: Places

  /// The session is over at its endpoint: passes its place on, if it has one.
  mutating func releasePlace(_ session: inout Session) {
    guard session.flags.contains(.holdsEndpointPlace), let endpoint = session.endpoint else {
      return giveBackUpstreamPlace(&session)
    }
    session.flags.subtract([.holdsEndpointPlace, .holdsUpstreamPlace])
    free(endpoint, near: Int(session.upstreamPosition))
  }

  /// The session has failed at its endpoint and looks for another one: it stays counted at the upstream,
  /// unless its route leads to another upstream by now.
  mutating func leaveEndpoint(_ session: inout Session) {
    guard session.flags.contains(.holdsEndpointPlace), let endpoint = session.endpoint else {
      return
    }
    let position = Int(session.upstreamPosition)
    let state = core.topology.endpoints[endpoint.position].upstreamState
    guard state === core.view.upstreams[position].state else { return releasePlace(&session) }
    session.flags.remove(.holdsEndpointPlace)
    core.topology.giveBack(endpoint)
    if state.queue.isOccupiedAfterChange { handOut(position) }
  }

  /// A place belongs to no session any more: passes it on. `position` is where its upstream is, as a rule.
  mutating func free(_ endpoint: EndpointIndex, near position: Int) {
    let state = core.topology.endpoints[endpoint.position].upstreamState
    if !state.queue.isOccupied {
      core.topology.giveBackPlace(endpoint)
      guard state.queue.isOccupiedAfterChange else { return }
      if let position = self.position(of: state, near: position) { handOut(position) }
    } else if let position = self.position(of: state, near: position) {
      core.topology.free(
        endpoint, ofUpstream: position, picker: &pickers[position], at: core.now,
        random: &core.random, post: core.post)
    } else {
      core.topology.giveBackPlace(endpoint)
    }
  }

  /// The session gives up the place at its upstream that it has kept between two attempts.
  private mutating func giveBackUpstreamPlace(_ session: inout Session) {
    guard session.flags.contains(.holdsUpstreamPlace) else { return }
    session.flags.remove(.holdsUpstreamPlace)
    let position = Int(session.upstreamPosition)
    let state = core.view.upstreams[position].state
    state.sessions.giveBack()
    if state.queue.isOccupiedAfterChange { handOut(position) }
  }

  /// Where an upstream is in the topology, `nil` if it is gone. Asked only where something waits.
  private func position(of state: UpstreamState, near position: Int) -> Int? {
    let topology = core.topology
    return topology.upstreams[position].state === state
      ? position : topology.upstreams.firstIndex { $0.state === state }
  }

  /// The same, for an upstream that a session has left.
  mutating func handOut(of state: UpstreamState) {
    guard state.queue.isOccupiedAfterChange, let position = position(of: state, near: 0) else {
      return
    }
    handOut(position)
  }

  /// Grants places to sessions that wait for one in an upstream's queue.
  mutating func handOut(_ position: Int) {
    core.topology.handOut(
      .place, ofUpstream: position, picker: &pickers[position], at: core.now,
      random: &core.random, post: core.post)
  }

  // MARK: Attempts

  /// Starts an attempt at the session's endpoint.
  mutating func begin(
    _ session: inout Session, generation: UInt32, token: Token
  ) throws(SessionError) -> AttemptProgress {
    guard let endpoint = session.endpoint else { preconditionFailure("an attempt at no endpoint") }
    let position = Int(session.upstreamPosition)
    let isIP = core.topology.endpoints[endpoint.position].address.isIP
    let descriptor: CInt
    do throws(Errno) {
      descriptor = try core.kernel.makeSocket(
        for: core.topology.endpoints[endpoint.position].address,
        options: core.view.upstreams[position].options)
    } catch {
      throw SessionError(connecting: error)
    }
    do throws(SessionError) {
      if core.view.upstreams[position].hasSources {
        try bindSource(descriptor, to: endpoint, position)
      }
      let progress = core.kernel.connect(
        descriptor, to: core.topology.endpoints[endpoint.position].address)
      switch progress {
      case .failed(let errno): throw SessionError(connecting: errno)
      case .busy:
        core.kernel.close(descriptor)
        return .busy
      case .inProgress, .connected: break
      }
      // Not watched before it connects: until then the kernel reports it as hung up.
      do throws(Errno) {
        try core.poller.add(descriptor, for: .stream, token: token)
      } catch {
        throw SessionError(connecting: error)
      }
      let flags: Connection.Flags =
        !isIP ? .newUnix : core.view.upstreams[position].options.noDelay ? .delaysSecond : []
      session.upstream = Connection(
        socket: SocketHandle(owning: descriptor), generation: generation, flags: flags)
      return .begun(isConnected: progress == .connected)
    } catch {
      core.kernel.reset(descriptor)
      throw error
    }
  }

  private mutating func bindSource(
    _ descriptor: CInt, to endpoint: EndpointIndex, _ position: Int
  ) throws(SessionError) {
    let family = core.topology.endpoints[endpoint.position].address.family
    guard
      let source = pickers[position].source(of: core.topology.upstreams[position], family: family)
    else { return }
    do throws(Errno) {
      try core.kernel.bindSource(
        descriptor, to: core.topology.upstreams[position].sources[source].address)
    } catch {
      throw SessionError(binding: error)
    }
  }

  /// When the current attempt is given up.
  func attemptDeadline(of session: inout Session) -> Instant {
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    let all = connectDeadline(of: &session)
    // One that no other can follow has all the time there is. Now and then it is looked whether another one
    // can, after all.
    let began = session.flags.contains(.isLastAttempt) ? core.now : session.attemptBeganAt
    return min(all, began.advanced(by: view.attemptNanoseconds))
  }

  /// When all attempts are given up.
  func connectDeadline(of session: inout Session) -> Instant {
    session.searchBeganAt.advanced(
      by: core.view.upstreams[Int(session.upstreamPosition)].connectNanoseconds)
  }

  // MARK: Retrying

  /// Whether an attempt may follow the one that has just failed, and when. If so, the session is counted as
  /// one that is past its first.
  mutating func mayRetry(_ session: inout Session) -> RetryDecision {
    let position = Int(session.upstreamPosition)
    let view = core.view.upstreams[position]
    let deadline = connectDeadline(of: &session)
    let attempts = Int(session.searchAttempts)
    let isUntried = core.topology.hasUntried(
      core.topology.upstreams[position], session.triedEndpoints)
    guard core.now < deadline, attempts < view.retry.attemptsMax ?? .max,
      isUntried || view.retry.attemptsMax != nil
    else { return .giveUp }
    guard beginRetrying(&session, view) else {
      view.state.note(.retryRefused)
      return .overBudget
    }
    let wait = view.retry.wait(
      afterAttempts: isUntried ? attempts : max(2, attempts), random: &core.random)
    let next = core.now.advanced(by: wait)
    guard wait == 0 || next < deadline else { return .giveUp }
    // With a number of attempts of its own, a session that has tried all endpoints begins anew.
    if !isUntried { session.triedEndpoints = 0 }
    view.state.note(.retry)
    return .retry(at: next)
  }

  /// Whether another attempt could follow the one that is under way, if that were given up now.
  func couldFollow(_ session: inout Session) -> Bool {
    let position = Int(session.upstreamPosition)
    let view = core.view.upstreams[position]
    guard Int(session.searchAttempts) < view.retry.attemptsMax ?? .max else { return false }
    guard
      session.flags.contains(.isRetrying)
        || view.state.retrying.value < view.retry.budget(sessions: view.state.sessions.value)
    else { return false }
    if view.retry.attemptsMax != nil { return true }
    return core.topology.upstreams[position].hasOpenMember(session.triedEndpoints)
  }

  /// Counts a session as one that is past its first attempt, unless too many are.
  private func beginRetrying(_ session: inout Session, _ view: UpstreamView) -> Bool {
    guard !session.flags.contains(.isRetrying) else { return true }
    let budget = view.retry.budget(sessions: view.state.sessions.value)
    guard view.state.retrying.take(below: budget) else { return false }
    session.flags.insert(.isRetrying)
    return true
  }

  /// The session is connected, or tries no more for now. `upstream` is the one that it has looked at, if
  /// that is another than its own now.
  func endRetrying(_ session: inout Session, at upstream: UpstreamState? = nil) {
    guard session.flags.contains(.isRetrying) else { return }
    session.flags.remove(.isRetrying)
    (upstream ?? core.view.upstreams[Int(session.upstreamPosition)].state).retrying.giveBack()
  }

  // MARK: What sessions tell of their endpoints

  /// The session's attempt has failed.
  func noteFailure(_ error: SessionError, of session: inout Session) {
    core.counters[.attemptsFailed] += 1
    session.failure = error
    guard let endpoint = session.endpoint else { return }
    core.view.endpoints[endpoint.position].counters.noteFailure(error.reason)
    guard error.origin == .upstream else { return }
    noteFailed(at: endpoint, isConnecting: error.reason != .reset)
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    // An endpoint that fails at once must not look quick: it counts as if the whole time had been spent.
    guard view.measure != nil else { return }
    noteLatency(view.attemptNanoseconds, at: endpoint, view)
  }

  /// A connection to an endpoint stands.
  func noteConnected(_ session: inout Session) {
    guard let endpoint = session.endpoint else { return }
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    if view.state.queue.isFailing { view.state.queue.isFailing = false }
    if core.view.endpoints[endpoint.position].countsOnlyConnects {
      noteServed(at: endpoint, since: core.now)
    }
    guard view.measure == .connect else { return }
    noteLatency(core.now.nanoseconds(since: session.attemptBeganAt), at: endpoint, view)
  }

  /// The first bytes of an endpoint have reached its client, `nanoseconds` after the last bytes to it, or
  /// after the connection if it spoke first: so a client that thinks while it asks does not make the
  /// endpoint look slow.
  func noteFirstBytes(of session: inout Session, after nanoseconds: UInt64) {
    guard let endpoint = session.endpoint else { return }
    if !core.view.endpoints[endpoint.position].countsOnlyConnects {
      noteServed(at: endpoint, since: session.connectedAt)
    }
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    guard view.measure == .firstByte else { return }
    noteLatency(nanoseconds, at: endpoint, view)
  }

  private func noteLatency(_ nanoseconds: UInt64, at endpoint: EndpointIndex, _ view: UpstreamView)
  {
    core.view.endpoints[endpoint.position].state.noteLatency(
      nanoseconds: nanoseconds, at: core.now, decayNanoseconds: view.decayNanoseconds)
  }

  /// A session has failed at an endpoint, and it is the endpoint's doing.
  func noteFailed(at endpoint: EndpointIndex, isConnecting: Bool) {
    let view = core.view.endpoints[endpoint.position]
    guard view.failuresMax > 0, isConnecting || !view.countsOnlyConnects else { return }
    if view.state.noteFailed(max: view.failuresMax) { core.report(.endpointFailing(view.state)) }
  }

  /// An endpoint has proved that it serves, by a connection that has stood `since` then.
  func noteServed(at endpoint: EndpointIndex, since: Instant) {
    let view = core.view.endpoints[endpoint.position]
    guard view.failuresMax > 0, view.state.noteServed(max: view.failuresMax) else { return }
    core.report(.endpointServed(view.state, since: since))
  }
}

extension Topology {
  /// Whether an endpoint that may get sessions has not failed a session yet; those that are ejected may get
  /// the sessions that all others have failed.
  func hasUntried(_ upstream: Upstream, _ tried: UInt64) -> Bool {
    let serving = upstream.state.serving
    return upstream.tiers.contains { tier in
      tier.contains { member in
        let endpoint = endpoints[member.endpoint.position]
        return member.weight > 0 && tried & endpoint.triedBit == 0
          && (serving == .panic || endpoint.state.availability != .down)
      }
    }
  }
}

extension Upstream {
  /// Whether a member that has not failed a session may be picked and has room.
  func hasOpenMember(_ tried: UInt64) -> Bool {
    state.serving != .none
      && rosters.contains { roster in
        roster.members.indices.contains { roster.isOpen($0, tried) }
      }
  }
}
