// SPDX-License-Identifier: Apache-2.0
// Accepting: all workers watch all listening sockets, the kernel wakes one of them, and this one
// keeps the connection unless another is clearly less loaded. Nothing is accepted that could not be
// served: when a bound is reached, or the kernel lacks descriptors or memory, the listener is not watched
// for a while, and clients wait in the kernel's queue instead of spinning the loop.
//
// A pause at a bound ends when a session ends on any worker: the pausing worker leaves a mark with the count
// (`SessionCount.awaitFree`) and reads the count once more; the worker that lowers the count finds the mark and
// sends a message to all workers that have paused.

import Reactor

/// A listener as one worker sees it.
struct ListenerWatch {
  /// The generation of the listener that is registered with the poller; `nil` if none is.
  var generation: UInt32?
  /// Whether the kernel has refused to watch it, and this was reported.
  var isRefused = false
  /// How many connections to accept when the listener is reported as readable.
  var expected = 1
  /// The last turn in which connections were accepted here.
  var lastTurn: UInt32 = 0

  /// Whether it is registered with the poller.
  var isRegistered: Bool { generation != nil }
}

/// A connection that was accepted and is counted.
struct AcceptedConnection {
  let descriptor: CInt
  let client: PeerAddress
  let listener: ListenerIndex
  let route: RouteIndex
}

/// A worker's pauses in accepting.
struct PauseState {
  /// How long a pause lasts before accepting is tried again, if nothing ends it earlier.
  static let retryNanoseconds: UInt64 = 500_000_000
  /// How long accepting must go on before a pause is reported as over. At a bound, accepting pauses and resumes
  /// with every session that ends, which is reported once, not every time.
  static let calmNanoseconds: UInt64 = 10_000_000_000
  /// How many consecutive connections may be aborted while they are accepted.
  static let abortedInARowMax = 64

  /// Connections that were aborted since the last one was accepted.
  var abortedInARow = 0
  /// Why a listener is not watched at the moment.
  var reason: AcceptPause?
  /// The pause that has been reported, and not yet reported as over.
  var reported: AcceptPause?
  var lastAt = Instant(nanoseconds: 0)
}

/// A worker's end of the listening sockets. Not thread-safe: the worker owns it.
struct Acceptor<K: Kernel>: ~Copyable {
  private let core: WorkerCore<K>
  private(set) var listening: [ListenerWatch]
  /// The positions of listeners that are not watched, in no order.
  private var unwatched: [Int]
  private(set) var pause = PauseState()
  private(set) var isAccepting = true
  /// Connections that were accepted when the kernel had no memory to watch them. They are counted, and
  /// served as soon as it has.
  private var parked: [AcceptedConnection] = []
  /// When pauses are to be reviewed.
  private(set) var reviewAt = Instant.distantFuture
  /// The number of the current turn. It begins at 2, so that no turn follows turn 0, the initial value of
  /// `lastTurn`. Wraps around after 2³².
  private var turnNumber: UInt32 = 2

  init(core: WorkerCore<K>) {
    self.core = core
    listening = core.topology.listeners.map { _ in ListenerWatch() }
    unwatched = Array(listening.indices)
  }

  /// A turn is over.
  mutating func noteTurn() { turnNumber &+= 1 }

  /// How many accepted connections wait to be watched.
  var parkedCount: Int { parked.count }

  /// Whether the listener with this generation is registered.
  func isWatching(_ index: ListenerIndex, generation: UInt32) -> Bool {
    isAccepting && listening[index.position].generation == generation
  }

  // MARK: Watching

  private mutating func watch(_ index: ListenerIndex) throws(Errno) {
    let listener = core.topology.listeners[index.position]
    assert(!listening[index.position].isRegistered)
    assert(!listener.isRetired)
    try core.poller.add(
      listener.descriptor, for: .sharedListener,
      token: Token(.listener, index: index.position, generation: listener.generation))
    listening[index.position].generation = listener.generation
    listening[index.position].isRefused = false
  }

