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
      descriptor = try openFile(path)
      file = Descriptor(owning: descriptor)
    }
    do throws(Errno) {
      return try AccessLog(descriptor, file.take(), plan.queueMax, workers, logger)
    } catch {
      throw StartFailure("log: access: no descriptor for its thread: \(error)")
    }
  }

  /// Opens a file to append to, or a pipe that somebody reads: without O_NONBLOCK this would wait for
  /// ever for the reader of a pipe that has none, deaf to signals.
  private static func openFile(_ path: String) throws(StartFailure) -> CInt {
    let flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK
    let descriptor = Glibc.open(path, flags, 0o640)
    guard descriptor != -1 else {
      let code = errno
      var status = stat()
      let isPipe = stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFIFO
      let reason =
        code == ENXIO && isPipe
        ? "nobody reads this pipe; start its reader first" : "\(Errno(rawValue: code))"
      throw StartFailure("log: access: cannot open \(path): \(reason)")
    }
    // The log's thread may wait as long as it takes.
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
    return descriptor
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

  /// Begins to write records of `topology`. Call once, before any worker runs. A trouble that lasts is
  /// told every `complaintPause` at most. Throws when the kernel gives no thread.
  func start(
    _ format: LogPlan.Format, topology: Topology, complaintPause: Duration = .seconds(10)
  ) throws(Errno) {
    // SAFETY: made here, used by the log's thread alone from then on.
    nonisolated(unsafe) let writer = RecordWriter(
      rings, format: RecordFormat(format, topology: topology), to: descriptor, logger: logger,
      complaintNanoseconds: complaintPause.wholeNanoseconds)
    try thread.start(name: "access-log") { isLast in writer.step(isLast) }
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

  private let rings: [RecordRing]
  private let output: LineWriter
  private let logger: Logger
  private let complaintNanoseconds: UInt64
  private var format: RecordFormat
  private var lines = LineBuffer()
  private var dropped = 0
  private var lastError: Errno?
  private var complainedAt: Instant?

  init(
    _ rings: [RecordRing], format: RecordFormat, to descriptor: CInt, logger: Logger,
    complaintNanoseconds: UInt64
  ) {
    self.rings = rings
    self.format = format
    output = LineWriter(descriptor)
    self.logger = logger
    self.complaintNanoseconds = complaintNanoseconds
  }

  func step(_ isLast: Bool) -> LogThread.Rest {
    let now = LinuxKernel().now()
    var hasRead = false
    for ring in rings {
      while let record = ring.read() {
        hasRead = true
        format.append(record, now: now, to: &lines)
        if lines.bytes.count >= RecordWriter.batchBytes { write() }
      }
      dropped += ring.takeDropped()
    }
    write()
    if isLast || silence(now) == 0 { complain(now) }
    if hasRead { return .soon }
    // Every ring must know that nobody looks; one with a record keeps the thread awake.
    guard rings.allSatisfy({ $0.prepareToSleep() }) else { return .soon }
    return dropped == 0 ? .untilRung : .untilRungWithin(nanoseconds: silence(now))
  }

  private func write() {
    guard !lines.isEmpty else { return }
    // A full disk or a reader that is gone: these lines are lost, later ones may not be.
    let (lost, error) = output.writeLines(lines.bytes)
    dropped += lost
    lastError = error ?? lastError
    lines.removeAll()
  }

  /// How long nothing is to be said yet.
  private func silence(_ now: Instant) -> UInt64 {
    guard let complainedAt else { return 0 }
    let since = now.nanoseconds(since: complainedAt)
    return complaintNanoseconds - min(complaintNanoseconds, since)
  }

  /// Says how many records were lost.
  private func complain(_ now: Instant) {
    guard dropped > 0 else { return }
    let cause = lastError.map { $0.description } ?? "its reader is too slow"
    logger.warning(
      "access records were lost", metadata: ["count": "\(dropped)", "cause": "\(cause)"])
    dropped = 0
    lastError = nil
    complainedAt = now
  }
}
