// SPDX-License-Identifier: Apache-2.0
// What all parts of a worker use: the kernel, the poller, the time, the plan as it is now, and the ways to
// the rest of the process. The parts (acceptor, connector, relay, session table) know this and not each
// other.

import Balancing
import Reactor

/// The common ground of a worker's parts. Only the worker's thread may use it, once it runs; `link` alone
/// is for every thread.
final class WorkerCore<K: Kernel> {
  let kernel: K
  let poller: Poller<K>
  let settings: WorkerSettings
  /// What other threads use of this worker.
  let link: WorkerLink
  /// What has happened so far.
  let counters: WorkerCounters
  let report: @Sendable (WorkerReport) -> Void

  /// When the current turn began.
  var now: Instant
  /// The plan as it is now. Replaced between two messages, never while a session is looked at.
  private(set) var topology: Topology
  /// The same, as this worker needs it for each session.
  private(set) var view: PlanView
  /// All workers, this one included, by number.
  var workers: [WorkerLink] = []
  var random: SplitMix64

  init(
    kernel: K, settings: WorkerSettings, topology: Topology, link: WorkerLink,
    report: @escaping @Sendable (WorkerReport) -> Void
  ) throws(Errno) {
    self.kernel = kernel
    self.settings = settings
    self.topology = topology
    self.link = link
    self.report = report
    view = PlanView(of: topology, worker: settings.number)
    counters = link.counters
    now = kernel.now()
    random = SplitMix64(seed: settings.seed)
    poller = try Poller(
      kernel: kernel, eventsMax: settings.relay.eventsPerTurn,
      spinNanoseconds: settings.spinNanoseconds)
  }

  /// Goes over to another topology. Returns the one before.
  func replaceTopology(with next: Topology) -> Topology {
    let previous = topology
    topology = next
    view = PlanView(of: next, worker: settings.number)
    return previous
  }

  /// Leaves a message for a worker, which may be this one. Returns false if it takes none.
  func post(_ worker: Int, _ message: WorkerMessage) -> Bool {
    workers[worker].inbox.post(message)
  }
}
