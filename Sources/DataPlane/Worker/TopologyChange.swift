// SPDX-License-Identifier: Apache-2.0
// Changing to another topology, in one step between two messages. Whatever is in both topologies keeps its
// state: listeners stay registered, upstreams keep their turns, sessions their counts. Whatever was removed
// gets no new sessions; its sessions go on, since its slots stay as they were.

import Reactor

/// What has changed about a route for its sessions.
private struct RouteChange: OptionSet {
  let rawValue: UInt8
  /// The deadlines of its sessions.
  static let deadlines = RouteChange(rawValue: 1)
  /// The interval of their records.
  static let records = RouteChange(rawValue: 2)
  /// The upstream.
  static let upstream = RouteChange(rawValue: 4)
}

extension Worker {
  /// Changes to a topology, unless it is not newer than the current one: it may have come with a connection
  /// from another worker already.
  func use(_ next: Topology) {
    guard next.version > core.topology.version else {
      // The last reference to an old topology must not be dropped here: freeing it takes a while.
      if next !== core.topology { core.report(.released(next)) }
      return
    }
    precondition(core.settings.sessionsMax >= next.sessionsMax, "one worker may get all sessions")
    assert(next.sessions === core.topology.sessions)
    assert(next.listeners.count >= core.topology.listeners.count)
    assert(next.routes.count >= core.topology.routes.count)
    assert(next.endpoints.count >= core.topology.endpoints.count)
    drainRemovedListeners(in: next)
    let previous = core.replaceTopology(with: next)
    connector.followTopology()
    reviewClosings()
    acceptor.followTopology()
    // Last: sessions that wait may find no endpoint any more, and when they end, accepting resumes.
    reviewSessions(since: previous)
    core.counters[.topologyChanges] += 1
    core.report(.using(version: next.version, instead: previous))
  }

  // MARK: Listening

  /// Accepts the connections that wait at listeners that are removed: they arrived under the old topology.
  private func drainRemovedListeners(in next: Topology) {
    let gone = acceptor.listening.indices.filter { position in
      let listener = next.listeners[position]
      return listener.isRetired
        || listener.generation != core.topology.listeners[position].generation
    }
    for position in gone { acceptAll(at: ListenerIndex(position)) }
    // Together, at the end: a session that ends while others are accepted may end a pause, and then all of
    // them are watched again.
    for position in gone { acceptor.stopListening(at: ListenerIndex(position)) }
  }

  // MARK: Sessions

  /// Applies changes of routes to their sessions. Visits every session, but only if a route has changed.
  private func reviewSessions(since previous: Topology) {
    let changes = previous.routes.indices.map { change(of: $0, since: previous) }
    guard changes.contains(where: { !$0.isEmpty }) else { return }
    var next = sessions.nextIndex(from: 0)
    while let index = next {
      next = sessions.nextIndex(from: index + 1)
      guard let session = sessions.find(index) else { continue }
      let position = session.pointee.route.position
      if changes[position].contains(.records),
        let every = core.view.routes[position].recordEveryNanoseconds
      {
        let passed = core.now.nanoseconds(since: session.pointee.acceptedAt) / every
        session.pointee.recordMomentsPassed = UInt32(clamping: passed)
      }
      if changes[position].contains(.upstream) {
        let old = previous.upstreams[previous.routes[position].upstream].state
        moveToNewUpstream(index, &session.pointee, from: old)
      }
      if !changes[position].isEmpty { rearm(index) }
    }
  }

  /// The session's route leads to another upstream now, whose endpoints have not failed it.
  private func moveToNewUpstream(_ index: Int, _ session: inout Session, from old: UpstreamState) {
    session.triedEndpoints = 0
    connector.endRetrying(&session, at: old)
    leaveQueue(&session, of: old)
    if session.flags.contains(.holdsUpstreamPlace), !session.flags.contains(.holdsEndpointPlace) {
      session.flags.remove(.holdsUpstreamPlace)
      old.sessions.giveBack()
      connector.handOut(of: old)
    }
    session.upstreamPosition = UInt32(core.view.routes[session.route.position].upstream)
    run(index, .rerouted)
  }

  private func change(of position: Int, since previous: Topology) -> RouteChange {
    let (old, new) = (previous.routes[position], core.topology.routes[position])
    // A route without sessions is left out: the slot of its upstream may have been given to another one.
    guard new.state.sessions.value > 0 else { return [] }
    let oldUpstream = previous.upstreams[old.upstream]
    let newUpstream = core.topology.upstreams[new.upstream]
    var change: RouteChange = []
    if old.idleNanoseconds != new.idleNanoseconds
      || old.halfCloseNanoseconds != new.halfCloseNanoseconds
      || old.flushNanoseconds != new.flushNanoseconds
      || oldUpstream.connectNanoseconds != newUpstream.connectNanoseconds
      || oldUpstream.attemptNanoseconds != newUpstream.attemptNanoseconds
      || oldUpstream.queue != newUpstream.queue || oldUpstream.hold != newUpstream.hold
    {
      change.insert(.deadlines)
    }
    if old.recordEveryNanoseconds != new.recordEveryNanoseconds { change.insert(.records) }
    if old.upstream != new.upstream { change.insert(.upstream) }
    return change
  }
}
