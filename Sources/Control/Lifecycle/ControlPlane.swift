// SPDX-License-Identifier: Apache-2.0
// The life of the process as tasks on one loop: look names up, open everything, serve, take up changes,
// drain, end. All of it runs on the loop's thread, whose executor this actor has, so that there is one
// order of things and no lock; what may block (files, name servers) is offloaded. No byte of a session
// passes here.
//
//     starting ──▶ serving ──SIGTERM──▶ delaying ──▶ draining ──▶ ended
//         │                                │            │           ▲
//         └────────── SIGTERM ─────────────┴── again ───┴───────────┘
//
// The actor is split by subject: this file has the whole, Shutdown.swift the way to the end, Reload.swift
// changes of the plan, Reports.swift what workers and the service manager say and hear.

import DataPlane
import EventLoop
import Glibc
import Logging
import Plan
import Reactor

/// The control plane of one proxy.
actor ControlPlane {
  enum Stage: Equatable {
    /// Names are being looked up, sockets opened.
    case starting
    /// Sessions come and go.
    case serving
    /// Told to end, and still accepting for a while, so that whoever asks can turn clients away first.
    case delaying
    /// Nobody new comes; sessions may end by themselves.
    case draining
    /// Workers have been told to stop.
    case ended
  }

  /// How long reading a configuration may take.
  static let readTimeout = Duration.seconds(10)
  /// How long threads may take to end that were told to.
  static let joinPatience = Duration.seconds(10)

  nonisolated let loop: Loop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  let log: EventLog
  let logger: Logger
  let source: PlanSource
  let pools: BlockingPools
  let manager: ServiceNotifier?
  private let openStatus: StatusService.Opening

  var plan: ProxyPlan
  var stage = Stage.starting
  /// `nil` until everything is open.
  var running: RunningProxy?
  nonisolated let lookUp: NameLookUp
  var names = NameTable()
  var nameWatches: [NameQuestion: NameWatch] = [:]
  /// For how long the last answers hold, where that was told.
  var lifetimes: [NameQuestion: Duration] = [:]
  /// The servers of services whose names could not be looked up the last time.
  var failedTargets: [NameQuestion: Set<String>] = [:]
  var lists = EndpointLists()
  lazy var health = HealthMonitor(
    on: loop, logger: logger, scripts: ScriptRunner(launcher: pools.scripts)
  ) { [weak self] id, isUp in
    self?.assumeIsolated { $0.note(id, isUp: isUp) }
  }
  /// The endpoints that are checked, as workers look at them.
  var checkedStates: [HealthSubject.ID: EndpointState] = [:]
  /// All that speaks for and against endpoints; see `followEndpoints`.
  lazy var board = AvailabilityBoard(logger: logger) { [weak self] change in
    self?.assumeIsolated { $0.act(on: change) }
  }
  /// Whether the board and the monitor are being told of other endpoints.
  var isBoarding = false
  /// Set when the board may have something to do at another time than before.
  let boardHasMoved = Event()

  /// The first signal that ended it.
  var endSignal: SignalNumber?
  /// Whether a second one has.
  var isKilled = false
  /// Whoever waits for something that a change may have brought about; see `wait`.
  private var waiting: [ObjectIdentifier: Event] = [:]
  /// Changes of the plan that wait, the oldest first.
  var changes: [Change] = []
  var reloads = ReloadCounts()

  var workersAccepting = 0
  var rounds: AnswerRounds?

  init(
    _ plan: ProxyPlan, source: PlanSource, loop: Loop, log: EventLog, pools: BlockingPools,
    manager: sending ServiceNotifier?, openStatus: @escaping StatusService.Opening
  ) {
    self.plan = plan
    self.source = source
    self.loop = loop
    self.log = log
    logger = log.logger("sluice")
    self.pools = pools
    lookUp = NameLookUp(
      system: HostResolver(pool: pools.names),
      configuration: ResolverConfiguration(pool: pools.resolver))
    self.manager = manager
    self.openStatus = openStatus
  }

  /// The whole life. Throws everything that stands in the way of starting.
  func live() async throws {
    let signals: Signals
    do throws(Errno) {
      signals = try loop.signals(Proxy.signals)
    } catch {
      throw StartFailure("no descriptor for signals: \(error)")
    }
    loop.spawn(name: "signals") {
      for await signal in signals { await self.receive(signal) }
    }
    let handedOver = Listeners.handedOver(to: plan, .current())
    let refusals = startStatusService()
    guard let failures = await learnNamesOfStart() else {
      logger.info("ended", metadata: ["signal": "\(endSignal?.description ?? "-")"])
      return
    }
    let running = try open(after: refusals + failures, handedOver)
    self.running = running
    try running.start()
    // Clients are served meanwhile: with a thousand routes it takes a while.
    announce(running)
    workersAccepting = running.workerCount
    rounds = AnswerRounds(workers: running.workerCount)
    stage = .serving
    logger.info("ready", metadata: ["workers": "\(running.workerCount)", "pid": "\(getpid())"])
    tellReady()
    loop.spawn(name: "changes") { await self.takeUpChanges() }
    loop.spawn(name: "health") { [health] in await health.run() }
    watchNames()
    watchLists()
    followEndpoints()
    loop.spawn(name: "availability") { await self.attendBoard() }
    if let accessLog = running.accessLog {
      loop.spawn(name: "access log") { try await self.tellLosses(of: accessLog) }
    }
    await waitForEnd()
    await shutDown(running)
  }

  /// How often it is looked whether the access log has lost anything.
  private static let lossLookPause = Duration.seconds(5)

  /// Has the access log's losses told, though its own thread may be waiting for a reader that has stopped.
  private func tellLosses(of accessLog: AccessLog) async throws {
    while true {
      try await loop.sleep(for: ControlPlane.lossLookPause)
      accessLog.tellLosses()
    }
  }

  /// Answers questions from the start on: "not yet" is an answer, too. Returns what is in the way.
  private func startStatusService() -> [String] {
    guard let admin = plan.admin else { return [] }
    do throws(StartFailure) {
      let service = try openStatus(admin, ProxyControl(plane: self))
      loop.spawn(name: "admin") { await service.run() }
      logger.info("admin interface", metadata: ["at": "\(service.address)"])
      return []
    } catch {
      return error.reasons
    }
  }

  private func open(
    after failures: [String], _ handedOver: Set<CInt>
  ) throws(StartFailure) -> RunningProxy {
    let loop = loop
    return try RunningProxy(
      plan, names: names.resolutions, failures: failures, handedOver: handedOver, logger: logger
    ) { [weak self] worker, report in
      // Not held on to: the workers are this object's own.
      guard let self else { return }
      loop.call(name: "report of worker \(worker)") {
        self.assumeIsolated { $0.receive(report, of: worker) }
      }
    }
  }

  private func announce(_ running: RunningProxy) {
    Announcement(
      plan: plan, listeners: running.listeners.all, budget: running.budget,
      unusedDescriptors: running.listeners.unused, missingSources: MissingSource.all(in: plan)
    ).write(to: logger)
  }

  // MARK: Waiting

  /// Waits until `condition` holds, or `deadline` has come, or it all is to end at once. Returns whether
  /// it holds. Whoever changes something that a condition asks for calls `noteChange`.
  @discardableResult
  func wait(until deadline: Instant = .distantFuture, _ condition: () -> Bool) async -> Bool {
    while !condition() {
      if isKilled { return false }
      // One for each wait: nobody can take back the sign that another has not seen yet.
      let hasChanged = Event()
      waiting[ObjectIdentifier(hasChanged)] = hasChanged
      defer { waiting[ObjectIdentifier(hasChanged)] = nil }
      do throws(WaitError) {
        try await hasChanged.wait(until: deadline)
      } catch {
        return condition()
      }
    }
    return true
  }

  /// Waits until a signal ends the proxy.
  func waitForEnd() async {
    await wait { self.endSignal != nil }
  }

  /// Lets everybody who waits look again.
  func noteChange() {
    for event in waiting.values { event.set() }
  }

  // MARK: Signals

  private func receive(_ signal: SignalNumber) {
    switch signal {
    case .hangUp: requestReload()
    case .user1: reopenAccessLog()
    case .terminate, .interrupt: requestEnd(signal)
    default: assertionFailure("a signal that nobody asked for")
    }
    noteChange()
  }

  private func reopenAccessLog() {
    guard let running else { return }  // It is opened later, and then by its path of that time.
    if let accessLog = running.accessLog {
      accessLog.reopen()
    } else {
      logger.debug("SIGUSR1: there is no access log")
    }
  }

  private func requestEnd(_ signal: SignalNumber) {
    guard endSignal != nil else {
      endSignal = signal
      return
    }
    guard stage != .ended, !isKilled else { return }
    isKilled = true
    let sessions = running?.topology.sessions.value ?? 0
    logger.warning("second signal: ending at once", metadata: ["sessions": "\(sessions)"])
  }
}
