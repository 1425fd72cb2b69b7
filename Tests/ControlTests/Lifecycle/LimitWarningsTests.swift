// SPDX-License-Identifier: Apache-2.0
// Bounds that can never be reached are told, and others are not.

import Addressing
import Plan
import Reactor
import Testing

@testable import Control

@Suite struct LimitWarningsTests {
  private func warnings(
    openFiles: Int = 1024, _ change: (inout ProxyPlan) -> Void
  ) -> [String] {
    var plan = samplePlan([.socket(.v4(.loopback, port: 9))])
    change(&plan)
    return limitWarnings(
      of: plan, openFilesMax: openFiles,
      processors: AvailableProcessors(affinity: 2, quotaThousandths: nil))
  }

  @Test func whatThereIsRoomForIsNoReason() {
    #expect(warnings { _ in } == [])
    let inOrder = warnings(openFiles: 20_000) { plan in
      plan.sessionsMax = .count(5000)
      plan.routes[0].sessionsMax = 5000
      plan.upstreams[0].sessionsMax = 1000
      plan.upstreams[0].hold = HoldPlan(timeout: .seconds(1), length: 5000)
      plan.upstreams[0].queue = QueuePlan(length: 10)
      plan.upstreams[0].endpoints[0].sessionsMax = 1
    }
    #expect(inOrder == [])
  }

  @Test func theOpenFilesLimitBindsBeforeWhatIsWritten() throws {
    let told = warnings { $0.sessionsMax = .count(5000) }
    #expect(told.count == 1)
    let line = try #require(told.first)
    #expect(line.hasPrefix("max_sessions: the open-files limit of 1024 here has room for "))
    #expect(line.hasSuffix(", not for 5000"))
  }

  @Test func everyBoundIsLookedAt() {
    let told = warnings { plan in
      plan.sessionsMax = .count(10)
      plan.routes[0].sessionsMax = 11
      plan.upstreams[0].sessionsMax = 12
      plan.upstreams[0].queue = QueuePlan(length: 13)
      plan.upstreams[0].hold = HoldPlan(timeout: .seconds(1), length: 14)
      plan.upstreams[0].endpoints[0].sessionsMax = 15
    }
    let reason = "is never reached: max_sessions allows 10 sessions in all"
    #expect(
      told == [
        "max_sessions of route r (11) \(reason)",
        "max_sessions of upstream u (12) \(reason)",
        "the length of the queue of upstream u (13) \(reason)",
        "the length of the hold of upstream u (14) \(reason)",
        "max_sessions of endpoint 127.0.0.1:9 of u (15) \(reason)",
      ])
  }

  @Test func noRoomAtAllIsTold() {
    #expect(
      warnings(openFiles: 20) { _ in }.first?.contains("has no room for a single session") == true)
  }
}
