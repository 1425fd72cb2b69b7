// SPDX-License-Identifier: Apache-2.0
// The access log: reads the workers' rings, turns records into lines, writes them in large pieces.
// While records keep coming it looks every 25 ms by itself, so that busy workers never ring; only
// the first record after a quiet time does. It also opens its file again when it is told to.

import DataPlane
import Logging
import Plan
import Reactor
import Synchronization

/// The thread behind the access log.
final class AccessLog: Sendable {
  /// How often losses are told, at most.
  private static let lossPause = Duration.seconds(10)

  /// One for each worker.
  let rings: [RecordRing]
  private let losses: RecordLosses
  private let thread: LogThread
  private let isReopenWanted = Flag()
  private let names = PublishedNames()
  private let passes = PassCount()
  // SAFETY: handed to the log's thread by `start`, and touched by nobody else from then on.
  private nonisolated(unsafe) let output: AccessOutput
  private let logger: Logger

  /// An access log for `workers` workers, `nil` if the plan wants none.
  static func open(
    _ plan: LogPlan, workers: Int, logger: Logger
  ) throws(StartFailure) -> AccessLog? {
    let output: AccessOutput?
    do throws(AccessOutput.Refusal) {
      output = try AccessOutput.open(plan.access)
    } catch {
      throw StartFailure("log: access: cannot open \(error.path): \(error.cause)")
    }
    guard let output else { return nil }
    do throws(Errno) {
      return try AccessLog(output, plan.queueMax, workers, logger)
    } catch {
      throw StartFailure("log: access: no descriptor for its thread: \(error)")
    }
  }

  private init(
    _ output: AccessOutput, _ queueMax: Int, _ workers: Int, _ logger: Logger
  ) throws(Errno) {
    let thread = try LogThread()
    self.thread = thread
    self.output = output
    self.logger = logger
    rings = (0..<workers).map { _ in RecordRing(capacity: queueMax) { thread.ring() } }
    losses = RecordLosses(of: rings, logger: logger)
  }

  /// Begins to write records of `topology`. Call once, before any worker runs. A trouble that lasts is
  /// told every `lossPause` at most. Throws when the kernel gives no thread.
  func start(
    _ format: LogPlan.Format, topology: Topology, lossPause: Duration = AccessLog.lossPause
  ) throws(Errno) {
    // SAFETY: made here, used by the log's thread alone from then on.
    nonisolated(unsafe) let writer = RecordWriter(
      rings, format: RecordFormat(format, topology: topology), names: names, passes: passes,
      losses: losses, to: output, logger: logger,
      lossPauseNanoseconds: lossPause.wholeNanoseconds, isReopenWanted: isReopenWanted)
    try thread.start(name: "access-log") { isLast in writer.step(isLast) }
  }

  /// Has records name things as `topology` does from now on. Call before any worker may use it, with
  /// topologies in the order of their versions. Any thread; does not block.
  func use(_ topology: Topology) {
    names.publish(topology)
  }

  /// How many records were lost since the start: those that found no room to wait, and those that could
  /// not be written. Any thread.
  var droppedCount: Int { losses.count }

  /// Has losses told that the log's thread cannot tell, because it waits for its reader. Call it every now
  /// and then. Any thread; does not block.
  func tellLosses(lossPause: Duration = AccessLog.lossPause) {
    losses.tell(now: LinuxKernel().now(), pauseNanoseconds: lossPause.wholeNanoseconds)
  }

  /// Has the file opened anew by its path, for whoever has renamed it. The log's thread does that, and
  /// tells what came of it; this does not block. Any thread.
  func reopen() {
    isReopenWanted.isSet.store(true, ordering: .releasing)
    thread.ring()
  }

  /// Writes what is left and ends. Blocks for a moment. Call once, after the last worker has ended.
  func stop() {
    guard !thread.stop() else { return }
    tellLosses(lossPause: .zero)
    logger.warning(
      "access records were lost", metadata: ["cause": "its reader has stopped reading"])
  }
}

extension AccessLog: RecordReader {
  func passAfterNow() -> Int {
    let pass = passes.next()
    thread.ring()
    return pass
  }

  func hasCompleted(_ pass: Int) -> Bool {
    passes.hasCompleted(pass)
  }
}

/// The latest topology on its way to the log's thread. A record can only name what was published
/// before it was written; so whoever reads one and then looks here knows all its names.
private final class PublishedNames: Sendable {
  private let version = Atomic<Int>(0)
  private let topology = Lock<Topology?>(nil)

