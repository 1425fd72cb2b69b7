// SPDX-License-Identifier: Apache-2.0
// What was logged, as lines that a test can compare.

import Logging
import Reactor

/// Keeps every line as `level message key=value …`, keys sorted.
final class CollectedLog: Sendable {
  private let state = Lock([String]())

  /// The lines so far.
  var lines: [String] { state.withLock { $0 } }

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
      let pairs = (event.metadata ?? [:]).map { " \($0.key)=\($0.value)" }.sorted().joined()
      log.state.withLock { $0.append("\(event.level) \(event.message)\(pairs)") }
    }
  }
}
