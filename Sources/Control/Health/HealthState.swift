// SPDX-License-Identifier: Apache-2.0
// The verdict on one endpoint, and how checks change it. A value without a clock, a socket or a name,
// so that every sequence of checks can be tried on it.
//
//           fall failed checks in a row
//      up ──────────────────────────────▶ down
//       ◀──────────────────────────────
//            rise good checks in a row
//
// An endpoint begins as up: until a verdict there is nothing against it, and a proxy that served nobody
// until the first checks are over would turn every start into an outage.

import Plan
import Reactor

/// Whether an endpoint is up, and how near it is to a change.
struct HealthState: Hashable, Sendable {
  /// The verdict.
  private(set) var isUp = true
  /// How many checks in a row disagree with the verdict.
  private(set) var against = 0

  /// Whether a change is under way.
  var isChanging: Bool { against > 0 }

  /// Takes a check into account. Returns whether the verdict has changed.
  mutating func note(isGood: Bool, rise: Int, fall: Int) -> Bool {
    assert(rise > 0)
    assert(fall > 0)
    guard isGood != isUp else {
      against = 0
      return false
    }
    against += 1
    guard against >= (isUp ? fall : rise) else { return false }
    isUp.toggle()
    against = 0
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
