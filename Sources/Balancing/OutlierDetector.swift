// SPDX-License-Identifier: Apache-2.0
// Leaving out endpoints that fail sessions: for how long, how many of them at once, and what is remembered
// of it. Workers count failures in a row; everything else is decided here, as values in, values out.
//
//            so many failures in a row,
//            and there are others enough                    the time is over
//     in service ──────────────────────────▶ ejected ─────────────────────────▶ in service, on probation:
//         ▲                                     │                                one failure ejects again
//         └──────── it has served, or it is needed ◀───────────────────────────── one success ends it
//
// The time grows with repetition, as in Envoy's outlier detection: the n-th ejection that still counts
// lasts n times as long as the first one. Each of them is forgotten after as much time in service as it
// took away, the latest first; so an endpoint that fails again and again is left out for at least half
// of the time, and one that has failed once last week begins anew.

/// What is remembered of one endpoint. It begins in service, with nothing against it.
public struct OutlierHistory: Hashable, Sendable {
  /// How many ejections still count.
  public private(set) var repetitions = 0
  /// When it is in service again, in nanoseconds; `nil`: it is in service.
  public fileprivate(set) var ejectedUntil: UInt64?
  /// When it was ejected last, in nanoseconds; 0: never.
  public fileprivate(set) var ejectedAt: UInt64 = 0
  /// Since when it has been in service without earning that a repetition is forgotten.
  private var goodSince: UInt64 = 0

  /// Begins with nothing.
  public init() {}

  /// Whether it is left out.
  public var isEjected: Bool { ejectedUntil != nil }

  /// Forgets what is paid for by now. Takes O(repetitions that are forgotten).
  fileprivate mutating func forget(_ detector: OutlierDetector, at now: UInt64) {
    assert(!isEjected)
    while repetitions > 0 {
      let cost = detector.nanoseconds(ofRepetition: repetitions)
      guard now >= goodSince, now - goodSince >= cost else { return }
      goodSince += cost
      repetitions -= 1
    }
  }

  fileprivate mutating func eject(_ detector: OutlierDetector, at now: UInt64) -> UInt64 {
    repetitions = min(repetitions + 1, detector.repetitionsMax)
    let (end, overflow) = now.addingReportingOverflow(
      detector.nanoseconds(ofRepetition: repetitions))
    ejectedAt = now
    ejectedUntil = overflow ? .max : end
    return overflow ? .max : end
  }

  fileprivate mutating func release(at now: UInt64) {
    ejectedUntil = nil
    goodSince = now
  }
}

/// How many of an upstream's endpoints are in which state. Those that never get a session (weight 0) are
/// not counted at all.
public struct OutlierTally: Hashable, Sendable {
  /// All of them.
  public var endpoints: Int
  /// Those that get sessions: neither down nor ejected.
  public var up: Int
  /// Those that are ejected, whatever their checks say.
  public var ejected: Int
  /// How many must be left: as many as the upstream needs to serve at all, one at least.
  public var needed: Int

  /// Puts the numbers together.
  public init(endpoints: Int, up: Int, ejected: Int, needed: Int = 1) {
    assert(up >= 0 && ejected >= 0 && up + ejected <= endpoints)
    self.endpoints = endpoints
    self.up = up
    self.ejected = ejected
    self.needed = max(1, needed)
  }
}

/// The policy of one upstream.
public struct OutlierDetector: Hashable, Sendable {
  /// How long the first ejection lasts.
  public let ejectNanoseconds: UInt64
  /// How long one lasts at most.
  public let ejectNanosecondsMax: UInt64
  /// Which share of the endpoints is ejected at once, at most; one always may be.
  public let sharePercent: Int

  /// Makes a policy. `ejectNanoseconds` must be 1 at least and not above `ejectNanosecondsMax`,
  /// `sharePercent` within 1...100.
  public init(ejectNanoseconds: UInt64, ejectNanosecondsMax: UInt64, sharePercent: Int) {
    precondition(ejectNanoseconds > 0 && ejectNanoseconds <= ejectNanosecondsMax)
    precondition((1...100).contains(sharePercent))
    self.ejectNanoseconds = ejectNanoseconds
    self.ejectNanosecondsMax = ejectNanosecondsMax
    self.sharePercent = sharePercent
  }

  /// How many repetitions make a difference.
  fileprivate var repetitionsMax: Int {
    Int(clamping: ejectNanosecondsMax / ejectNanoseconds).advanced(by: 1)
  }

  /// How long the `number`-th ejection lasts, from 1.
  public func nanoseconds(ofRepetition number: Int) -> UInt64 {
    assert(number > 0)
    let (product, overflow) = ejectNanoseconds.multipliedReportingOverflow(by: UInt64(number))
    return overflow ? ejectNanosecondsMax : min(product, ejectNanosecondsMax)
  }

  /// How many of so many endpoints may be ejected at once. A single one never is: there would be nobody.
  public func ejectedMax(of endpoints: Int) -> Int {
    guard endpoints > 1 else { return 0 }
    return max(1, endpoints * sharePercent / 100)
  }

  /// Whether one more of an upstream's endpoints, one that is up, may be ejected.
  public func mayEject(_ tally: OutlierTally) -> Bool {
    tally.ejected < ejectedMax(of: tally.endpoints) && tally.up > tally.needed
  }

  /// Ejects an endpoint that is in service. Returns until when.
  public func eject(_ history: inout OutlierHistory, at now: UInt64) -> UInt64 {
    precondition(!history.isEjected)
    history.forget(self, at: now)
    return history.eject(self, at: now)
  }

  /// Puts an endpoint that is ejected in service again: its time is over, it has served, or it is needed.
  public func release(_ history: inout OutlierHistory, at now: UInt64) {
    precondition(history.isEjected)
    history.release(at: now)
  }
}
