// SPDX-License-Identifier: Apache-2.0
// A worker: one thread, one epoll instance, and every session that was ever given to it. It owns all
// it touches, takes no lock on the path of bytes, and runs no task. Others speak to it through its
// inbox; it speaks through its records and reports.
//
// The class is split by subject: accepting (Listener/), connecting (Upstream/), relaying (Relay/),
// beginnings, ends and deadlines (Session/), going over to another topology (TopologyChange.swift).
// It is generic over the kernel, so that tests can run all of it on a fake one; `WorkerThread` names
// the specialisation that ships.

import Balancing
import Reactor

/// One thread's share of the data plane. Only its own thread may use it, once it runs; `link` alone
/// is for everybody.
final class Worker<K: Kernel>: LoopCore {
  let kernel: K
  let poller: Poller<K>
  var now: Instant
  /// What other threads use of this worker.
  let link: WorkerLink
  /// What has happened so far.
  let counters: WorkerCounters

  let settings: WorkerSettings
  /// The plan as it is now. Replaced between two messages, never while a session is looked at.
  var topology: Topology
  /// This worker's numbers of what is in `topology`.
  var tallies: Tallies
  /// All workers, this one included, by number.
  var workers: [WorkerLink] = []
  let records: RecordRing?
  let report: @Sendable (WorkerReport) -> Void

  var sessions: Slab<Session>
  var timers: TimerWheel
  var relay: Relay<K>
  var pickers: [EndpointPicker]
  var listening: [ListenerWatch]
  var pause = PauseState()
  var random: SplitMix64
  var coalescing: Coalescing
  /// The endpoints whose sessions are being closed.
  var closings = SessionClosings()

  /// Sessions that were not done when their budget was spent, by the token of their client side.
  private var queued: [Token] = []
  /// The same, of the current turn.
  var queuedInTurn: [Token] = []
  private var messages: [WorkerMessage] = []
  private let bell: Bell<K>
  private var lastGeneration: UInt32 = 0
  /// Which turn this is, from 2 on: so none follows on turn 0, which never was. Begins anew after 2³².
  private(set) var turnNumber: UInt32 = 2
  private(set) var isAccepting = true
  private var isStopped = false
  private var hasReportedFinish = false

  /// The timer that looks after pauses of accepting; those below it are the sessions'.
  var pauseTimer: Int { settings.sessionsMax }

  /// A worker that does nothing yet. `report` is called on the worker's thread and must not block.
  /// Throws when the kernel has no descriptors for it, or no address space for its tables.
  init(
    kernel: K, settings: WorkerSettings, topology: Topology, records: RecordRing?,
    report: @escaping @Sendable (WorkerReport) -> Void
  ) throws(Errno) {
    precondition(settings.sessionsMax >= topology.sessionsMax, "one worker may get all sessions")
    precondition(settings.sessionsMax < Token.indexMax)
    self.kernel = kernel
    self.settings = settings
    self.topology = topology
    tallies = Tallies(of: topology, worker: settings.number)
    self.records = records
    self.report = report
    now = kernel.now()
    poller = try Poller(
      kernel: kernel, eventsMax: settings.relay.eventsPerTurn,
      spinNanoseconds: settings.spinNanoseconds)
    let bell = try Bell(kernel)
    self.bell = bell
    // Each message but a few belongs to a session, and those are bounded: one that brings it here, one
    // that lets it out of a waiting room.
    let inbox = Inbox<WorkerMessage>(messagesMax: 2 * settings.sessionsMax + 256) { bell.ring() }
    link = WorkerLink(inbox: inbox)
    counters = link.counters
    sessions = try Slab(capacity: settings.sessionsMax)
    timers = try TimerWheel(capacity: settings.sessionsMax + 1, now: now)
    relay = Relay(
      kernel: kernel, bufferBytes: settings.relay.bufferBytes,
      pipes: PipePool(
        kernel: kernel, pipeBytes: settings.relay.pipeBytes, pipesMax: settings.pipesMax))
    pickers = topology.upstreams.map { EndpointPicker($0, offset: settings.number) }
    listening = topology.listeners.map { _ in ListenerWatch() }
    random = SplitMix64(seed: settings.seed)
    coalescing = Coalescing(
      // Whoever spins wants to know at once.
      nanosecondsMax: settings.spinNanoseconds > 0
        ? 0 : settings.relay.coalesce?.wholeNanoseconds ?? 0,
      now: now)
    try poller.add(
      bell.descriptor, for: .readable, token: Token(.bell, index: 0, generation: 0))
  }

