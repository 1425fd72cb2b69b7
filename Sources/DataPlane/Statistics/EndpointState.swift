// SPDX-License-Identifier: Apache-2.0
// The state of an endpoint that is kept from one topology to the next: its availability, the number of its
// sessions, and its counters. The object is the endpoint's identity at run time.

import Balancing
import Reactor
import Synchronization

/// Whether an endpoint may get sessions.
public enum Availability: UInt8, Sendable, AtomicRepresentable {
  /// It may. Endpoints begin as up, unless `initial` of their check says otherwise.
  case up
  /// Its checks have failed: it gets no new session.
  case down
  /// It has failed sessions, and gets no new session for a while.
  case ejected
}

/// The counters of an endpoint since it was first in use, over all workers.
public struct EndpointStatistics: Sendable {
  /// Why some attempts to connect have failed.
  public struct Failures: Sendable, Equatable {
    /// The reason. Shortages of this process or machine are included.
    public let reason: SessionEnd.Reason
    /// How many.
    public let count: UInt64
  }

  /// Connections attempted.
  public let attempts: UInt64
  /// Failed attempts: refused, timed out, or reset before a byte had moved. Reasons that never occurred are left
  /// out.
  public let failures: [Failures]
  /// Bytes that its connections have taken.
  public let uploadBytes: UInt64
  /// Bytes from it that clients' connections have taken.
  public let downloadBytes: UInt64
}

/// The part of an endpoint that outlives a topology.
public final class EndpointState: Sendable {
  /// The sessions at the endpoint, over all workers.
  public let sessions = SessionCount()
  private let currentAvailability: Atomic<Availability>
  private let currentFailures = Atomic<Int>(0)
  private let currentShare = Atomic<Int>(SlowStart.whole)
  /// How long it takes to answer, where its upstream measures that.
  private let latency = Atomic<UInt64>(0)
  private let table: CounterTable

  /// An endpoint that has no session, for `workers` workers.
  public init(workers: Int, availability: Availability = .up) {
    currentAvailability = Atomic(availability)
    table = CounterTable(counters: EndpointCounters.count, workers: workers)
  }

  /// Whether it may get sessions. After setting it, call `Topology.noteChange`, or workers do not see it.
  public var availability: Availability {
    get { currentAvailability.load(ordering: .relaxed) }
    set { currentAvailability.store(newValue, ordering: .relaxed) }
  }

  /// How much of its weight counts, in parts of 256: 1 to 256. Less than all while it starts slowly.
  /// After setting it, call `Topology.noteChange`.
  public var share: Int {
    get { currentShare.load(ordering: .relaxed) }
    set {
      precondition((1...SlowStart.whole).contains(newValue))
      currentShare.store(newValue, ordering: .relaxed)
    }
  }

  /// How many consecutive sessions have failed there, over all workers, where its upstream ejects endpoints
  /// (`OutlierPlan`). The control thread may set it: to 0, to count anew, or to one below the bound, so that a
  /// single failure reaches it.
  public var failuresInARow: Int {
    get { currentFailures.load(ordering: .relaxed) }
    set { currentFailures.store(newValue, ordering: .relaxed) }
  }

  /// A session has failed there. Returns whether this is the `max`th consecutive failure: true once, and again only
  /// after a session was served or the number was set.
  func noteFailed(max: Int) -> Bool {
    currentFailures.add(1, ordering: .relaxed).newValue == max
  }

  /// A session was served there. Returns whether `max` or more consecutive ones had failed before: true once.
  func noteServed(max: Int) -> Bool {
    // Read before it is written: as a rule it is 0 already, and the cache line stays shared between workers.
    guard currentFailures.load(ordering: .relaxed) > 0 else { return false }
    return currentFailures.exchange(0, ordering: .relaxed) >= max
  }

  /// Adds a measured latency. When several threads add at once, one of the values may be lost.
  func noteLatency(nanoseconds: UInt64, at now: Instant, decayNanoseconds: UInt64) {
    let before = latency.load(ordering: .relaxed)
    let after = PeakAverage(rawValue: before).adding(
      nanoseconds: nanoseconds, at: now.nanoseconds, decayNanoseconds: decayNanoseconds)
    latency.store(after.rawValue, ordering: .relaxed)
  }

  /// The average latency.
  var averageLatency: PeakAverage { PeakAverage(rawValue: latency.load(ordering: .relaxed)) }

  func counters(of worker: Int) -> EndpointCounters {
    EndpointCounters(block: table.block(of: worker))
  }

  /// The counters so far. Any thread; takes no lock.
  public func statistics() -> EndpointStatistics {
    let failures = SessionEnd.Reason.allCases.compactMap {
      reason -> EndpointStatistics.Failures? in
      let count = table.sum(EndpointCounters.position(reason))
      return count == 0 ? nil : EndpointStatistics.Failures(reason: reason, count: count)
    }
    return EndpointStatistics(
      attempts: table.sum(EndpointCounters.attempts), failures: failures,
      uploadBytes: table.sum(EndpointCounters.uploadBytes),
      downloadBytes: table.sum(EndpointCounters.downloadBytes))
  }

  /// Whether a session still refers to this endpoint, connected to it or not. Once no worker can pick
  /// it any more, false is final, and all records of those sessions are visible.
  public var isNamed: Bool {
    // In this order: a session holds before it releases.
    let released = table.settledSum(EndpointCounters.released)
    return table.settledSum(EndpointCounters.held) != released
  }
}

/// One worker's numbers of an endpoint.
struct EndpointCounters {
  fileprivate static var attempts: Int { 0 }
  fileprivate static var uploadBytes: Int { 1 }
  fileprivate static var downloadBytes: Int { 2 }
  fileprivate static var held: Int { 3 }
  fileprivate static var released: Int { 4 }
  private static var firstFailure: Int { 5 }
  fileprivate static var count: Int { firstFailure + SessionEnd.Reason.allCases.count }

  fileprivate static func position(_ reason: SessionEnd.Reason) -> Int {
    firstFailure + Int(reason.rawValue)
  }

  fileprivate let block: CounterBlock

  /// A session refers to this endpoint from now on.
  func hold() {
    block.add(1, to: EndpointCounters.held)
  }

  /// A session no longer refers to it, and has written its last record of it.
  func release() {
    block.publishOne(to: EndpointCounters.released)
  }

  func noteAttempt() {
    block.add(1, to: EndpointCounters.attempts)
  }

  func noteFailure(_ reason: SessionEnd.Reason) {
    block.add(1, to: EndpointCounters.position(reason))
  }

  func noteMoved(_ bytes: UInt64, _ way: Way) {
    block.add(
      bytes, to: way == .upload ? EndpointCounters.uploadBytes : EndpointCounters.downloadBytes)
  }
}
