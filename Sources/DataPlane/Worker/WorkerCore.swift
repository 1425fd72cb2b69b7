// SPDX-License-Identifier: Apache-2.0
// What all parts of a worker use: the kernel, the poller, the time, the current plan, and the means to
// communicate with the rest of the process. The parts (acceptor, connector, relay, session table) know this and
// not each other.

import Balancing
import Reactor

/// What the parts of a worker share. Once the worker runs, only its thread may use it, except for `link`.
final class WorkerCore<K: Kernel> {
  let kernel: K
  let poller: Poller<K>
  let settings: WorkerSettings
  /// What other threads use of this worker.
  let link: WorkerLink
  /// What this worker has counted so far.
  let counters: WorkerCounters
  let report: @Sendable (WorkerReport) -> Void

  /// When the current turn began.
  var now: Instant
  /// The current plan. Replaced between two messages, never while a session is handled.
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

  /// Changes to another topology. Returns the previous one.
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
