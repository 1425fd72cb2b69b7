// SPDX-License-Identifier: Apache-2.0
// A worker: one thread, one epoll instance, and every session that was given to it. It owns everything
// that it touches, takes no lock on the path of bytes, and runs no task. Other threads send it messages through
// its inbox; it sends records and reports.
//
// This file is the glue: the parts and the turn of the loop. The work is done by the parts: `Acceptor`, `Connector`,
// `Relay`, `SessionTable`; what happens to a session is in SessionMachine.swift, what messages do in Messages.swift.
// The worker is generic over the kernel, so that tests can run all of it on a fake one; `WorkerThread` is the
// real one.

import Balancing
import Reactor

/// One thread's share of the data plane. Once it runs, only its own thread may use it, except for `link`.
final class Worker<K: Kernel>: LoopCore {
  let core: WorkerCore<K>
  var sessions: SessionTable
  var acceptor: Acceptor<K>
  var connector: Connector<K>
  var relay: Relay<K>
  /// The endpoints whose sessions are being closed.
  var closings = SessionClosings()
  let records: RecordRing?

  private let bell: Bell<K>
  let inbox: Inbox<WorkerMessage>
  private var messages: [WorkerMessage] = []
  var isStopped = false
  var hasReportedFinish = false

  /// A worker that does nothing yet. `report` is called on the worker's thread and must not block.
  /// Throws when the kernel has no descriptors for it, or no address space for its tables.
  init(
    kernel: K, settings: WorkerSettings, topology: Topology, records: RecordRing?,
    report: @escaping @Sendable (WorkerReport) -> Void
  ) throws(Errno) {
    precondition(settings.sessionsMax >= topology.sessionsMax, "one worker may get all sessions")
    precondition(settings.sessionsMax < Token.indexMax)
    let bell = try Bell(kernel)
    // Except for a few, each message belongs to a session, and sessions are bounded: one message hands it over,
    // one grants it a place, one says that no endpoint is available.
    let inbox = Inbox<WorkerMessage>(messagesMax: 3 * settings.sessionsMax + 256) { bell.ring() }
    let core = try WorkerCore(
      kernel: kernel, settings: settings, topology: topology, link: WorkerLink(inbox: inbox),
      report: report)
    self.bell = bell
    self.inbox = inbox
    self.core = core
    self.records = records
    sessions = try SessionTable(capacity: settings.sessionsMax, now: core.now)
    acceptor = Acceptor(core: core)
    connector = Connector(core: core)
    relay = Relay(
      kernel: kernel, bufferBytes: settings.relay.bufferBytes,
      pipes: PipePool(
        kernel: kernel, pipeBytes: settings.relay.pipeBytes, pipesMax: settings.pipesMax),
      coalescing: Coalescing(
        // A worker that spins wants to know at once.
        nanosecondsMax: settings.spinNanoseconds > 0
          ? 0 : settings.relay.coalesce?.wholeNanoseconds ?? 0,
        now: core.now))
    try core.poller.add(
      bell.descriptor, for: .readable, token: Token(.bell, index: 0, generation: 0))
  }

  var kernel: K { core.kernel }
  var link: WorkerLink { core.link }
  var counters: WorkerCounters { core.counters }

  /// Starts to accept. `workers` are all workers of the process by number. Throws when the kernel
  /// refuses to watch a listener.
  func begin(among workers: [WorkerLink]) throws(Errno) {
    precondition(workers.indices.contains(core.settings.number))
    core.workers = workers
    acceptor.listenOrRetry()
    if case .resources(let errno) = acceptor.pause.reason { throw errno }
  }

  /// Runs until it receives `stop`. Blocks: call it on a thread of its own.
  func run() {
    while !isStopped { turn() }
    retire()
  }

  // MARK: The turn

  var now: Instant {
    get { core.now }
    set { core.now = newValue }
  }

  var poller: Poller<K> { _read { yield core.poller } }

  func nextDeadline() -> Instant { min(sessions.nextDeadline, acceptor.reviewAt) }
  func prepareToSleep() -> Bool { inbox.prepareToSleep() }
  func coalescingNanoseconds() -> UInt64 { relay.coalescing.sleepNanoseconds(at: core.now) }
  func noteWaited() { relay.coalescing.noteNothing() }

  func receive(_ readiness: Readiness, for token: Token) {
    switch token.kind {
    case .downstream, .upstream:
      guard let session = sessions.find(token) else {
        core.counters[.staleEvents] += 1
        return
      }
      let isDownstream = token.kind == .downstream
      run(token.index, session, isDownstream ? .downstream(readiness) : .upstream(readiness))
    case .listener
    where acceptor.isWatching(ListenerIndex(token.index), generation: token.generation):
      accept(at: ListenerIndex(token.index))
    case .listener: core.counters[.staleEvents] += 1
    case .bell: bell.silence()
    case .descriptor: assertionFailure("a worker registers none")
    }
  }

  func finishTurn() {
    acceptor.noteTurn()
    if sessions.hasTurns { takeTurns() }
    // No more than are scheduled now: what is armed meanwhile must not keep the worker here for ever.
    var left = sessions.timers.count
    while left > 0, let index = sessions.popDue(at: core.now) {
      left -= 1
      run(index, .deadline)
    }
    if acceptor.reviewAt <= core.now {
      serveParked()
      acceptor.review()
    }
    inbox.drain(into: &messages)
    if !messages.isEmpty {
      for message in messages { receive(message) }
      messages.removeAll(keepingCapacity: true)
    }
    armClosings()
  }

  /// Continues the sessions that have spent their budget in the last turn.
  private func takeTurns() {
    for token in sessions.takeTurns() {
      guard let session = sessions.findAwaiting(token) else { continue }
      session.pointee.flags.remove(.awaitsTurn)
      run(token.index, session, .turn)
    }
    sessions.endTurns()
  }
}