  /// Watches the listeners that are not watched yet, except those of full routes. Returns why a listener is not
  /// watched, `nil` if all are; a shortage rather than a full route.
  private mutating func startListening() -> AcceptPause? {
    var reason: AcceptPause?
    var positions: [Int] = []
    swap(&positions, &unwatched)
    for position in positions {
      let listener = core.topology.listeners[position]
      guard !listener.isRetired else { continue }
      let route = core.view.routes[listener.route.position]
      if route.state.sessions.value >= route.sessionsMax,
        !route.state.sessions.awaitFree(below: route.sessionsMax)
      {
        reason = reason ?? .routeSessionsMax(listener.route)
        unwatched.append(position)
        continue
      }
      do throws(Errno) {
        try watch(ListenerIndex(position))
      } catch {
        reason = .resources(error)
        unwatched.append(position)
        guard !listening[position].isRefused else { continue }
        listening[position].isRefused = true
        core.report(.listenRefused(ListenerIndex(position), error))
      }
    }
    return reason
  }

  mutating func stopListening(at index: ListenerIndex) {
    guard listening[index.position].isRegistered else { return }
    let listener = core.topology.listeners[index.position]
    assert(listening[index.position].generation == listener.generation)
    core.poller.remove(listener.descriptor)
    listening[index.position].generation = nil
    unwatched.append(index.position)
  }

  /// Stops watching all listeners, for good. Connections in the kernel's queues stay there.
  mutating func stopAccepting() {
    for position in listening.indices { stopListening(at: ListenerIndex(position)) }
    isAccepting = false
    endPause()
    reviewAt = parked.isEmpty ? .distantFuture : core.now
  }

  /// The worker has changed to another topology.
  mutating func followTopology() {
    while listening.count < core.topology.listeners.count { listening.append(ListenerWatch()) }
    unwatched = listening.indices.filter { !listening[$0].isRegistered }
    guard isAccepting else { return }
    if case .routeSessionsMax(let route) = pause.reported,
      core.topology.routes[route.position].isRetired
    {
      // Reported now, while the slot is still that route's.
      core.report(.acceptResumed(.routeSessionsMax(route)))
      pause.reported = nil
    }
    if pause.reason == nil { return listenOrRetry() }
    core.link.isPaused.store(true, ordering: .sequentiallyConsistent)
    resume()
  }

  /// Watches the listeners that are not watched yet. If that fails, or a route is full (workers that began before
  /// may have filled it), it is tried again when a session ends, and after a while.
  mutating func listenOrRetry() {
    // Before the marks that `startListening` leaves, which are of no use to a worker that has not paused.
    core.link.isPaused.store(true, ordering: .sequentiallyConsistent)
    if let reason = startListening() { retryListening(after: reason) } else { endPause() }
  }

  // MARK: Accepting

  /// How many connections to accept at a listener now: as many as came the last time, and twice as many with
  /// each turn that follows directly.
  ///
  /// Accepting does not go on until the kernel has none left: where clients come one by one, this would be a
  /// second call for each. Connections that are left are reported again in the next turn, and then twice as many
  /// are accepted.
  mutating func expectedConnections(_ index: ListenerIndex) -> Int {
    if listening[index.position].lastTurn &+ 1 == turnNumber {
      listening[index.position].expected *= 2
    }
    listening[index.position].lastTurn = turnNumber
    let expected = min(listening[index.position].expected, core.settings.relay.acceptsPerTurn)
    listening[index.position].expected = expected
    return expected
  }

  /// Expects as many connections as may be accepted in a turn.
  mutating func expectAll(_ index: ListenerIndex) {
    listening[index.position].expected = core.settings.relay.acceptsPerTurn
  }

