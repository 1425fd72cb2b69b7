// SPDX-License-Identifier: Apache-2.0
// Retries, queue and hold as workers use them: durations as nanoseconds, percents as counts. Pure.

import Balancing
import Plan

/// What follows after a failed attempt.
struct RetryPolicy: Sendable, Equatable {
  /// How many attempts a session may make in one search; `nil`: one for each endpoint.
  let attemptsMax: Int?
  private let budgetPercent: Int?
  private let budgetMin: Int
  private let backOffNanoseconds: UInt64
  private let backOffMaxNanoseconds: UInt64

  init(_ plan: RetryPlan) {
    attemptsMax = plan.attemptsMax
    budgetPercent = plan.budgetPercent
    budgetMin = plan.budgetMin
    backOffNanoseconds = plan.backOff?.wholeNanoseconds ?? 0
    backOffMaxNanoseconds = plan.backOffMax.wholeNanoseconds
  }

  /// How many sessions may be past their first attempt while the upstream has `sessions`.
  func budget(sessions: Int) -> Int {
    guard let budgetPercent else { return .max }
    let (product, overflow) = sessions.multipliedReportingOverflow(by: budgetPercent)
    return overflow ? .max : max(budgetMin, product / 100)
  }

  /// How long to wait after this number of attempts. The wait is drawn from the whole range, so that sessions that
  /// failed together do not return together (Brooker, "Exponential Backoff And Jitter", 2015, *full jitter*).
  /// The second attempt goes to another endpoint and does not wait.
  func wait(afterAttempts attempts: Int, random: inout SplitMix64) -> UInt64 {
    guard attempts >= 2, backOffNanoseconds > 0 else { return 0 }
    let doublings = min(attempts - 2, 32)
    let (scaled, overflow) = backOffNanoseconds.multipliedReportingOverflow(by: 1 << doublings)
    let longest = min(overflow ? .max : scaled, backOffMaxNanoseconds)
    return longest == 0 ? 0 : random.next(below: longest)
  }
}

/// How sessions wait for a place.
struct QueuePolicy: Sendable, Equatable {
  let length: Int
  let timeoutNanoseconds: UInt64

  init(_ plan: QueuePlan) {
    length = plan.length
    timeoutNanoseconds = plan.timeout.wholeNanoseconds
  }
}

/// How sessions wait for an endpoint.
struct HoldPolicy: Sendable, Equatable {
  let length: Int
  let timeoutNanoseconds: UInt64
  /// The interval between two releases.
  let intervalNanoseconds: UInt64

  init(_ plan: HoldPlan) {
    length = plan.length
    timeoutNanoseconds = plan.timeout.wholeNanoseconds
    intervalNanoseconds = 1_000_000_000 / UInt64(max(1, plan.ratePerSecond))
  }
}
