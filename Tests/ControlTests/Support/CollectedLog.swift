// SPDX-License-Identifier: Apache-2.0
// What was logged, as lines that a test can compare.

import Logging
import Reactor

/// Keeps every line as `level message key=value …`, keys sorted.
final class CollectedLog: Sendable {
  private struct Event {
    let line: String
    let metadata: Logger.Metadata
  }

  private let state = Lock([Event]())

  /// The lines so far.
  var lines: [String] { state.withLock { $0.map(\.line) } }

  /// How many were told as lost, in all.
  var lostCount: Int { values(of: "count").reduce(0) { $0 + (Int($1) ?? 0) } }

  /// The values of a key, in the order of the lines that have it.
  func values(of key: String) -> [String] {
    state.withLock { $0.compactMap { event in event.metadata[key].map { "\($0)" } } }
  }

  /// A logger that writes to here.
  var logger: Logger { Logger(label: "test") { _ in Backend(log: self) } }

  private struct Backend: LogHandler {
    let log: CollectedLog
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let metadata = event.metadata ?? [:]
      let pairs = metadata.map { " \($0.key)=\($0.value)" }.sorted().joined()
      let line = "\(event.level) \(event.message)\(pairs)"
      log.state.withLock { $0.append(Event(line: line, metadata: metadata)) }
    }
  }
}
