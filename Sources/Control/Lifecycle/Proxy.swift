// SPDX-License-Identifier: Apache-2.0
// The life of the process: open everything, start the workers, wait for signals, drain, end. It runs
// on the main thread, which waits most of its life; no byte of a session passes here.
//
//     start ──▶ serving ──SIGTERM──▶ delaying ──▶ closing ──▶ draining ──▶ ended
//                                       │            │            │          ▲
//                                       └────────────┴── again ───┴──────────┘

import Addressing
import CLinux
import DataPlane
import Glibc
import Logging
import Plan
import Reactor

/// The proxy as a whole.
public final class Proxy {
  /// How long host names may take to be looked up at the start.
  private static let resolveTimeout = Duration.seconds(10)
  private static let reloadRefusal =
    "SIGHUP: this version cannot reload; restart to read the configuration again"

  private enum Stage {
    /// Sessions come and go.
    case serving
    /// Told to end, and still accepting until then.
    case delaying(until: Instant)
    /// Workers are accepting what is left in the queues.
    case closing
    /// Nobody new comes; sessions may end by themselves until then.
    case draining(until: Instant)
    /// Workers have been told to stop.
    case ending
  }

  private let plan: ProxyPlan
  private let logger: Logger
  private let signals: SignalSource
  private let listeners: Listeners
  private let ledger: TopologyLedger
  private let topology: Topology
  private let builtins: BuiltinServer?
  private let accessLog: AccessLog?
  private let workers: [WorkerThread]
  private let reports: Inbox<(worker: Int, report: WorkerReport)>
  private let bell: Descriptor
  private let kernel = LinuxKernel()
  private let manager: ServiceNotifier?

  private var heartbeat: Heartbeat?
  private var stage = Stage.serving
  private var workersAccepting: Int

  /// Looks up names, opens listeners and makes the workers; none of them runs yet. Blocks while names
  /// are looked up; `nil` when a signal ends the program before they were. Throws everything that
  /// stands in the way.
  ///
  /// Must be called before the process has any thread but those of `log`: signals are blocked for
  /// the threads that start here. `manager` is told what becomes of the proxy.
  public init?(
    _ plan: ProxyPlan, log: EventLog, signals: consuming ProxySignals,
    manager: sending ServiceNotifier? = nil
  ) throws {
    self.plan = plan
    self.manager = manager
    logger = log.logger("sluice")
    self.signals = signals.take()
    let processors = AvailableProcessors.current()
    if plan.spin != nil, let quota = processors.quotaThousandths {
      throw StartFailure(
        "spin: burns the CPU quota of this control group (\(quota) thousandths of a processor), "
          + "which then throttles the proxy; set it to off")
    }
    let openFilesMax = raiseOpenFilesLimit()
    guard let budget = ResourceBudget(plan, openFilesMax: openFilesMax, processors: processors)
    else {
      throw StartFailure(
        ResourceBudget.refusal(plan, openFilesMax: openFilesMax, processors: processors))
    }

    do throws(Errno) {
      bell = Descriptor(owning: try kernel.makeBell())
    } catch {
      throw StartFailure("no descriptor for the control loop: \(error)")
    }
    let bell = bell.rawValue
    reports = Inbox(messagesMax: 1 << 16) { LinuxKernel().ring(bell) }
    // Before anything listens: a client that comes meanwhile is refused and goes elsewhere, where a
    // queue that nobody serves would keep it waiting.
    guard let names = try Proxy.lookUp(plan, signals: self.signals.rawValue, logger) else {
      return nil
    }
    // Everything that other people may have to put right is told in one go.
    var reasons = TopologyLedger.unresolved(in: plan, names)
    let listeners = Proxy.collect(&reasons) { () throws(StartFailure) in
      try Listeners(plan, activation: .current())
    }
    let accessLog = Proxy.collect(&reasons) { [logger] () throws(StartFailure) in
      try AccessLog.open(plan.log, workers: budget.workers, logger: logger)
    }
    guard let listeners, let accessLog, reasons.isEmpty else { throw StartFailure(reasons) }
    self.listeners = listeners
    self.accessLog = accessLog
    let services = plan.builtinServices
    do throws(ListeningSocket.Failure) {
      builtins =
        services.isEmpty
        ? nil : try BuiltinServer(services, connectionsMax: budget.sessionsMax + 64)
    } catch {
      throw StartFailure(
        "builtin endpoints: \(error)", sessionsMax: budget.sessionsMax, errno: error.errno)
    }
    ledger = TopologyLedger(workers: budget.workers, records: accessLog)
    topology = ledger.build(
      plan, names: names, builtins: builtins?.addresses ?? [:], listeners: listeners.all,
      sessionsMax: budget.sessionsMax)
    workers = try Proxy.makeWorkers(plan, budget, topology, accessLog, reports)
    workersAccepting = workers.count
    Announcement(
      plan: plan, listeners: listeners.all, names: names, budget: budget,
      unusedDescriptors: listeners.unused, missingSources: MissingSource.all(in: plan)
    ).write(to: logger)
  }

