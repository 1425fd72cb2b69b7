// SPDX-License-Identifier: Apache-2.0
// Workers on the real kernel, each on its thread. This is the border of the module on purpose: the compiler
// specialises a generic class where its type arguments are named. They are named here, and nothing generic
// leaves the module.

import Reactor

/// A worker and the thread it runs on.
public final class WorkerThread: Sendable {
  /// What others use of the worker.
  public let link: WorkerLink
  // SAFETY: handed to the thread by `start`; from then on only that thread touches it.
  private nonisolated(unsafe) let worker: Worker<LinuxKernel>
  private let thread = Lock(LoopThread?.none)

  /// Makes a worker that does not run yet. Throws when the kernel has no descriptors for it, or no
  /// address space for its tables.
  public init(
    settings: WorkerSettings, topology: Topology, records: RecordRing?,
    report: @escaping @Sendable (WorkerReport) -> Void
  ) throws(Errno) {
    worker = try Worker(
      kernel: LinuxKernel(), settings: settings, topology: topology, records: records,
      report: report)
    link = worker.link
  }

  /// Starts the thread and accepts. `workers` are all workers of the process by number. Call once.
  /// Throws EAGAIN when there is no thread, anything else when the listeners cannot be watched.
  public func start(number: Int, among workers: [WorkerLink]) throws(Errno) {
    try worker.begin(among: workers)
    let worker = Unchecked(worker)
    try thread.withLock { thread throws(Errno) in
      precondition(thread == nil, "a worker is started once")
      thread = try LoopThread(name: "worker-\(number)") { worker.value.run() }
    }
  }

  /// Waits until the worker has received `stop` and has stopped. Blocks. Call at most once.
  public func join() {
    thread.withLock { $0.take() }?.join()
  }
}

/// Carries a value to the only thread that will use it.
private struct Unchecked<Value>: @unchecked Sendable {
  // SAFETY: the sender does not use it afterwards.
  let value: Value

  init(_ value: Value) {
    self.value = value
  }
}
