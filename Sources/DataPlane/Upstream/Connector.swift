// SPDX-License-Identifier: Apache-2.0
// From a session to its endpoint: the connector selects one, counts the session there, begins attempts to
// connect, decides which attempts may follow a failed one, and passes on the places of sessions that are over.
// The states (Session/States) decide when it does this.
//
// The first attempt is free. A second one goes to another endpoint at once, as long as not too many sessions
// of the upstream are past their first (the budget): when everything fails, retries must not multiply the load
// of the endpoints. Later attempts wait a little longer each time. All of them together have the upstream's
// `connect` time.

import Balancing
import Plan
import Reactor

/// What may follow a failed attempt.
enum RetryDecision {
  /// Another attempt at this instant, which may be now.
  case retry(at: Instant)
  /// No other attempt may be made.
  case giveUp
  /// Another attempt is possible, but too many sessions are past their first one already.
  case overBudget
}

/// The result of starting to connect.
enum AttemptProgress {
  /// The connection is established, or its result will be reported.
  case begun(isConnected: Bool)
  /// The backlog of a unix listener is full; no event reports when it no longer is.
  case busy
}

/// Selection, attempts and places of a worker. Not thread-safe: the worker owns it.
struct Connector<K: Kernel>: ~Copyable {
  private let core: WorkerCore<K>
  private var pickers: [EndpointPicker]

  init(core: WorkerCore<K>) {
    self.core = core
    pickers = core.topology.upstreams.map { EndpointPicker($0, offset: core.settings.number) }
  }

