// SPDX-License-Identifier: Apache-2.0
// Accepting: all workers watch all listening sockets, the kernel wakes one of them, and that one
// keeps the connection unless another is clearly less loaded. Nothing is accepted that could not be
// served: when a bound is reached, or the kernel has no descriptor left, the listener is not watched
// for a while, and clients wait in the kernel's queue instead of spinning the loop.

import Reactor

/// A listener as one worker sees it.
struct ListenerWatch {
  /// The listener whose events are asked for, by its generation; `nil` if none are.
  var generation: UInt32?
  /// Whether the kernel has refused to watch it, and that was reported.
  var isRefused = false
  /// How many connections are expected to wait when there is one.
  var expected = 1
  /// The last turn in which connections were accepted here.
  var lastTurn: UInt32 = 0

  /// Whether events are asked for.
  var isRegistered: Bool { generation != nil }
}

/// What a worker remembers of pauses in accepting.
struct PauseState {
  /// How long accepting rests before it is tried again, if no session ends before that.
  static let retryNanoseconds: UInt64 = 500_000_000
  /// How long accepting must go on before a pause counts as over. At a bound it pauses and resumes
  /// with every session that ends; that is said once, not every time.
  static let calmNanoseconds: UInt64 = 10_000_000_000

  /// How many connections may go away one after another while they are accepted.
  static let abortedInARowMax = 64

  /// Connections that went away since one was accepted.
  var abortedInARow = 0
  /// Why a listener is not watched at the moment.
  var reason: AcceptPause?
  /// The pause that has been reported and not been reported as over.
  var reported: AcceptPause?
  var lastAt = Instant(nanoseconds: 0)
}

extension Worker {
  private func startListening(_ index: ListenerIndex) throws(Errno) {
    let listener = topology.listeners[index.position]
    assert(!listening[index.position].isRegistered)
    assert(!listener.isRetired)
    try poller.add(
      listener.descriptor, for: .sharedListener,
      token: Token(.listener, index: index.position, generation: listener.generation))
    listening[index.position].generation = listener.generation
    listening[index.position].isRefused = false
  }

  /// Watches the listeners that are not watched yet, but for those of full routes. Returns why some
  /// are left out, `nil` if none is.
  func startListening() -> AcceptPause? {
    var reason: AcceptPause?
    for (position, listener) in topology.listeners.enumerated()
    where !listener.isRetired && !listening[position].isRegistered {
      let route = topology.routes[listener.route.position]
      if route.state.sessions.value >= route.sessionsMax {
        reason = .routeSessionsMax(listener.route)
        continue
      }
      do throws(Errno) {
        try startListening(ListenerIndex(position))
      } catch {
        reason = .resources(error)
        guard !listening[position].isRefused else { continue }
        listening[position].isRefused = true
        report(.listenRefused(ListenerIndex(position), error))
      }
    }
    return reason
  }

  func stopListening(at index: ListenerIndex) {
    guard listening[index.position].isRegistered else { return }
    assert(listening[index.position].generation == topology.listeners[index.position].generation)
    poller.remove(topology.listeners[index.position].descriptor)
    listening[index.position].generation = nil
  }

  /// Watches no listener any more. What waits in the kernel's queues stays there.
  func stopListening() {
    for position in listening.indices { stopListening(at: ListenerIndex(position)) }
    pause.reason = nil
    timers.cancel(pauseTimer)
  }

  /// Accepts everybody who is waiting, as far as the bounds allow, and then nobody any more.
  func stopAccepting() {
    for position in listening.indices { acceptAll(at: ListenerIndex(position)) }
    stopListening()
  }

  /// Accepts everybody who is waiting at one listener, as far as the bounds allow.
  func acceptAll(at index: ListenerIndex) {
    // A bound on rounds: clients may arrive faster than they are accepted.
    for _ in 0..<64 where listening[index.position].isRegistered {
      listening[index.position].expected = settings.relay.acceptsPerTurn
      guard acceptConnections(index) else { break }
    }
  }

  /// Accepts what is waiting at a listener, up to the bound of a turn. Returns whether more may be
  /// waiting.
  ///
  /// Not until the kernel says that nobody is left: where clients come one by one, that would be a second
  /// call for each. It accepts as many as came the last time; who is left is reported again in the next
  /// turn, and then twice as many are accepted.
  @discardableResult
  func acceptConnections(_ index: ListenerIndex) -> Bool {
    let listener = topology.listeners[index.position]
    let expected = expectedConnections(index)
    for accepted in 0..<expected {
      guard count(listener.route, at: index) else { return false }
      switch kernel.accept(from: listener.descriptor) {
      case .accepted(let descriptor, let peer):
        counters[.accepted] += 1
        tallies.listeners[index.position].noteCame()
        tallies.routes[listener.route.position].noteAccepted()
        pause.abortedInARow = 0
        place(descriptor, peer, index, listener.route)
        // Serving it may have shown that there is not enough for another.
        guard listening[index.position].isRegistered else { return false }
      case .wouldBlock:
        uncountAccepted(listener.route)
        listening[index.position].expected = max(1, accepted)
        return false
      case .aborted(let errno):
        uncountAccepted(listener.route)
        counters[.acceptAborted] += 1
        pause.abortedInARow += 1
        // So many are no accident: accepting itself is forbidden (EPERM of a seccomp filter).
        guard pause.abortedInARow < PauseState.abortedInARowMax else {
          pause.abortedInARow = 0
          pauseAccepting(.resources(errno))
          return false
        }
      case .failed(let errno):
        uncountAccepted(listener.route)
        counters[.acceptFailed] += 1
        pauseAccepting(.resources(errno))
        return false
      }
    }
    return true
  }