  /// Looks up the names of a plan; `nil` when a signal has ended that.
  private static func lookUp(
    _ plan: ProxyPlan, signals: CInt, _ logger: Logger
  ) throws(StartFailure) -> [String: Resolution]? {
    let names = TopologyLedger.names(in: plan)
    guard !names.isEmpty else { return [:] }
    logger.info(
      "looking up names",
      metadata: ["count": "\(names.count)", "timeout": "\(resolveTimeout.configurationText)"])
    let interruption = Interruption(descriptor: signals) {
      while let signal = SignalSource.next(from: signals) {
        switch signal {
        case .terminate, .interrupt:
          logger.info("ended", metadata: ["signal": "\(signal)"])
          return true
        case .hangUp: logger.warning("\(reloadRefusal)")
        // The access log is opened later, and then by its path of that time.
        case .user1: break
        }
      }
      return false
    }
    do throws(Errno) {
      return try NameResolver.resolve(names, timeout: resolveTimeout, interruption: interruption)
    } catch {
      throw StartFailure("looking up names: \(error)")
    }
  }

  /// What `body` makes; `nil` when it cannot, with why added to `reasons`.
  private static func collect<Value>(
    _ reasons: inout [String], _ body: () throws(StartFailure) -> Value
  ) -> Value? {
    do throws(StartFailure) {
      return try body()
    } catch {
      reasons += error.reasons
      return nil
    }
  }

  private static func makeWorkers(
    _ plan: ProxyPlan, _ budget: ResourceBudget, _ topology: Topology, _ accessLog: AccessLog?,
    _ reports: Inbox<(worker: Int, report: WorkerReport)>
  ) throws(StartFailure) -> [WorkerThread] {
    var workers: [WorkerThread] = []
    for number in 0..<budget.workers {
      let settings = WorkerSettings(
        number: number, sessionsMax: budget.sessionsMax,
        pipesMax: budget.pipes / budget.workers, relay: plan.relay,
        spinNanoseconds: plan.spin?.wholeNanoseconds ?? 0,
        seed: .random(in: .min ... .max))
      do throws(Errno) {
        workers.append(
          try WorkerThread(
            settings: settings, topology: topology, records: accessLog?.rings[number]
          ) { report in
            // The inbox is larger than all that workers have to say between two looks.
            _ = reports.post((number, report))
          })
      } catch {
        throw StartFailure(
          "starting worker \(number): \(error)", sessionsMax: budget.sessionsMax, errno: error)
      }
    }
    return workers
  }

