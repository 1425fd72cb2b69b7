// SPDX-License-Identifier: Apache-2.0
// The state of an upstream that is kept from one topology to the next, for all workers together. The object is
// the upstream's identity at run time.

import Synchronization

/// Which of an upstream's endpoints may be picked.
public enum Serving: UInt8, Sendable, AtomicRepresentable {
  /// The endpoints that are up.
  case healthy
  /// All of them: so few are up that the state of the others is ignored.
  case panic
  /// None: fewer are up than its quorum.
  case none
}

/// The counters of an upstream since it was first in use, over all workers.
public struct UpstreamStatistics: Sendable, Equatable {
  /// Attempts to connect that followed others of the same session.
  public var retries: UInt64 = 0
  /// Further attempts that were not made, because too many sessions were past their first one.
  public var retriesRefused: UInt64 = 0
  /// Sessions that have begun to wait for a place.
  public var queued: UInt64 = 0
  /// Sessions of these that have waited for too long.
  public var queueTimeouts: UInt64 = 0
  /// Sessions that could not wait for a place, because the queue was full.
  public var queueOverflows: UInt64 = 0
  /// Sessions that have begun to wait for an endpoint.
  public var held: UInt64 = 0
  /// Sessions of these that have waited for too long.
  public var holdTimeouts: UInt64 = 0
  /// Sessions that could not wait for an endpoint, because the hold was full.
  public var holdOverflows: UInt64 = 0
}

/// The part of an upstream that outlives a topology.
public final class UpstreamState: Sendable {
  /// An event that is counted. All of them are exceptional, so one number for all workers is enough.
  enum Happening: Int, CaseIterable {
    case retry, retryRefused
    case queued, queueTimeout, queueOverflow
    case held, holdTimeout, holdOverflow
  }

  /// The sessions at its endpoints, over all workers.
  public let sessions = SessionCount()
  /// The sessions that look for an endpoint and are past their first attempt.
  public let retrying = SessionCount()
  /// The sessions that wait for one of its endpoints.
  public let queue = WaitQueue()
  private let currentServing = Atomic<Serving>(.healthy)
  private let happenings: CounterTable

  /// An upstream without sessions.
  public init() {
    happenings = CounterTable(counters: Happening.allCases.count, workers: 1)
  }

  /// Counts an event. Any thread.
  func note(_ happening: Happening) {
    happenings.addShared(1, to: happening.rawValue)
  }

  /// The counters so far. Any thread; takes no lock.
  public func statistics() -> UpstreamStatistics {
    let count = { (happening: Happening) in self.happenings.sum(happening.rawValue) }
    return UpstreamStatistics(
      retries: count(.retry), retriesRefused: count(.retryRefused), queued: count(.queued),
      queueTimeouts: count(.queueTimeout), queueOverflows: count(.queueOverflow),
      held: count(.held), holdTimeouts: count(.holdTimeout), holdOverflows: count(.holdOverflow))
  }

  /// Which of its endpoints may be picked. The control thread sets it and calls
  /// `Topology.noteChange(ofUpstream:)`; workers read it at their next pick.
  public var serving: Serving {
    get { currentServing.load(ordering: .relaxed) }
    set { currentServing.store(newValue, ordering: .relaxed) }
  }
}