  /// How many connections to accept now: more and more while there are some in every turn.
  private func expectedConnections(_ index: ListenerIndex) -> Int {
    if listening[index.position].lastTurn &+ 1 == turnNumber {
      listening[index.position].expected *= 2
    }
    listening[index.position].lastTurn = turnNumber
    let expected = min(listening[index.position].expected, settings.relay.acceptsPerTurn)
    listening[index.position].expected = expected
    return expected
  }

  /// Counts a session before it exists, so that no bound is passed by several workers at once.
  private func count(_ route: RouteIndex, at index: ListenerIndex) -> Bool {
    guard topology.sessions.take(below: topology.sessionsMax) else {
      pauseAccepting(.sessionsMax)
      return false
    }
    let max = topology.routes[route.position].sessionsMax
    guard topology.routes[route.position].state.sessions.take(below: max) else {
      topology.sessions.giveBack()
      pauseAccepting(.routeSessionsMax(route))
      return false
    }
    return true
  }

  private func uncountAccepted(_ route: RouteIndex) {
    topology.routes[route.position].state.sessions.giveBack()
    topology.sessions.giveBack()
  }

  /// Takes back what was counted for a session of this worker.
  func uncount(_ route: RouteState) {
    route.sessions.giveBack()
    topology.sessions.giveBack()
    link.load.giveBack()
  }

  // MARK: Spreading

  /// Gives an accepted connection to the worker that shall serve it.
  private func place(
    _ descriptor: CInt, _ peer: PeerAddress, _ index: ListenerIndex, _ route: RouteIndex
  ) {
    if let other = lessLoadedWorker() {
      other.load.add()
      let connection = HandedOver(
        descriptor: descriptor, client: peer, listener: index, route: route, topology: topology)
      if other.inbox.post(.adopt(connection)) {
        counters[.handedOver] += 1
        return
      }
      other.load.giveBack()
    }
    link.load.add()
    startSession(descriptor, peer, index, route)
  }

  /// A worker that has clearly fewer sessions than this one. With few sessions one fewer is enough,
  /// since each may be all the traffic there is; with many, handing over must be worth a wake-up.
  private func lessLoadedWorker() -> WorkerLink? {
    guard workers.count > 1 else { return nil }
    let own = link.load.value
    var least = own
    var choice: WorkerLink?
    for worker in workers where worker.load !== link.load {
      let load = worker.load.value
      if load < least {
        least = load
        choice = worker
      }
    }
    return own - least > own / 8 ? choice : nil
  }

  // MARK: Pausing

  /// Stops watching listeners until a session ends or a little time has passed.
  func pauseAccepting(_ reason: AcceptPause) {
    // Nobody is accepted any more: there is nothing to pause, or to go on with.
    guard isAccepting else { return }
    counters[.acceptPaused] += 1
    for position in listening.indices {
      // A full route is no reason not to accept for others.
      if case .routeSessionsMax(let route) = reason,
        topology.listeners[position].route != route
      {
        continue
      }
      stopListening(at: ListenerIndex(position))
    }
    if pause.reported == nil {
      pause.reported = reason
      report(.acceptPaused(reason))
    }
    retryListening(after: reason)
  }

  /// Some listener is not watched: tries again when a session ends, and after a while.
  func retryListening(after reason: AcceptPause) {
    pause.reason = reason
    pause.lastAt = now
    timers.schedule(pauseTimer, at: now.advanced(by: PauseState.retryNanoseconds))
  }

  /// Watches the listeners again that can accept. Called when a session has ended, and from time to
  /// time.
  func resumeAccepting() {
    guard pause.reason != nil, isAccepting,
      topology.sessions.value < topology.sessionsMax
    else { return }
    pause.reason = startListening()
  }

  /// The pause timer's work: tries again, and says when a pause is over for good.
  func reviewPause() {
    resumeAccepting()
    guard pause.reason == nil else {
      return timers.schedule(pauseTimer, at: now.advanced(by: PauseState.retryNanoseconds))
    }
    guard let reported = pause.reported else { return }
    guard now.nanoseconds(since: pause.lastAt) >= PauseState.calmNanoseconds else {
      return timers.schedule(pauseTimer, at: now.advanced(by: PauseState.calmNanoseconds))
    }
    pause.reported = nil
    report(.acceptResumed(reported))
  }
}
