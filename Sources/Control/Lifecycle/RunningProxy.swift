// SPDX-License-Identifier: Apache-2.0
// All that exists of the data plane once the proxy has started: listening sockets, worker threads, the
// access log, the builtin endpoints, and the snapshot that they work by. The control plane alone uses it,
// on its loop's thread; nothing here waits for a worker, except `join`.

import Addressing
import CLinux
import DataPlane
import Glibc
import Logging
import Plan
import Reactor

/// The owner of the data plane.
final class RunningProxy {
  /// What a worker reports, with its number.
  typealias Report = @Sendable (_ worker: Int, _ report: WorkerReport) -> Void

  let budget: ResourceBudget
  let listeners: Listeners
  let accessLog: AccessLog?
  /// What the workers have been told to use.
  private(set) var topology: Topology
  private let ledger: TopologyLedger
  private let plan: ProxyPlan
  /// The servers of builtin endpoints: that of the start, and one for what each reload has added.
  private var builtins: [BuiltinServer]
  private let workers: [WorkerThread]
  private var isStopped = false

  /// Opens everything; no worker runs yet. Names must have been looked up before, so that a client who
  /// comes while that takes its time is refused and goes elsewhere, where a queue that nobody serves would
  /// keep it waiting. Throws everything that stands in the way, with the `failures` of looking up, so that
  /// it can be put right in one go. `report` is called on the workers' threads.
  init(
    _ plan: ProxyPlan, names: [NameQuestion: Resolution], failures: [String], handedOver: Set<CInt>,
    logger: Logger, report: @escaping Report
  ) throws(StartFailure) {
    self.plan = plan
    budget = try RunningProxy.shareOut(plan)
    var reasons = failures
    let listeners = RunningProxy.collect(&reasons) { () throws(StartFailure) in
      try Listeners(plan, activation: .current(), handedOver: handedOver)
    }
    let budget = budget
    let accessLog = RunningProxy.collect(&reasons) { () throws(StartFailure) in
      try AccessLog.open(plan.log, workers: budget.workers, logger: logger)
    }
    guard let listeners, let accessLog, reasons.isEmpty else { throw StartFailure(reasons) }
    self.listeners = listeners
    self.accessLog = accessLog
    let builtins = try RunningProxy.serve(plan.builtinServices, budget)
    self.builtins = builtins
    ledger = TopologyLedger(workers: budget.workers, records: accessLog)
    topology = ledger.build(
      plan, names: names, builtins: RunningProxy.addresses(of: builtins), listeners: listeners.all,
      sessionsMax: budget.sessionsMax)
    workers = try RunningProxy.makeWorkers(plan, budget, topology, accessLog, report)
  }

  private static func serve(
    _ services: [BuiltinService], _ budget: ResourceBudget
  ) throws(StartFailure) -> [BuiltinServer] {
    guard !services.isEmpty else { return [] }
    do throws(ListeningSocket.Failure) {
      return [try BuiltinServer(services, connectionsMax: budget.sessionsMax + 64)]
    } catch {
      throw StartFailure(
        "builtin endpoints: \(error)", sessionsMax: budget.sessionsMax, errno: error.errno)
    }
  }

  private static func addresses(
    of servers: [BuiltinServer]
  ) -> [BuiltinService: SocketAddress] {
    servers.reduce(into: [:]) { $0.merge($1.addresses) { first, _ in first } }
  }

  /// How many workers there are.
  var workerCount: Int { workers.count }

  /// What the workers have counted, by their numbers. Any thread may read them.
  var workerCounters: [WorkerCounters] { workers.map(\.link.counters) }

  private static func shareOut(_ plan: ProxyPlan) throws(StartFailure) -> ResourceBudget {
    let processors = AvailableProcessors.current()
    if plan.spin != nil, let quota = processors.quotaThousandths {
      throw StartFailure(
        "spin: burns the CPU quota of this control group (\(quota) thousandths of a processor), "
          + "which then throttles the proxy; set it to off")
    }
    return try shareOut(raiseOpenFilesLimit(), to: plan, processors)
  }