  /// Accepts a connection, after `accepted` others in this turn, and hands it to another worker if that is less
  /// loaded. Returns whether there may be another connection, and this one if this worker serves it.
  mutating func acceptOne(
    _ index: ListenerIndex, after accepted: Int
  ) -> (mayGoOn: Bool, connection: AcceptedConnection?) {
    guard listening[index.position].isRegistered else { return (false, nil) }
    let descriptor = core.topology.listeners[index.position].descriptor
    let route = core.topology.listeners[index.position].route
    guard count(route) else { return (false, nil) }
    switch core.kernel.accept(from: descriptor) {
    case .accepted(let descriptor, let peer):
      core.counters[.accepted] += 1
      core.view.listeners[index.position].noteCame()
      core.view.routes[route.position].counters.noteAccepted()
      pause.abortedInARow = 0
      let connection = AcceptedConnection(
        descriptor: descriptor, client: peer, listener: index, route: route)
      if handOver(connection) { return (true, nil) }
      core.link.load.add()
      return (true, connection)
    case .wouldBlock:
      uncountAccepted(route)
      listening[index.position].expected = max(1, accepted)
      return (false, nil)
    case .aborted(let errno):
      uncountAccepted(route)
      core.counters[.acceptAborted] += 1
      pause.abortedInARow += 1
      // So many in a row mean that accepting itself is forbidden (EPERM of a seccomp filter).
      guard pause.abortedInARow < PauseState.abortedInARowMax else {
        pause.abortedInARow = 0
        pauseAccepting(.resources(errno))
        return (false, nil)
      }
      return (true, nil)
    case .failed(let errno):
      uncountAccepted(route)
      core.counters[.acceptFailed] += 1
      pauseAccepting(.resources(errno))
      return (false, nil)
    }
  }

  /// Counts a session before it exists, so that several workers together cannot exceed a bound.
  private mutating func count(_ route: RouteIndex) -> Bool {
    let topology = core.topology
    guard topology.sessions.take(below: topology.sessionsMax) else {
      pauseAccepting(.sessionsMax)
      return false
    }
    let view = core.view.routes[route.position]
    guard view.state.sessions.take(below: view.sessionsMax) else {
      free(topology.sessions)
      pauseAccepting(.routeSessionsMax(route))
      return false
    }
    return true
  }

  private func uncountAccepted(_ route: RouteIndex) {
    free(core.view.routes[route.position].state.sessions)
    free(core.topology.sessions)
  }

  /// Lowers the counts for a session of this worker.
  func uncount(_ route: RouteState) {
    core.link.load.giveBack()
    free(route.sessions)
    free(core.topology.sessions)
  }

  /// Lowers a count, and sends a message to the workers that have paused because of it.
  private func free(_ sessions: SessionCount) {
    guard sessions.giveBackToAwaited() else { return }
    for worker in core.workers where worker.isPaused.load(ordering: .relaxed) {
      // If the inbox is full or closed the message is lost, but pauses are reviewed from time to time.
      _ = worker.inbox.post(.resumeAccepting)
    }
  }

  // MARK: Spreading

  /// Gives an accepted connection to a less loaded worker. Returns whether there was one.
  private func handOver(_ connection: AcceptedConnection) -> Bool {
    guard let other = lessLoadedWorker() else { return false }
    other.load.add()
    let message = HandedOver(
      descriptor: connection.descriptor, client: connection.client,
      listener: connection.listener, route: connection.route, topology: core.topology)
    guard other.inbox.post(.adopt(message)) else {
      other.load.giveBack()
      return false
    }
    core.counters[.handedOver] += 1
    return true
  }

  /// A worker that has clearly fewer sessions than this one. With few sessions one fewer is enough,
  /// since each may carry most of the traffic; with many, handing over must be worth a wake-up.
  private func lessLoadedWorker() -> WorkerLink? {
    guard core.workers.count > 1 else { return nil }
    let own = core.link.load.value
    var least = own
    var choice: WorkerLink?
    for worker in core.workers where worker !== core.link {
      let load = worker.load.value
      if load < least {
        least = load
        choice = worker
      }
    }
    return own - least > own / 8 ? choice : nil
  }

  // MARK: Pausing

