// SPDX-License-Identifier: Apache-2.0
// Accepting: all workers watch all listening sockets, the kernel wakes one of them, and that one
// keeps the connection unless another is clearly less loaded. Nothing is accepted that could not be
// served: when a bound is reached, or the kernel has no descriptor left, the listener is not watched
// for a while, and clients wait in the kernel's queue instead of spinning the loop.

import Reactor

/// A listener as one worker sees it.
struct ListenerState {
  /// Whether events are asked for.
  var isRegistered = false
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
  func startListening(_ index: ListenerIndex) throws(Errno) {
    assert(!listening[index.position].isRegistered)
    try poller.add(
      topology.listeners[index.position].descriptor, for: .sharedListener,
      token: Token(.listener, index: index.position, generation: 0))
    listening[index.position].isRegistered = true
  }

  private func stopListening(_ index: ListenerIndex) {
    guard listening[index.position].isRegistered else { return }
    poller.remove(topology.listeners[index.position].descriptor)
    listening[index.position].isRegistered = false
  }

  /// Watches no listener any more. What waits in the kernel's queues stays there.
  func stopListening() {
    for position in listening.indices { stopListening(ListenerIndex(position)) }
    pause.reason = nil
    timers.cancel(pauseTimer)
  }

  /// Accepts everybody who is waiting, as far as the bounds allow, and then nobody any more.
  func stopAccepting() {
    for position in listening.indices {
      let index = ListenerIndex(position)
      // A bound on rounds: clients may arrive faster than they are accepted.
      for _ in 0..<64 where listening[position].isRegistered {
        guard acceptConnections(index) else { break }
      }
    }
    stopListening()
  }

  /// Accepts what is waiting at a listener, up to the bound of a turn. Returns whether more may be
  /// waiting.
  @discardableResult
  func acceptConnections(_ index: ListenerIndex) -> Bool {
    let listener = topology.listeners[index.position]
    for _ in 0..<settings.relay.acceptsPerTurn {
      guard count(listener.route, at: index) else { return false }
      switch kernel.accept(from: listener.descriptor) {
      case .accepted(let descriptor, let peer):
        counters[.accepted] += 1
        pause.abortedInARow = 0
        place(descriptor, peer, index)
        // Serving it may have shown that there is not enough for another.
        guard listening[index.position].isRegistered else { return false }
      case .wouldBlock:
        uncountAccepted(listener.route)
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

  /// Counts a session before it exists, so that no bound is passed by several workers at once.
  private func count(_ route: RouteIndex, at index: ListenerIndex) -> Bool {
    guard topology.sessions.take() else {
      pauseAccepting(.sessionsMax)
      return false
    }
    guard topology.routes[route.position].sessions.take() else {
      topology.sessions.giveBack()
      pauseAccepting(.routeSessionsMax(route))
      return false
    }
    return true
  }

  private func uncountAccepted(_ route: RouteIndex) {
    topology.routes[route.position].sessions.giveBack()
    topology.sessions.giveBack()
  }

  /// Takes back what was counted for a session of this worker.
  func uncount(_ listener: ListenerIndex) {
    uncountAccepted(topology.listeners[listener.position].route)
    link.load.giveBack()
  }

  // MARK: Spreading

  /// Gives an accepted connection to the worker that shall serve it.
  private func place(_ descriptor: CInt, _ peer: PeerAddress, _ index: ListenerIndex) {
    if let other = lessLoadedWorker() {
      _ = other.load.take()
      let message = WorkerMessage.adopt(descriptor: descriptor, client: peer, listener: index)
      if other.inbox.post(message) {
        counters[.handedOver] += 1
        return
      }
      other.load.giveBack()
    }
    _ = link.load.take()
    startSession(descriptor, peer, index)
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
    counters[.acceptPaused] += 1
    for position in listening.indices {
      // A full route is no reason not to accept for others.
      if case .routeSessionsMax(let route) = reason,
        topology.listeners[position].route != route
      {
        continue
      }
      stopListening(ListenerIndex(position))
    }
    pause.reason = reason
    pause.lastAt = now
    if pause.reported == nil {
      pause.reported = reason
      report(.acceptPaused(reason))
    }
    timers.schedule(pauseTimer, at: now.advanced(by: PauseState.retryNanoseconds))
  }

  /// Watches the listeners again that can accept. Called when a session has ended, and from time to
  /// time.
  func resumeAccepting() {
    guard pause.reason != nil, isAccepting, !topology.sessions.isFull else { return }
    var isComplete = true
    for (position, listener) in topology.listeners.enumerated()
    where !listening[position].isRegistered {
      if topology.routes[listener.route.position].sessions.isFull {
        isComplete = false
        continue
      }
      do throws(Errno) {
        try startListening(ListenerIndex(position))
      } catch {
        isComplete = false
      }
    }
    if isComplete { pause.reason = nil }
  }

  /// The pause timer's work: tries again, and says when a pause is over for good.
  func reviewPause() {
    resumeAccepting()
    guard let reported = pause.reported else { return }
    if pause.reason == nil,
      now.nanoseconds(since: pause.lastAt) >= PauseState.calmNanoseconds
    {
      pause.reported = nil
      report(.acceptResumed(reported))
      return
    }
    let wait = pause.reason == nil ? PauseState.calmNanoseconds : PauseState.retryNanoseconds
    timers.schedule(pauseTimer, at: now.advanced(by: wait))
  }
}