  /// Serves until a signal ends it and the sessions have drained. Blocks. Throws when a worker cannot
  /// start.
  public func run() throws(StartFailure) {
    try startThreads()
    logger.info("ready", metadata: ["workers": "\(workers.count)", "pid": "\(getpid())"])
    tellReady()
    while true {
      wait()
      while let signal = signals.next() { receive(signal) }
      readReports()
      lookAfterManager()
      if advance() { break }
    }
    for worker in workers { worker.join() }
    listeners.close()
    builtins?.stop()
    accessLog?.stop()
    logger.info("ended")
  }

  private func startThreads() throws(StartFailure) {
    do throws(Errno) {
      try accessLog?.start(plan.log.format, topology: topology)
    } catch {
      throw StartFailure("starting the access log: \(error)")
    }
    for (number, worker) in workers.enumerated() {
      do throws(Errno) {
        try worker.start(number: number, among: workers.map(\.link))
      } catch {
        // Those that run still use what is let go with this object.
        for worker in workers[..<number] { tell(worker, .stop) }
        for worker in workers[..<number] { worker.join() }
        if error == .resourceTemporarilyUnavailable {
          throw StartFailure(threadRefusal(worker: number, workers: workers.count))
        }
        throw StartFailure("watching the listeners: \(error)")
      }
    }
  }

  // MARK: The control loop

  private func wait() {
    var deadline: Instant =
      switch stage {
      case .delaying(let until), .draining(let until): until
      case .serving, .closing, .ending: .distantFuture
      }
    if let manager { deadline = min(deadline, manager.retryAt) }
    if let heartbeat { deadline = min(deadline, heartbeat.deadline) }
    guard reports.prepareToSleep() else { return }
    var items = [
      pollfd(fd: signals.rawValue, events: Int16(POLLIN), revents: 0),
      pollfd(fd: bell.rawValue, events: Int16(POLLIN), revents: 0),
    ]
    let remaining = deadline.nanoseconds(since: kernel.now())
    let milliseconds = deadline == .distantFuture ? -1 : CInt(clamping: remaining / 1_000_000 + 1)
    _ = poll(&items, 2, milliseconds)
    kernel.silence(bell.rawValue)
  }

  private func receive(_ signal: ProxySignal) {
    switch (signal, stage) {
    case (.hangUp, _):
      logger.warning("\(Proxy.reloadRefusal)")
    case (.user1, _):
      if let accessLog {
        accessLog.reopen()
      } else {
        logger.debug("SIGUSR1: there is no access log")
      }
    case (_, .serving):
      let delay = plan.shutdown.delay
      logger.info(
        "draining",
        metadata: [
          "signal": "\(signal)", "sessions": "\(topology.sessions.value)",
          "delay": "\(delay.configurationText)",
          "drain": "\(plan.shutdown.drain?.configurationText ?? "off")",
        ])
      manager?.stopping(
        "draining; \(topology.sessions.value) sessions were open", now: kernel.now(),
        logger: logger)
      stage = .delaying(until: kernel.now().advanced(by: delay.wholeNanoseconds))
    case (_, .ending):
      break
    case (_, _):
      logger.warning(
        "second signal: ending at once", metadata: ["sessions": "\(topology.sessions.value)"])
      tellAll(.stop)
      stage = .ending
    }
  }

  private func readReports() {
    var arrived: [(worker: Int, report: WorkerReport)] = []
    reports.drain(into: &arrived)
    for (worker, report) in arrived {
      switch report {
      case .stoppedAccepting:
        workersAccepting -= 1
      case .finished:
        break  // One worker has no session left; `advance` looks at all of them.
      case .using(let version):
        ledger.note(worker: worker, isUsing: version)
        listeners.closeRemoved(upTo: ledger.confirmedVersion)
      case .listenRefused(let listener, let errno):
        logger.warning(
          "a listener cannot be watched; trying again",
          metadata: [
            "worker": "\(worker)", "at": "\(topology.listeners[listener.position].name)",
            "cause": "\(errno)",
          ])
      case .alive:
        if heartbeat?.note(answerOf: worker) == true { manager?.alive(logger: logger) }
      case .acceptPaused(let pause):
        logger.warning(
          "accepting pauses until sessions end",
          metadata: ["worker": "\(worker)", "cause": "\(words(pause))"])
      case .acceptResumed(let pause):
        logger.info(
          "accepting goes on",
          metadata: ["worker": "\(worker)", "cause": "\(words(pause))"])
      }
    }
  }

