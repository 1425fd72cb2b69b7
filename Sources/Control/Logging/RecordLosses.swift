// SPDX-License-Identifier: Apache-2.0
// How many access records were lost, and how many of them have been told. Two tell: the log's thread, and
// the control plane every now and then, because that thread says nothing while it waits for a reader
// that has stopped. Whoever comes first tells what nobody has told yet, so each loss is told once.

import DataPlane
import Logging
import Reactor
import Synchronization

/// The losses of an access log. Any thread may use it.
final class RecordLosses: Sendable {
  private struct Told: ~Copyable {
    var count = 0
    var at: Instant?
    /// Why records could not be written since then.
    var error: Errno?
  }

  private let rings: [RecordRing]
  private let unwritten = Atomic<Int>(0)
  private let told = Lock(Told())
  private let logger: Logger

  init(of rings: [RecordRing], logger: Logger) {
    self.rings = rings
    self.logger = logger
  }

  /// How many records were lost since the start: those that found no room to wait, and those that could
  /// not be written.
  var count: Int {
    rings.reduce(unwritten.load(ordering: .relaxed)) { $0 + $1.droppedCount }
  }

  /// Counts records that could not be written.
  func note(unwritten count: Int, _ error: Errno?) {
    guard count > 0 else { return }
    unwritten.add(count, ordering: .relaxed)
    if let error { told.withLock { $0.error = error } }
  }

  /// Tells how many records were lost and not told of yet, unless others were told of less than `pause`
  /// ago. Returns after how many nanoseconds there is something to tell, `nil` if nothing is left.
  @discardableResult
  func tell(now: Instant, pauseNanoseconds: UInt64) -> UInt64? {
    told.withLock { told in
      let untold = count - told.count
      guard untold > 0 else { return nil }
      let since = told.at.map { now.nanoseconds(since: $0) } ?? .max
      guard since >= pauseNanoseconds else { return pauseNanoseconds - since }
      let cause = told.error.map(\.description) ?? "its reader is too slow"
      logger.warning(
        "access records were lost", metadata: ["count": "\(untold)", "cause": "\(cause)"])
      told.count += untold
      told.at = now
      told.error = nil
      return nil
    }
  }
}
