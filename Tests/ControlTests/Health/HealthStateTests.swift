// SPDX-License-Identifier: Apache-2.0
// The verdict: what it takes to change it, held beside a slower way to say the same.

import Balancing
import Plan
import Testing

@testable import Control

@Suite struct HealthStateTests {
  private func verdicts(_ checks: String, rise: Int = 2, fall: Int = 3) -> String {
    var state = HealthState()
    return String(
      checks.map { check in
        let hasChanged = state.note(isGood: check == "+", rise: rise, fall: fall)
        return hasChanged ? (state.isUp ? "U" : "D") : (state.isChanging ? "?" : ".")
      })
  }

  @Test func anEndpointBeginsAsUp() {
    #expect(HealthState().isUp)
    #expect(!HealthState().isChanging)
    #expect(verdicts("+") == ".")
    #expect(verdicts("---") == "??D")
    #expect(verdicts("-", fall: 1) == "D")
  }

  @Test func onlyChecksInARowCount() {
    #expect(verdicts("--+--+---") == "??.??.??D")
    #expect(verdicts("---+-+-++") == "??D?.?.?U")
    #expect(verdicts("---++---") == "??D?U??D")
  }

  @Test func theIntervalIsThatOfTheState() {
    let plan = HealthCheckPlan(
      .tcp, up: .seconds(3), down: .seconds(5), changing: .seconds(1), rise: 2, fall: 2)
    var state = HealthState()
    var intervals = [state.interval(plan)]
    for isGood in [true, false, false, true, true] {
      _ = state.note(isGood: isGood, rise: plan.rise, fall: plan.fall)
      intervals.append(state.interval(plan))
    }
    #expect(intervals == [3, 3, 1, 5, 1, 3].map { .seconds($0) })
  }

  @Test func aChangeThatIsForgottenBeginsAnew() {
    var state = HealthState()
    _ = state.note(isGood: false, rise: 1, fall: 2)
    state.forgetChange()
    #expect(!state.isChanging)
    var changes: [Bool] = []
    for _ in 0..<2 { changes.append(state.note(isGood: false, rise: 1, fall: 2)) }
    #expect(changes == [false, true])
    state.forgetChange()
    #expect(!state.isUp)
  }

  private func news(
    _ checks: String, _ initial: HealthCheckPlan.Initial, rise: Int = 2, fall: Int = 3
  ) -> String {
    var state = HealthState(initial)
    return String(
      checks.map { check in
        let isNews = state.note(isGood: check == "+", rise: rise, fall: fall)
        return isNews ? (state.isUp ? "U" : "D") : (state.isUp ? "u" : "d")
      })
  }

  @Test func whoBeginsAsDownHasToRise() {
    #expect(!HealthState(.down).isUp)
    #expect(HealthState(.down).isUnproven)
    #expect(!HealthState(.down).isChanging)
    #expect(news("++---", .down) == "dUuuD")
    // That it is really down is told once.
    #expect(news("--+++", .down) == "DddUu")
    #expect(news("+-++", .down) == "dDdU")
  }

  @Test func whoIsUnknownIsDecidedByTheFirstCheck() {
    #expect(!HealthState(.unknown).isUp)
    #expect(HealthState(.unknown).isChanging)
    #expect(news("+---", .unknown) == "UuuD")
    #expect(news("-+++", .unknown) == "DdUu")
    var state = HealthState(.unknown)
    state.forgetChange()
    #expect(state.verdict == .unknown)
    _ = state.note(isGood: false, rise: 2, fall: 3)
    #expect(state.verdict == .down)
    #expect(!state.isUnproven)
  }

  /// The same rule, from the whole history: a verdict changes when the last checks since the change
  /// before all say so.
  private func isUp(after history: [Bool], rise: Int, fall: Int) -> Bool {
    var isUp = true
    var since = 0
    for end in history.indices {
      let needed = isUp ? fall : rise
      guard since <= end else { continue }
      let last = history[since...end].suffix(needed)
      if last.count == needed, last.allSatisfy({ $0 != isUp }) {
        isUp.toggle()
        since = end + 1
      }
    }
    return isUp
  }

  @Test func everySequenceOfChecksGivesTheVerdictOfItsHistory() {
    for seed in UInt64(0)..<200 {
      var random = SplitMix64(seed: seed)
      let rise = 1 + Int(random.next(below: 4))
      let fall = 1 + Int(random.next(below: 4))
      let goodOfTen = random.next(below: 11)
      var state = HealthState()
      var history: [Bool] = []
      for _ in 0..<60 {
        let isGood = random.next(below: 10) < goodOfTen
        let before = state.isUp
        history.append(isGood)
        let hasChanged = state.note(isGood: isGood, rise: rise, fall: fall)
        #expect(hasChanged == (before != state.isUp), "seed \(seed)")
        #expect(state.isUp == isUp(after: history, rise: rise, fall: fall), "seed \(seed)")
        #expect(state.against < max(rise, fall), "seed \(seed)")
        if state.isChanging { #expect(isGood != state.isUp, "seed \(seed)") }
      }
    }
  }

  @Test func jitterStaysWithinItsPercentage() {
    func jittered(_ percent: Int, _ random: UInt64) -> UInt64 {
      jitteredNanoseconds(.milliseconds(100), percent: percent, random: random)
    }
    #expect(jittered(10, 0) == 90_000_000)
    #expect(jittered(10, .max / 2 + 1) == 100_000_000)
    #expect(jittered(10, .max) == 109_999_999)
    #expect(jittered(0, .max) == 100_000_000)
    #expect(jittered(50, 0) == 50_000_000)
    var random = SplitMix64(seed: 1)
    let values = (0..<1000).map { _ in jittered(25, random.next()) }
    #expect(values.allSatisfy { (75_000_000..<125_000_000).contains($0) })
    #expect(values.contains { $0 < 77_000_000 })
    #expect(values.contains { $0 > 123_000_000 })
    #expect(
      jitteredNanoseconds(.seconds(86400), percent: 50, random: .max) < 129_600_000_000_000)
  }
}
