// SPDX-License-Identifier: Apache-2.0
// What is remembered of an upstream from one topology to the next, by all workers together. The object is
// the upstream's identity at run time.

import Synchronization

/// Whether an upstream's endpoints may be picked, all in all.
public enum Serving: UInt8, Sendable, AtomicRepresentable {
  /// Those that are up.
  case healthy
  /// All of them: so few are up that what speaks against the others counts no more.
  case panic
  /// None: fewer are up than its quorum.
  case none
}

/// What has happened with an upstream since it was first in use, over all workers.
public struct UpstreamStatistics: Sendable, Equatable {
  /// Attempts to connect that followed others of the same session.
  public var retries: UInt64 = 0
  /// Further attempts that were not made, because too many sessions were at one already.
  public var retriesRefused: UInt64 = 0
  /// Sessions that have begun to wait for a place.
  public var queued: UInt64 = 0
  /// Of those, those that have waited for too long.
  public var queueTimeouts: UInt64 = 0
  /// Sessions that could not wait for a place, because as many did already as may.
  public var queueOverflows: UInt64 = 0
  /// Sessions that have begun to wait for an endpoint.
  public var held: UInt64 = 0
  /// Of those, those that have waited for too long.
  public var holdTimeouts: UInt64 = 0
  /// Sessions that could not wait for an endpoint, because as many did already as may.
  public var holdOverflows: UInt64 = 0
}

/// The part of an upstream that outlives a topology.
public final class UpstreamState: Sendable {
  /// Something that is counted. All of it is exceptional, so one number for all workers will do.
  enum Happening: Int, CaseIterable {
    case retry, retryRefused
    case queued, queueTimeout, queueOverflow
    case held, holdTimeout, holdOverflow
  }

  /// The sessions at its endpoints, over all workers.
  public let sessions = SessionCount()
  /// Of the sessions that look for an endpoint, those that are past their first attempt.
  public let retrying = SessionCount()
  /// The sessions that wait for one of its endpoints.
  public let queue = WaitQueue()
  private let currentServing = Atomic<Serving>(.healthy)
  private let happenings: CounterTable

  /// An upstream without sessions.
  public init() {
    happenings = CounterTable(counters: Happening.allCases.count, workers: 1)
  }

  /// Counts something. Any thread.
  func note(_ happening: Happening) {
    happenings.addShared(1, to: happening.rawValue)
  }

  /// What has happened so far. Any thread; takes no lock.
  public func statistics() -> UpstreamStatistics {
    let count = { (happening: Happening) in self.happenings.sum(happening.rawValue) }
    return UpstreamStatistics(
      retries: count(.retry), retriesRefused: count(.retryRefused), queued: count(.queued),
      queueTimeouts: count(.queueTimeout), queueOverflows: count(.queueOverflow),
      held: count(.held), holdTimeouts: count(.holdTimeout), holdOverflows: count(.holdOverflow))
  }

  /// Whether its endpoints may be picked. The control thread sets it and tells the topology
  /// (`Topology.noteChange(ofUpstream:)`); workers read it at their next pick.
  public var serving: Serving {
    get { currentServing.load(ordering: .relaxed) }
    set { currentServing.store(newValue, ordering: .relaxed) }
  }
}