  /// Starts to accept. `workers` are all workers of the process by number. Throws when the kernel
  /// refuses to watch a listener.
  func begin(among workers: [WorkerLink]) throws(Errno) {
    precondition(workers.indices.contains(settings.number))
    self.workers = workers
    if case .resources(let errno) = startListening() { throw errno }
  }

  /// Runs until it is told to stop. Blocks: call it on a thread of its own.
  func run() {
    while !isStopped { turn() }
    retire()
  }

  // MARK: The turn

  func nextDeadline() -> Instant {
    queued.isEmpty ? timers.nextDeadline() ?? .distantFuture : now
  }

  func prepareToSleep() -> Bool {
    link.inbox.prepareToSleep()
  }

  func coalescingNanoseconds() -> UInt64 {
    coalescing.sleepNanoseconds(at: now)
  }

  func noteWaited() {
    coalescing.noteNothing()
  }

  func receive(_ readiness: Readiness, for token: Token) {
    switch token.kind {
    case .downstream, .upstream:
      guard let session = findSession(token) else {
        counters[.staleEvents] += 1
        return
      }
      receive(readiness, token, session)
    case .listener:
      guard isAccepting, listening[token.index].generation == token.generation else {
        counters[.staleEvents] += 1
        return
      }
      acceptConnections(ListenerIndex(token.index))
    case .bell:
      bell.silence()
    case .descriptor:
      assertionFailure("a worker registers none")
    }
  }

  func finishTurn() {
    turnNumber &+= 1
    // Those of earlier turns; whoever has spent its budget in this one waits for the next.
    for token in queued {
      // Sessions may have ended since; their tokens then find nobody.
      guard let session = findSession(token) else { continue }
      session.pointee.isQueued = false
      if session.pointee.state == .relaying { relayBytes(token.index, session) }
    }
    queued.removeAll(keepingCapacity: true)
    swap(&queued, &queuedInTurn)

    while let index = timers.popDue(at: now) {
      if index == pauseTimer { reviewPause() } else { deadlinePassed(index) }
    }

    link.inbox.drain(into: &messages)
    for message in messages { receive(message) }
    messages.removeAll(keepingCapacity: true)
    armClosings()
  }

  private func receive(_ message: WorkerMessage) {
    switch message {
    case .adopt(let connection):
      counters[.received] += 1
      // A worker that still accepts may hand over to one that was done: it will be done again.
      hasReportedFinish = false
      use(connection.topology)
      startSession(
        connection.descriptor, connection.client, connection.listener, connection.route)
    case .use(let next):
      use(next)
    case .stopAccepting:
      stopAccepting()
      isAccepting = false
      report(.stoppedAccepting)
      reportIfFinished()
    case .admit(let admission):
      admit(admission)
    case .closeSessions(let closing):
      closeSessions(closing)
    case .keepSessions(let endpoint):
      keepSessions(of: endpoint)
    case .resetAll(let reason):
      resetAll(reason)
    case .answer:
      report(.alive)
    case .stop:
      isStopped = true
    }
  }

  /// Lets everything go. Nothing may arrive afterwards.
  private func retire() {
    if isAccepting { stopListening() }
    resetAll(.killed)
    for message in link.inbox.close() {
      // Connections that came too late are counted already.
      guard case .adopt(let connection) = message else { continue }
      kernel.reset(connection.descriptor)
      // Under the topology that it brings along, which may be newer than ours.
      let listener = connection.topology.listeners[connection.listener.position]
      listener.state.counters(of: settings.number).noteLeft()
      uncount(connection.topology.routes[connection.route.position].state)
    }
    assert(sessions.count == 0)
    assert(relay.keptBytes == 0)
  }

  /// Says that there is nothing left to do, when accepting is over and no session is left.
  func reportIfFinished() {
    // The load counts connections, too, that are on their way from another worker.
    guard !isAccepting, link.load.value == 0, !hasReportedFinish else { return }
    assert(sessions.count == 0)
    hasReportedFinish = true
    report(.finished)
  }

  // MARK: Finding sessions

  /// A registration that was never used before (until the number turns over, 2³² later).
  func nextGeneration() -> UInt32 {
    lastGeneration &+= 1
    return lastGeneration
  }

  /// The session that a token was made for, `nil` if that registration is gone.
  func findSession(_ token: Token) -> UnsafeMutablePointer<Session>? {
    guard let session = sessions.find(token.index) else { return nil }
    // A side that is closed while its session goes on has no events any more: the one that reports
    // its failure may come in the same batch, after the failure was found by reading or writing.
    let isCurrent =
      switch token.kind {
      case .downstream: session.pointee.downstream.answers(to: token.generation)
      case .upstream: session.pointee.upstream.answers(to: token.generation)
      case .listener, .bell, .descriptor: false
      }
    return isCurrent ? session : nil
  }
}