  private static func shareOut(
    _ openFilesMax: Int, to plan: ProxyPlan, _ processors: AvailableProcessors
  ) throws(StartFailure) -> ResourceBudget {
    guard let budget = ResourceBudget(plan, openFilesMax: openFilesMax, processors: processors)
    else {
      throw StartFailure(
        ResourceBudget.refusal(plan, openFilesMax: openFilesMax, processors: processors))
    }
    return budget
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
    _ report: @escaping Report
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
          ) { report(number, $0) })
      } catch {
        throw StartFailure(
          "starting worker \(number): \(error)", sessionsMax: budget.sessionsMax, errno: error)
      }
    }
    return workers
  }

  /// Starts the threads; clients are served from here on. When that fails, nothing runs any more.
  func start() throws(StartFailure) {
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
        accessLog?.stop()
        if error == .resourceTemporarilyUnavailable {
          throw StartFailure(threadRefusal(worker: number, workers: workers.count))
        }
        throw StartFailure("watching the listeners: \(error)")
      }
    }
  }

  // MARK: Changes

  /// Has all workers go over to a plan and to what names stand for now: at once, as far as this thread is
  /// concerned; `isUsed` tells when they have. Throws everything that stands in the way, and then nothing
  /// has changed. Returns, in sentences, what of the plan could not be had after all.
  func use(_ plan: ProxyPlan, names: [NameQuestion: Resolution]) throws(StartFailure) -> [String] {
    let sessionsMax = try self.sessionsMax(of: plan)
    let prepared = try listeners.prepare(plan)
    let known = RunningProxy.addresses(of: builtins)
    builtins += try RunningProxy.serve(plan.builtinServices.filter { known[$0] == nil }, budget)
    let next = ledger.build(
      plan, names: names, builtins: RunningProxy.addresses(of: builtins), listeners: prepared.all,
      sessionsMax: sessionsMax)
    var complaints = listeners.commit(prepared, in: next.version)
    if sessionsMax < topology.sessionsMax {
      complaints.append(
        "the open-files limit of \(budget.openFilesMax) has room for \(sessionsMax) sessions now, not for "
          + "\(topology.sessionsMax): listeners, checks and builtin endpoints need the rest")
    }
    guard next !== topology else { return complaints }
    topology = next
    accessLog?.use(next)
    tellAll(.use(next))
    return complaints
  }

  /// How many sessions there is room for beside what a plan needs: as many as at the start, unless it needs
  /// more descriptors than the plan of the start. Throws when there is no room for a single one.
  private func sessionsMax(of plan: ProxyPlan) throws(StartFailure) -> Int {
    var plan = plan
    plan.workers = .count(workers.count)
    let processors = AvailableProcessors(affinity: workers.count, quotaThousandths: nil)
    let now = try RunningProxy.shareOut(budget.openFilesMax, to: plan, processors)
    return min(budget.sessionsMax, now.sessionsMax)
  }

  /// A worker has gone over to a topology.
  func note(worker: Int, isUsing version: Int) {
    ledger.note(worker: worker, isUsing: version)
    listeners.closeRemoved(upTo: ledger.confirmedVersion)
  }

  /// Whether all workers have gone over to the latest topology.
  var isUsed: Bool { ledger.confirmedVersion >= topology.version }

  /// Leaves a message for every worker; none after they were told to stop, for they hear nothing then.
  func tellAll(_ message: WorkerMessage) {
    guard !isStopped else { return }
    if case .stop = message { isStopped = true }
    for worker in workers { tell(worker, message) }
  }

  /// Leaves a message for one worker. Returns false, and nothing is left, when it has no room for one
  /// or was told to stop.
  func post(_ message: WorkerMessage, to worker: Int) -> Bool {
    !isStopped && workers[worker].link.inbox.post(message)
  }

  private func tell(_ worker: WorkerThread, _ message: WorkerMessage) {
    // An inbox is full only of connections being handed over; the worker is taking them.
    while !worker.link.inbox.post(message) { sched_yield() }
  }

  /// What is to be waited for in the end, by a thread that may block: first the workers, which must have
  /// been told to stop, then who served them.
  var threads: (workers: [WorkerThread], builtins: [BuiltinServer], accessLog: AccessLog?) {
    (workers, builtins, accessLog)
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
