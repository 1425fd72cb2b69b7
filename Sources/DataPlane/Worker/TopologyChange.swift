// SPDX-License-Identifier: Apache-2.0
// Going over to another topology, in one step between two messages. What stays keeps all it has:
// listeners stay registered, upstreams keep their turn, sessions their counts. What is gone lets
// nobody in any more; its sessions go on, since its slots stay as they were.

import Reactor

/// One worker's numbers of the listeners, routes and endpoints of a topology, by slot. They are
/// valid as long as that topology, which holds the memory.
struct Tallies {
  let listeners: [ListenerCounters]
  let routes: [RouteCounters]
  let endpoints: [EndpointCounters]

  init(of topology: Topology, worker: Int) {
    listeners = topology.listeners.map { $0.state.counters(of: worker) }
    routes = topology.routes.map { $0.state.counters(of: worker) }
    endpoints = topology.endpoints.map { $0.state.counters(of: worker) }
  }
}

/// What is new about a route to the sessions it has.
private struct RouteChange: OptionSet {
  let rawValue: UInt8
  /// When sessions must be looked at.
  static let deadlines = RouteChange(rawValue: 1)
  /// How often they are recorded.
  static let records = RouteChange(rawValue: 2)
  /// Who serves.
  static let upstream = RouteChange(rawValue: 4)
}

extension Worker {
  /// Goes over to a topology, unless it is not newer than the current one: another worker may have
  /// brought it along already.
  func use(_ next: Topology) {
    guard next.version > topology.version else { return }
    precondition(settings.sessionsMax >= next.sessionsMax, "one worker may get all sessions")
    assert(next.sessions === topology.sessions)
    assert(next.listeners.count >= topology.listeners.count)
    assert(next.routes.count >= topology.routes.count)
    assert(next.endpoints.count >= topology.endpoints.count)
    stopAcceptingWhatIsGone(in: next)
    let previous = topology
    topology = next
    tallies = Tallies(of: next, worker: settings.number)
    renewPickers()
    reviewClosings()
    reviewListening()
    // Last: whoever waits may find nobody to serve it any more, and its end has accepting go on.
    reviewSessions(since: previous)
    counters[.topologyChanges] += 1
    report(.using(version: next.version))
  }

  /// Upstreams with other members begin their turn anew, somewhere: if it were always at the same
  /// place, those there would get more, the more often members change.
  private func renewPickers() {
    for (position, upstream) in topology.upstreams.enumerated() {
      guard position >= pickers.count || pickers[position].turnsVersion != upstream.turnsVersion
      else { continue }
      let offset = Int(random.next(below: 64))
      let rotation = Int(random.next(below: 1 << 24))
      let picker = EndpointPicker(upstream, offset: offset, rotation: rotation)
      if position < pickers.count { pickers[position] = picker } else { pickers.append(picker) }
    }
  }

  // MARK: Listening

  /// Serves whoever waits at listeners that are gone; he has arrived under the topology that goes.
  private func stopAcceptingWhatIsGone(in next: Topology) {
    let gone = listening.indices.filter { position in
      let listener = next.listeners[position]
      return listener.isRetired
        || listener.generation != topology.listeners[position].generation
    }
    for position in gone { acceptAll(at: ListenerIndex(position)) }
    // Only now, and all of them: a session that ends while others are accepted has listeners watched
    // again that were left out in a pause.
    for position in gone { stopListening(at: ListenerIndex(position)) }
  }

  private func reviewListening() {
    while listening.count < topology.listeners.count { listening.append(ListenerWatch()) }
    guard isAccepting else { return }
    if case .routeSessionsMax(let route) = pause.reported,
      topology.routes[route.position].isRetired
    {
      // Told now, while the slot is still that route's.
      report(.acceptResumed(.routeSessionsMax(route)))
      pause.reported = nil
    }
    if pause.reason != nil {
      resumeAccepting()
    } else if let reason = startListening() {
      retryListening(after: reason)
    }
  }

  // MARK: Sessions

  /// Has the sessions feel what is new about their routes. Looks at every session, but only if there
  /// is something.
  private func reviewSessions(since previous: Topology) {
    let changes = previous.routes.indices.map { change(of: $0, since: previous) }
    guard changes.contains(where: { !$0.isEmpty }) else { return }
    var next = sessions.nextIndex(from: 0)
    while let index = next {
      next = sessions.nextIndex(from: index + 1)
      guard let session = sessions.find(index) else { continue }
      let position = session.pointee.route.position
      if changes[position].contains(.records),
        let every = topology.routes[position].recordEveryNanoseconds
      {
        let passed = now.nanoseconds(since: session.pointee.acceptedAt) / every
        session.pointee.recordMomentsPassed = UInt32(clamping: passed)
      }
      if changes[position].contains(.upstream) {
        let old = previous.upstreams[previous.routes[position].upstream].state
        goOver(index, session, from: old)
      }
      // It may have ended there.
      guard let session = sessions.find(index), !changes[position].isEmpty else { continue }
      armTimer(index, session)
    }
  }

  private func change(of position: Int, since previous: Topology) -> RouteChange {
    let (old, new) = (previous.routes[position], topology.routes[position])
    // Nobody to feel it; and an empty slot may stand beside an upstream that is another's by now.
    guard new.state.sessions.value > 0 else { return [] }
    let oldUpstream = previous.upstreams[old.upstream]
    let newUpstream = topology.upstreams[new.upstream]
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
