// SPDX-License-Identifier: Apache-2.0
// The access log: reads the workers' rings, turns records into lines, writes them in large pieces.
// While records keep coming it looks every 25 ms by itself, so that busy workers never ring; only
// the first record after a quiet time does.

import DataPlane
import Glibc
import Logging
import Plan
import Reactor
import Synchronization

/// The thread behind the access log.
final class AccessLog: Sendable {
  /// One for each worker.
  let rings: [RecordRing]
  private let thread: LogThread
  private let file: Descriptor?
  private let descriptor: CInt
  private let logger: Logger

  /// An access log for `workers` workers, `nil` if the plan wants none.
  static func open(
    _ plan: LogPlan, workers: Int, logger: Logger
  ) throws(StartFailure) -> AccessLog? {
    var descriptor = STDOUT_FILENO
    var file: Descriptor?
    switch plan.access {
    case .off: return nil
    case .standardOutput: break
    case .standardError: descriptor = STDERR_FILENO
    case .file(let path):
      descriptor = Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0o640)
      guard descriptor != -1 else {
        throw StartFailure("log: access: cannot open \(path): \(Errno(rawValue: errno))")
      }
      file = Descriptor(owning: descriptor)
    }
    do throws(Errno) {
      return try AccessLog(descriptor, file.take(), plan.queueMax, workers, logger)
    } catch {
      throw StartFailure("log: access: no descriptor for its thread: \(error)")
    }
  }

  private init(
    _ descriptor: CInt, _ file: consuming Descriptor?, _ queueMax: Int, _ workers: Int,
    _ logger: Logger
  ) throws(Errno) {
    let thread = try LogThread()
    self.thread = thread
    self.descriptor = descriptor
    self.file = file
    self.logger = logger
    rings = (0..<workers).map { _ in RecordRing(capacity: queueMax) { thread.ring() } }
  }

  /// Begins to write records of `topology`. Call once, before any worker runs.
  func start(_ format: LogPlan.Format, topology: Topology) {
    // SAFETY: made here, used by the log's thread alone from then on.
    nonisolated(unsafe) let writer = RecordWriter(
      rings, format: RecordFormat(format, topology: topology), to: descriptor, logger: logger)
    thread.start(name: "access-log") { isLast in writer.step(isLast) }
  }

  /// Writes what is left and ends. Blocks for a moment. Call once, after the last worker has ended.
  func stop() {
    guard !thread.stop() else { return }
    logger.warning(
      "access records were lost", metadata: ["cause": "its reader has stopped reading"])
  }
}

/// What the access log's thread does. Only that thread may use it.
private final class RecordWriter {
  /// Lines are written when they fill this much, or when there are no more.
  private static let batchBytes = 64 << 10
  /// How often a persistent trouble is told, at most.
  private static let complaintNanoseconds: UInt64 = 10_000_000_000

  private let rings: [RecordRing]
  private let descriptor: CInt
  private let logger: Logger
  private var format: RecordFormat
  private var lines = LineBuffer()
  private var linesWaiting = 0
  private var dropped = 0
  private var lastError: Errno?
  private var complainedAt: Instant?

  init(_ rings: [RecordRing], format: RecordFormat, to descriptor: CInt, logger: Logger) {
    self.rings = rings
    self.format = format
    self.descriptor = descriptor
    self.logger = logger
  }

  func step(_ isLast: Bool) -> LogThread.Rest {
    let now = LinuxKernel().now()
    var hasRead = false
    for ring in rings {
      while let record = ring.read() {
        hasRead = true
        format.append(record, now: now, to: &lines)
        linesWaiting += 1
        if lines.bytes.count >= RecordWriter.batchBytes { write() }
      }
      dropped += ring.takeDropped()
    }
    write()
    complain(now, isLast)
    if hasRead { return .soon }
    // Every ring must know that nobody looks; one with a record keeps the thread awake.
    return rings.allSatisfy { $0.prepareToSleep() } ? .untilRung : .soon
  }

  private func write() {
    guard !lines.isEmpty else { return }
    if let error = writeAll(descriptor, lines.bytes) {
      // A full disk or a reader that is gone: these lines are lost, later ones may not be.
      dropped += linesWaiting
      lastError = error
    }
    lines.removeAll()
    linesWaiting = 0
  }

  /// Says how many records were lost, now and then and at the end.
  private func complain(_ now: Instant, _ isLast: Bool) {
    guard dropped > 0 else { return }
    if !isLast, let last = complainedAt,
      now.nanoseconds(since: last) < RecordWriter.complaintNanoseconds
    {
      return
    }
    let cause = lastError.map { $0.description } ?? "its reader is too slow"
    logger.warning(
      "access records were lost", metadata: ["count": "\(dropped)", "cause": "\(cause)"])
    dropped = 0
    lastError = nil
    complainedAt = now
  }
}