  /// The worker has changed to another topology. Upstreams with other members begin their turns anew, at a random
  /// position: a fixed one would favour the members there with each change.
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
    // A copy of the reference: with a sanitizer the compiler takes reading it through `self` for an access to
    // all of it, while `pickers` is being changed.
    let core = core
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
      // The upstream's count included this session for a moment, so another one may have found it full.
      handOut(position)
    }
    return pick
  }

  /// The session's key for a hash; 0 without a hash.
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

  /// Takes a place that was passed to a waiting session.
  func accept(_ place: PassedPlace, for session: inout Session) {
    session.flags.insert(.holdsUpstreamPlace)
    assign(place.endpoint, to: &session)
  }

  /// Notes the endpoint where the session is counted now.
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

  /// The session no longer refers to its endpoint. Records that are written later do not name it.
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

  /// The session has failed at its endpoint and looks for another one: it stays counted at the upstream, unless
  /// its route has another upstream by now.
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

  /// A place belongs to no session any more: passes it on. `position` is a hint where its upstream is.
  mutating func free(_ endpoint: EndpointIndex, near position: Int) {
    let core = core
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

  /// Gives back the session's place at its upstream, which it has kept between two attempts.
  private mutating func giveBackUpstreamPlace(_ session: inout Session) {
    guard session.flags.contains(.holdsUpstreamPlace) else { return }
    session.flags.remove(.holdsUpstreamPlace)
    let position = Int(session.upstreamPosition)
    let state = core.view.upstreams[position].state
    state.sessions.giveBack()
    if state.queue.isOccupiedAfterChange { handOut(position) }
  }

  /// The position of an upstream in the topology, `nil` if it was removed. Called only while sessions wait.
  private func position(of state: UpstreamState, near position: Int) -> Int? {
    let topology = core.topology
    return topology.upstreams[position].state === state
      ? position : topology.upstreams.firstIndex { $0.state === state }
  }

  /// Grants places to sessions that wait for one in the queue of an upstream that a session has left.
  mutating func handOut(of state: UpstreamState) {
    guard state.queue.isOccupiedAfterChange, let position = position(of: state, near: 0) else {
      return
    }
    handOut(position)
  }

  /// Grants places to sessions that wait for one in an upstream's queue.
  mutating func handOut(_ position: Int) {
    let core = core
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
      // Registered only now: before `connect` the kernel reports a socket as hung up.
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

  /// The deadline of the current attempt.
  func attemptDeadline(of session: inout Session) -> Instant {
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    let all = connectDeadline(of: &session)
    // An attempt that no other can follow may use all the time that is left. From time to time it is checked
    // whether another one can follow after all.
    let began = session.flags.contains(.isLastAttempt) ? core.now : session.attemptBeganAt
    return min(all, began.advanced(by: view.attemptNanoseconds))
  }

  /// The deadline of all attempts.
  func connectDeadline(of session: inout Session) -> Instant {
    session.searchBeganAt.advanced(
      by: core.view.upstreams[Int(session.upstreamPosition)].connectNanoseconds)
  }

  // MARK: Retrying

  /// Whether an attempt may follow the one that has just failed, and when. If so, the session is counted as past
  /// its first attempt.
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
    // If `attempts` is configured, a session that has tried all endpoints begins anew.
    if !isUntried { session.triedEndpoints = 0 }
    view.state.note(.retry)
    return .retry(at: next)
  }

  /// Whether another attempt could follow the current one, if that were given up now.
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

  /// Counts a session as past its first attempt, unless too many sessions are.
  private func beginRetrying(_ session: inout Session, _ view: UpstreamView) -> Bool {
    guard !session.flags.contains(.isRetrying) else { return true }
    let budget = view.retry.budget(sessions: view.state.sessions.value)
    guard view.state.retrying.take(below: budget) else { return false }
    session.flags.insert(.isRetrying)
    return true
  }

  /// The session is connected, or makes no attempts for now. `upstream` is the upstream that counts it, if the
  /// session has another one now.
  func endRetrying(_ session: inout Session, at upstream: UpstreamState? = nil) {
    guard session.flags.contains(.isRetrying) else { return }
    session.flags.remove(.isRetrying)
    (upstream ?? core.view.upstreams[Int(session.upstreamPosition)].state).retrying.giveBack()
  }

  // MARK: Results of sessions

  /// The session's attempt has failed.
  func noteFailure(_ error: SessionError, of session: inout Session) {
    core.counters[.attemptsFailed] += 1
    session.failure = error
    guard let endpoint = session.endpoint else { return }
    core.view.endpoints[endpoint.position].counters.noteFailure(error.reason)
    guard error.origin == .upstream else { return }
    noteFailed(at: endpoint, isConnecting: error.reason != .reset)
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    // An endpoint that fails at once must not look fast: it counts as if it had taken the whole time.
    guard view.measure != nil else { return }
    noteLatency(view.attemptNanoseconds, at: endpoint, view)
  }

  /// A connection to an endpoint is established.
  func noteConnected(_ session: inout Session) {
    // One that was reset since proves nothing.
    guard let endpoint = session.endpoint, !session.upstream.flags.contains(.isCut) else { return }
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    if view.state.queue.isFailing { view.state.queue.isFailing = false }
    if core.view.endpoints[endpoint.position].countsOnlyConnects {
      noteServed(at: endpoint, since: core.now)
    }
    guard view.measure == .connect else { return }
    noteLatency(core.now.nanoseconds(since: session.attemptBeganAt), at: endpoint, view)
  }

  /// The first bytes of an endpoint have reached its client, `nanoseconds` after the last bytes to it, or after
  /// the connection if the endpoint spoke first. So a client that is slow to send its question does not make the
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

  /// A session has failed at an endpoint, and the endpoint caused it.
  func noteFailed(at endpoint: EndpointIndex, isConnecting: Bool) {
    let view = core.view.endpoints[endpoint.position]
    guard view.failuresMax > 0, isConnecting || !view.countsOnlyConnects else { return }
    if view.state.noteFailed(max: view.failuresMax) { core.report(.endpointFailing(view.state)) }
  }

  /// An endpoint has served a session, on a connection established at `since`.
  func noteServed(at endpoint: EndpointIndex, since: Instant) {
    let view = core.view.endpoints[endpoint.position]
    guard view.failuresMax > 0, view.state.noteServed(max: view.failuresMax) else { return }
    core.report(.endpointServed(view.state, since: since))
  }
}

extension Topology {
  /// Whether an endpoint that may get sessions has not failed a session yet. Ejected endpoints are included: they
  /// get sessions that all others have failed.
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
