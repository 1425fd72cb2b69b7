// SPDX-License-Identifier: Apache-2.0
// What is known of an upstream's endpoints all in all, and what that means for the upstream:
//
//     fewer healthy than `quorum` ──────────────────▶ none: it serves nobody
//     otherwise, fewer than `panic` (in percent) ───▶ panic: all of them are used
//     otherwise ────────────────────────────────────▶ healthy
//
// Healthy is who is neither down nor ejected. Endpoints of weight 0 get no session in any case, so they
// count for nothing.

import Balancing
import DataPlane
import Plan

/// An upstream on the board. Used by the loop's thread.
final class BoardRow {
  let name: String
  let state: UpstreamState
  private(set) var position: Int
  private(set) var entries: [BoardEntry] = []

  /// How endpoints that fail are ejected; `nil`: they are not.
  private(set) var detector: OutlierDetector?
  /// Consecutive failures after which an endpoint is ejected; 0: workers do not count them.
  private(set) var failuresMax = 0
  private(set) var onDown = OnDown.keep
  /// For how long the share of an endpoint grows that has come up, in nanoseconds.
  private(set) var slowStartNanoseconds: UInt64?
  private var panicPercent: Int?
  private var quorum = 1

  /// How many would get sessions if nothing spoke against them.
  private(set) var count = 0
  /// Those of them that are healthy.
  private(set) var healthyCount = 0
  /// Those of them that are ejected, whatever their checks say.
  private(set) var ejectedCount = 0
  /// Whether the numbers are those of now: not while entries change hands.
  private var isCounting = false
  /// Those who have failed too often and cannot be ejected now: others are, or they are needed.
  var failing: [BoardEntry] = []
  /// Whether that was said, since the last time that somebody was ejected or came back.
  var isBoundTold = false

  init(_ upstream: BoardedUpstream) {
    name = upstream.plan.name
    state = upstream.state
    position = upstream.position
  }

  /// Takes over what a plan and a topology say. `recount` is to follow.
  func follow(_ upstream: BoardedUpstream, entries: [BoardEntry]) {
    precondition(upstream.state === state)
    let plan = upstream.plan
    isCounting = false
    // Who is counted anew is heard of again; who is gone is not.
    let takers = upstream.endpoints.count(where: \.takesSessions)
    let failuresMax = plan.outlier?.failuresMax(endpoints: takers) ?? 0
    let isSame = self.failuresMax == failuresMax
    failing = isSame ? failing.filter { one in entries.contains { $0 === one } } : []
    position = upstream.position
    self.entries = entries
    detector = plan.outlier.map(OutlierDetector.init)
    self.failuresMax = failuresMax
    onDown = plan.onDown
    slowStartNanoseconds = plan.slowStart?.wholeNanoseconds
    panicPercent = plan.panicPercent
    quorum = plan.quorum
  }

  /// Counts anew.
  func recount() {
    isCounting = true
    let counted = entries.filter(\.subject.takesSessions)
    count = counted.count
    healthyCount = counted.count { $0.state.availability == .up }
    ejectedCount = counted.count(where: \.history.isEjected)
  }

  /// One of those that are counted has become healthy, or is so no more.
  func noteHealthy(_ isHealthy: Bool) {
    guard isCounting else { return }
    healthyCount += isHealthy ? 1 : -1
    assert((0...count).contains(healthyCount))
  }

  /// One of those that are counted was ejected, or is so no more.
  func noteEjected(_ isEjected: Bool) {
    guard isCounting else { return }
    ejectedCount += isEjected ? 1 : -1
    assert((0...count).contains(ejectedCount))
  }

  /// How many must be healthy for the upstream to serve, and with those alone.
  var needed: Int {
    // No panic as long as `healthyCount * 100 >= panicPercent * count`.
    let calm = panicPercent.map { ($0 * count + 99) / 100 } ?? 0
    return max(1, quorum, calm)
  }

  /// What bounds ejections.
  var tally: OutlierTally {
    OutlierTally(endpoints: count, up: healthyCount, ejected: ejectedCount, needed: needed)
  }

  /// The one that comes back first because too few are left: the upstream would serve nobody or be in
  /// panic, and would not be with those that are ejected. `nil`: none has to, or it would not help.
  var neededAgain: BoardEntry? {
    guard healthyCount < needed, ejectedCount > 0 else { return nil }
    let candidates = entries.filter {
      $0.subject.takesSessions && $0.availability == .ejected
    }
    guard healthyCount + candidates.count >= needed else { return nil }
    return candidates.min { $0.history.ejectedUntil ?? 0 < $1.history.ejectedUntil ?? 0 }
  }

  /// With whom it serves, by the numbers.
  var serving: Serving {
    // Without anybody healthy nobody is served anyway, unless it is panic.
    if quorum > 1, healthyCount < quorum { return .none }
    if let panicPercent, healthyCount * 100 < panicPercent * count { return .panic }
    return .healthy
  }

  /// The numbers, for others.
  var standing: UpstreamStanding {
    UpstreamStanding(endpoints: count, healthy: healthyCount, quorum: quorum)
  }
}

extension OutlierDetector {
  /// The policy of a plan.
  init(_ plan: OutlierPlan) {
    let eject = max(1, plan.ejectTime.wholeNanoseconds)
    self.init(
      ejectNanoseconds: eject,
      ejectNanosecondsMax: max(eject, plan.ejectTimeMax.wholeNanoseconds),
      sharePercent: min(max(plan.ejectedPercentMax, 1), 100))
  }
}
