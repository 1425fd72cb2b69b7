// SPDX-License-Identifier: Apache-2.0
// The state of a route that is kept from one topology to the next: the number of its sessions, and its counters.
// The object is the route's identity at run time.

/// The counters of a route since it was first in use, over all workers.
public struct RouteStatistics: Sendable {
  /// How one or more sessions ended.
  public struct Ends: Sendable, Equatable {
    /// What happened.
    public let reason: SessionEnd.Reason
    /// The side that caused it.
    public let origin: SessionEnd.Origin
    /// How often.
    public let count: UInt64
  }

  /// Connections accepted.
  public let accepted: UInt64
  /// Sessions that are over, by their ends. Ends that never occurred are left out.
  public let ends: [Ends]
  /// Bytes from clients that endpoints' connections have taken, also of sessions that go on.
  public let uploadBytes: UInt64
  /// Bytes from endpoints that clients' connections have taken, also of sessions that go on.
  public let downloadBytes: UInt64
  /// From accepting a client to the connection with an endpoint, for each established connection. The
  /// bounds reach from a millisecond to ten seconds.
  public let connect: Histogram
  /// From accepting a client to the end of its session. The bounds reach from ten milliseconds to an
  /// hour.
  public let duration: Histogram
}

/// The part of a route that outlives a topology.
public final class RouteState: Sendable {
  /// The sessions of the route, over all workers.
  public let sessions = SessionCount()
  private let table: CounterTable

  /// A route without a session, for `workers` workers.
  public init(workers: Int) {
    table = CounterTable(counters: RouteCounters.count, workers: workers)
  }

  func counters(of worker: Int) -> RouteCounters {
    RouteCounters(block: table.block(of: worker))
  }

  /// The counters so far. Any thread; takes no lock.
  public func statistics() -> RouteStatistics {
    var ends: [RouteStatistics.Ends] = []
    for reason in SessionEnd.Reason.allCases {
      for origin in SessionEnd.Origin.allCases {
        let count = table.sum(RouteCounters.position(reason, origin))
        if count > 0 {
          ends.append(RouteStatistics.Ends(reason: reason, origin: origin, count: count))
        }
      }
    }
    return RouteStatistics(
      accepted: table.sum(RouteCounters.accepted), ends: ends,
      uploadBytes: table.sum(RouteCounters.uploadBytes),
      downloadBytes: table.sum(RouteCounters.downloadBytes),
      connect: RouteCounters.connect.read(from: table),
      duration: RouteCounters.duration.read(from: table))
  }
}

/// One worker's numbers of a route.
struct RouteCounters {
  fileprivate static var accepted: Int { 0 }
  fileprivate static var uploadBytes: Int { 1 }
  fileprivate static var downloadBytes: Int { 2 }
  private static var firstEnd: Int { 3 }
  private static let origins = SessionEnd.Origin.allCases.count
  fileprivate static let connect = HistogramLayout(
    boundsNanoseconds: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000].map {
      $0 * 1_000_000
    }, start: firstEnd + SessionEnd.Reason.allCases.count * origins)
  fileprivate static let duration = HistogramLayout(
    boundsNanoseconds: [10, 50, 100, 500, 1000, 5000, 10_000, 60_000, 300_000, 900_000, 3_600_000]
      .map { $0 * 1_000_000 }, start: connect.end)
  fileprivate static var count: Int { duration.end }

  fileprivate static func position(_ reason: SessionEnd.Reason, _ origin: SessionEnd.Origin) -> Int
  {
    firstEnd + Int(reason.rawValue) * origins + Int(origin.rawValue)
  }

  fileprivate let block: CounterBlock

  func noteAccepted() {
    block.add(1, to: RouteCounters.accepted)
  }

  func noteMoved(_ bytes: UInt64, _ way: Way) {
    block.add(bytes, to: way == .upload ? RouteCounters.uploadBytes : RouteCounters.downloadBytes)
  }

  func noteConnected(after nanoseconds: UInt64) {
    RouteCounters.connect.note(nanoseconds, in: block)
  }

  func noteEnd(_ end: SessionEnd, after nanoseconds: UInt64) {
    block.add(1, to: RouteCounters.position(end.reason, end.origin))
    RouteCounters.duration.note(nanoseconds, in: block)
  }
}