  func publish(_ topology: Topology) {
    self.topology.withLock { $0 = topology }
    version.store(topology.version, ordering: .releasing)
  }

  /// The latest topology if it is newer than `version`.
  func newer(than version: Int) -> Topology? {
    guard self.version.load(ordering: .acquiring) > version else { return nil }
    return topology.withLock { $0 }
  }
}

/// Which passes over all rings have begun and are over, from 1.
private final class PassCount: Sendable {
  private let begun = Atomic<Int>(0)
  private let completed = Atomic<Int>(0)

  /// The log's thread: a pass begins.
  func begin() {
    begun.add(1, ordering: .acquiringAndReleasing)
  }

  /// The log's thread: it is over.
  func complete() {
    completed.store(begun.load(ordering: .relaxed), ordering: .releasing)
  }

  /// The first pass that begins after this call. Reading and writing at once, like `begin`: so what
  /// the caller knew before is known to that pass, wherever the two fall.
  func next() -> Int {
    begun.add(0, ordering: .acquiringAndReleasing).newValue + 1
  }

  func hasCompleted(_ pass: Int) -> Bool {
    completed.load(ordering: .acquiring) >= pass
  }
}

/// A wish that may be had again before it was fulfilled.
private final class Flag: Sendable {
  let isSet = Atomic<Bool>(false)
}

/// What the access log's thread does. Only that thread may use it.
private final class RecordWriter {
  /// Lines are written when they fill this much, or when there are no more.
  private static let batchBytes = 64 << 10

  private let rings: [RecordRing]
  private let output: AccessOutput
  private let isReopenWanted: Flag
  private let names: PublishedNames
  private let passes: PassCount
  private let logger: Logger
  private let losses: RecordLosses
  private let lossPauseNanoseconds: UInt64
  private var format: RecordFormat
  private var lines = LineBuffer()

  init(
    _ rings: [RecordRing], format: RecordFormat, names: PublishedNames, passes: PassCount,
    losses: RecordLosses, to output: AccessOutput, logger: Logger,
    lossPauseNanoseconds: UInt64, isReopenWanted: Flag
  ) {
    self.rings = rings
    self.format = format
    self.names = names
    self.passes = passes
    self.losses = losses
    self.output = output
    self.isReopenWanted = isReopenWanted
    self.logger = logger
    self.lossPauseNanoseconds = lossPauseNanoseconds
  }

  func step(_ isLast: Bool) -> LogThread.Rest {
    // All lines that were made are written: here no line can be torn.
    if isReopenWanted.isSet.exchange(false, ordering: .acquiring) { reopen() }
    let now = LinuxKernel().now()
    var hasRead = false
    passes.begin()
    for ring in rings {
      while let record = ring.read() {
        hasRead = true
        if let topology = names.newer(than: format.version) { format.use(topology) }
        format.append(record, now: now, to: &lines)
        if lines.bytes.count >= RecordWriter.batchBytes { write() }
      }
    }
    passes.complete()
    write()
    let untilTold = losses.tell(now: now, pauseNanoseconds: isLast ? 0 : lossPauseNanoseconds)
    if hasRead { return .soon }
    // Every ring must know that nobody looks; one with a record keeps the thread awake.
    guard rings.allSatisfy({ $0.prepareToSleep() }) else { return .soon }
    return untilTold.map(LogThread.Rest.untilRungWithin) ?? .untilRung
  }

  private func write() {
    guard !lines.isEmpty else { return }
    // A full disk or a reader that is gone: these lines are lost, later ones may not be.
    let (lost, error) = output.writer.writeLines(lines.bytes)
    losses.note(unwritten: lost, error)
    lines.removeAll()
  }

  private func reopen() {
    assert(lines.isEmpty)
    switch output.reopen() {
    case .reopened(let path):
      logger.info("access log reopened", metadata: ["path": "\(path)"])
    case .unchanged(let path):
      logger.debug(
        "SIGUSR1: the access log is still the same file", metadata: ["path": "\(path)"])
    case .noFile:
      logger.debug("SIGUSR1: the access log is no file that could be reopened")
    case .refused(let path, let cause):
      logger.warning(
        "the access log cannot be reopened; the old file goes on",
        metadata: ["path": "\(path)", "cause": "\(cause)"])
    }
  }
}
