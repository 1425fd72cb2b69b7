// SPDX-License-Identifier: Apache-2.0
// The verdict on one endpoint, and how checks change it. A value without a clock, a socket or a name,
// so that every sequence of checks can be tried on it.
//
//                 fall failed checks in a row
//      up ─────────────────────────────────────▶ down
//       ▲ ◀─────────────────────────────────────   ▲
//       │         rise good checks in a row        │
//       └──────────── unknown ─────────────────────┘
//        the first check    the first check failed
//            was good
//
// Where an endpoint begins, the plan says. As up, unless it says otherwise: until a verdict there is
// nothing against it, and a proxy that served nobody until the first checks are over would turn every
// start into an outage.

import Plan
import Reactor

/// Whether an endpoint is up, and how near it is to a change.
struct HealthState: Hashable, Sendable {
  /// What is thought of an endpoint.
  enum Verdict: Hashable, Sendable {
    /// Nothing yet: it gets no sessions until it has been asked.
    case unknown
    case down
    case up
  }

  /// What is thought of it now.
  private(set) var verdict: Verdict
  /// How many checks in a row disagree with the verdict.
  private(set) var against = 0
  /// Whether the verdict is only the one that it began with, and keeps sessions away: it has not been told
  /// to anybody, and is no news of an outage.
  private(set) var isUnproven: Bool

  /// Begins as a plan says.
  init(_ initial: HealthCheckPlan.Initial = .up) {
    switch initial {
    case .up: verdict = .up
    case .down: verdict = .down
    case .unknown: verdict = .unknown
    }
    isUnproven = initial != .up
  }

  /// Whether it gets sessions.
  var isUp: Bool { verdict == .up }

  /// Whether a change is under way.
  var isChanging: Bool { against > 0 || verdict == .unknown }

  /// Takes a check into account. Returns whether there is something to tell: the verdict has changed, or
  /// that it is down is no mere beginning any more.
  mutating func note(isGood: Bool, rise: Int, fall: Int) -> Bool {
    assert(rise > 0)
    assert(fall > 0)
    switch verdict {
    case .unknown: return settle(isGood)
    case .down where isUnproven && !isGood: return settle(false)
    case .up, .down: break
    }
    guard isGood != isUp else {
      against = 0
      return false
    }
    against += 1
    guard against >= (isUp ? fall : rise) else { return false }
    return settle(!isUp)
  }

  private mutating func settle(_ isUp: Bool) -> Bool {
    verdict = isUp ? .up : .down
    against = 0
    isUnproven = false
    return true
  }

  /// Drops what is under way and keeps the verdict: the checks were answers to another question.
  mutating func forgetChange() {
    against = 0
  }

  /// How long from the start of a check to that of the next, before it is jittered.
  func interval(_ plan: HealthCheckPlan) -> Duration {
    isChanging ? plan.changing : isUp ? plan.up : plan.down
  }
}

/// An interval that is shortened or lengthened by at most `percent` of it; where in between, `random`
/// says: 0 is the shortest. In nanoseconds.
func jitteredNanoseconds(_ interval: Duration, percent: Int, random: UInt64) -> UInt64 {
  assert((0...50).contains(percent))
  let whole = interval.wholeNanoseconds
  let part = whole / 100 * UInt64(percent)
  return whole - part + (2 * part).multipliedFullWidth(by: random).high
}
