// SPDX-License-Identifier: Apache-2.0
// The operational log on standard error, as a backend of swift-log: lines are put together by
// whoever logs and written by a thread of their own, so that a terminal that was stopped with
// Ctrl-S stops nobody but that thread.

import Glibc
import Logging
import Plan
import Reactor

/// The thread behind the operational log, and the maker of its loggers.
public final class EventLog: Sendable {
  private struct Queue: ~Copyable {
    var lines: [[UInt8]] = []
    /// Since that was told.
    var dropped = 0
    /// Since the start.
    var droppedTotal = 0
  }

  private let plan: LogPlan
  private let thread: LogThread
  private let queue = Lock(Queue())

  /// Starts to write to standard error. Throws when the kernel has no descriptors or no thread for it.
  public convenience init(_ plan: LogPlan) throws(StartFailure) {
    do throws(Errno) {
      try self.init(plan, to: STDERR_FILENO)
    } catch {
      throw StartFailure("starting the log: \(error)")
    }
  }

  /// Starts to write to a descriptor, which stays the caller's.
  init(_ plan: LogPlan, to descriptor: CInt) throws(Errno) {
    self.plan = plan
    thread = try LogThread()
    // SAFETY: made here, used by the log's thread alone from then on.
    nonisolated(unsafe) let output = LineWriter(descriptor)
    try thread.start(name: "event-log") { _ in self.step(output) }
  }

  /// A logger for one part of the program.
  public func logger(_ label: String) -> Logger {
    var logger = Logger(label: label) { _ in EventLogHandler(log: self, format: self.plan.format) }
    logger.logLevel =
      switch plan.level {
      case .debug: .debug
      case .info: .info
      case .warning: .warning
      case .error: .error
      }
    return logger
  }

  /// How many lines were lost because nobody read fast enough. Any thread.
  var droppedCount: Int { queue.withLock { $0.droppedTotal } }

  /// Writes what is left and ends. Blocks for a moment; what a stopped reader has not taken by then
  /// is lost.
  public func stop() {
    _ = thread.stop()
  }

  fileprivate func add(_ line: [UInt8]) {
    // The thread looks until it finds nothing: whoever comes behind others need not wake it.
    let isFirst = queue.withLock { queue in
      let isFirst = queue.lines.isEmpty
      if queue.lines.count < plan.queueMax {
        queue.lines.append(line)
      } else {
        queue.dropped += 1
        queue.droppedTotal += 1
      }
      return isFirst
    }
    if isFirst { thread.ring() }
  }

  private func step(_ output: LineWriter) -> LogThread.Rest {
    while true {
      let (lines, dropped) = queue.withLock { queue -> ([[UInt8]], Int) in
        defer {
          queue.lines = []
          queue.dropped = 0
        }
        return (queue.lines, queue.dropped)
      }
      if lines.isEmpty { return .untilRung }
      _ = output.writeLines(Array(lines.joined()))
      if dropped > 0 {
        let line = eventLine(
          plan.format, "warning", "lines of this log were lost", [("count", "\(dropped)")])
        _ = output.writeLines(line)
      }
    }
  }
}

/// swift-log's view of an `EventLog`.
private struct EventLogHandler: LogHandler {
  let log: EventLog
  let format: LogPlan.Format
  var logLevel = Logger.Level.info
  var metadata: Logger.Metadata = [:]

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    var all = metadata
    if let own = event.metadata { all.merge(own) { $1 } }
    let pairs = all.map { (key: $0.key, value: $0.value.description) }.sorted { $0.key < $1.key }
    log.add(eventLine(format, event.level.rawValue, event.message.description, pairs))
  }
}

/// A line of the operational log, with the time of now.
private func eventLine(
  _ format: LogPlan.Format, _ level: String, _ message: String,
  _ pairs: [(key: String, value: String)]
) -> [UInt8] {
  var line = LineBuffer()
  var timestamp = Timestamp()
  switch format {
  case .text:
    timestamp.append(nanosecondsAgo: 0, to: &line)
    line.append(Array(" \(level) \(message)".utf8))
    for (key, value) in pairs {
      line.append(Array(" \(key)=".utf8))
      line.append(value: value.utf8)
    }
  case .json:
    line.append("{\"time\":\"")
    timestamp.append(nanosecondsAgo: 0, to: &line)
    line.append(Array("\",\"level\":\"\(level)\",\"message\":\"".utf8))
    line.append(escaped: message.utf8)
    line.append("\"")
    for (key, value) in pairs {
      line.append(",\"")
      line.append(escaped: key.utf8)
      line.append("\":\"")
      line.append(escaped: value.utf8)
      line.append("\"")
    }
    line.append("}")
  }
  line.append("\n")
  return line.bytes
}