  /// The kernel has no memory to watch a connection: keeps the connection until it has, and pauses accepting.
  mutating func park(_ connection: AcceptedConnection, after errno: Errno) {
    parked.append(connection)
    pauseAccepting(.resources(errno))
    if !isAccepting { reviewAt = core.now.advanced(by: PauseState.retryNanoseconds) }
  }

  /// A connection that waits to be watched, `nil` if none does.
  mutating func unpark() -> AcceptedConnection? { parked.isEmpty ? nil : parked.removeFirst() }

  /// Stops watching listeners until a session ends or a little time has passed.
  mutating func pauseAccepting(_ reason: AcceptPause) {
    // Accepting has ended for good.
    guard isAccepting else { return }
    core.counters[.acceptPaused] += 1
    for position in listening.indices {
      // A full route is no reason not to accept for others.
      if case .routeSessionsMax(let route) = reason,
        core.topology.listeners[position].route != route
      {
        continue
      }
      stopListening(at: ListenerIndex(position))
    }
    if pause.reported == nil {
      pause.reported = reason
      core.report(.acceptPaused(reason))
    }
    retryListening(after: reason)
    // A session may have ended before the mark was left.
    switch reason {
    case .sessionsMax:
      if core.topology.sessions.awaitFree(below: core.topology.sessionsMax) { resume() }
    case .routeSessionsMax(let route):
      let view = core.view.routes[route.position]
      if view.state.sessions.awaitFree(below: view.sessionsMax) { resume() }
    case .resources: break
    }
  }

  /// A listener is not watched: tries again when a session ends, and after a while.
  mutating func retryListening(after reason: AcceptPause) {
    pause.reason = reason
    pause.lastAt = core.now
    core.link.isPaused.store(true, ordering: .sequentiallyConsistent)
    reviewAt = core.now.advanced(by: PauseState.retryNanoseconds)
  }

  private mutating func endPause() {
    pause.reason = nil
    core.link.isPaused.store(false, ordering: .relaxed)
  }

  /// Watches the listeners again, as far as they can accept. Called when a session has ended, and from time to
  /// time.
  mutating func resume() {
    guard pause.reason != nil, isAccepting, parked.isEmpty else { return }
    let topology = core.topology
    guard
      topology.sessions.value < topology.sessionsMax
        || topology.sessions.awaitFree(below: topology.sessionsMax)
    else { return }
    if let reason = startListening() { pause.reason = reason } else { endPause() }
  }

  /// A review is due: tries again, and reports a pause as over when accepting has gone on for long enough.
  mutating func review() {
    resume()
    guard pause.reason == nil, parked.isEmpty else {
      reviewAt = core.now.advanced(by: PauseState.retryNanoseconds)
      return
    }
    reviewAt = .distantFuture
    guard let reported = pause.reported else { return }
    guard core.now.nanoseconds(since: pause.lastAt) >= PauseState.calmNanoseconds else {
      reviewAt = core.now.advanced(by: PauseState.calmNanoseconds)
      return
    }
    pause.reported = nil
    core.report(.acceptResumed(reported))
  }
}

extension Worker {
  // MARK: Sessions of what was accepted

  /// Accepts connections that wait at a listener, up to the bound of a turn. Returns whether more may wait.
  @discardableResult
  func accept(at index: ListenerIndex) -> Bool {
    for accepted in 0..<acceptor.expectedConnections(index) {
      let (mayGoOn, connection) = acceptor.acceptOne(index, after: accepted)
      if let connection { startSession(connection) }
      guard mayGoOn else { return false }
    }
    return true
  }

  /// Accepts all connections that wait at a listener, as far as the bounds allow.
  func acceptAll(at index: ListenerIndex) {
    // A bound on rounds: clients may arrive faster than they are accepted.
    for _ in 0..<64 {
      acceptor.expectAll(index)
      guard accept(at: index) else { break }
    }
  }

  /// Starts sessions for the connections that could not be watched because the kernel had no memory.
  func serveParked() {
    let count = acceptor.parkedCount
    for _ in 0..<count {
      guard let connection = acceptor.unpark() else { return }
      startSession(connection)
    }
  }
}