  private func tellReady() {
    guard let manager else { return }
    let now = kernel.now()
    manager.ready(
      "serving; \(listeners.all.count) listeners, \(workers.count) workers", now: now,
      logger: logger)
    if let nanoseconds = manager.watchdogNanoseconds {
      heartbeat = Heartbeat(every: nanoseconds, workers: workers.count, now: now)
    }
  }

  private func lookAfterManager() {
    let now = kernel.now()
    manager?.retry(now: now, logger: logger)
    switch heartbeat?.advance(to: now) {
    case .rest, nil: break
    case .ask: tellAll(.answer)
    case .miss(let silent):
      let list = silent.map(String.init).joined(separator: ",")
      logger.warning("workers do not answer", metadata: ["workers": "\(list)"])
    }
  }

  /// Goes on to the next stage when the current one is over. Returns whether all is over.
  private func advance() -> Bool {
    if case .delaying(let until) = stage, kernel.now() >= until {
      tellAll(.stopAccepting)
      stage = .closing
    }
    if case .closing = stage, workersAccepting == 0 {
      listeners.close()
      let drain = plan.shutdown.drain?.wholeNanoseconds ?? .max
      stage = .draining(until: kernel.now().advanced(by: drain))
    }
    if case .draining(let until) = stage {
      if topology.sessions.value == 0 {
        tellAll(.stop)
        stage = .ending
      } else if kernel.now() >= until {
        logger.warning(
          "the time to drain is over; the rest is reset",
          metadata: ["sessions": "\(topology.sessions.value)"])
        tellAll(.resetAll(.drainDeadline))
        tellAll(.stop)
        stage = .ending
      }
    }
    if case .ending = stage { return true }
    return false
  }

  private func tellAll(_ message: WorkerMessage) {
    for worker in workers { tell(worker, message) }
  }

  private func tell(_ worker: WorkerThread, _ message: WorkerMessage) {
    // An inbox is full only of connections being handed over; the worker is taking them.
    while !worker.link.inbox.post(message) { sched_yield() }
  }

  // MARK: Words

  private func words(_ pause: AcceptPause) -> String {
    switch pause {
    case .sessionsMax:
      return "max_sessions (\(topology.sessionsMax)) is reached"
    case .routeSessionsMax(let index):
      let route = topology.routes[index.position]
      return "max_sessions (\(route.sessionsMax)) of route \(route.name) is reached"
    case .resources(let errno):
      return "\(errno)"
    }
  }
}

/// Why there is no thread for a worker, with the limit that is known.
private func threadRefusal(worker: Int, workers: Int) -> String {
  // RLIMIT_NPROC, under the name that Swift's Glibc imports.
  let limit = sysconf(CInt(_SC_CHILD_MAX))
  let processesMax = limit == -1 ? "unlimited" : "\(limit)"
  return "starting worker \(worker + 1) of \(workers): no more threads; ask for fewer workers "
    + "(workers: \(workers)), or raise the limit of processes (ulimit -u is \(processesMax); "
    + "TasksMax=, pids.max)"
}

/// The signals of the process, blocked: make one before the first thread starts.
public struct ProxySignals: ~Copyable {
  private let source: SignalSource

  /// Blocks the signals that end the program; they are acted upon once a `Proxy` runs.
  public init() throws(StartFailure) {
    do throws(Errno) {
      source = try SignalSource()
    } catch {
      throw StartFailure("no descriptor for signals: \(error)")
    }
  }

  consuming func take() -> SignalSource {
    source
  }
}
