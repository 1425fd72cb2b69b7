// SPDX-License-Identifier: Apache-2.0
// Which attempts follow one that has failed: how many, how soon, and for how many sessions at once.

import Balancing
import Plan
import Testing

@testable import DataPlane

@Suite struct RetryPolicyTests {
  @Test func theBudgetIsAShareOfTheSessionsButNeverLessThanItsMinimum() {
    let policy = RetryPolicy(RetryPlan(budgetPercent: 20, budgetMin: 100))
    #expect(
      [0, 400, 500, 505, 1000, 100_000].map(policy.budget) == [100, 100, 100, 101, 200, 20_000])
    #expect(RetryPolicy(RetryPlan(budgetPercent: 0, budgetMin: 0)).budget(sessions: 1000) == 0)
    #expect(RetryPolicy(RetryPlan(budgetPercent: nil)).budget(sessions: 0) == .max)
  }

  @Test(arguments: 1...5 as ClosedRange<UInt64>)
  func waitsAreDrawnFromARangeThatDoublesUpToABound(seed: UInt64) {
    let policy = RetryPolicy(
      RetryPlan(backOff: .milliseconds(25), backOffMax: .milliseconds(250)))
    var random = SplitMix64(seed: seed)
    func longest(after attempts: Int) -> UInt64 {
      (0..<1000).map { _ in policy.wait(afterAttempts: attempts, random: &random) }.max() ?? 0
    }
    #expect(longest(after: 1) == 0)
    for (attempts, milliseconds) in [(2, 25), (3, 50), (4, 100), (5, 200), (6, 250), (200, 250)] {
      let bound = UInt64(milliseconds) * 1_000_000
      let found = longest(after: attempts)
      #expect(found < bound, "seed \(seed)")
      #expect(found > bound * 9 / 10, "seed \(seed)")
    }
    let none = RetryPolicy(RetryPlan(backOff: nil))
    #expect(none.wait(afterAttempts: 9, random: &random) == 0)
  }
}

@Suite struct RetryingTests {
  private func rig(
    _ retry: RetryPlan, ports: [UInt16] = [9000, 9001, 9002], hold: HoldPlan? = nil
  ) throws -> Rig {
    var plan = RigPlan(ports: ports)
    plan.upstreams[0].retry = retry
    plan.upstreams[0].hold = hold
    if ports.count > 2 { plan.makeLastASpare() }
    return try Rig(plan)
  }

  private func ends(_ rig: Rig) -> [SessionEnd.Reason] {
    rig.takeEnds().compactMap(\.end).map(\.reason)
  }

  @Test func noMoreAttemptsAreMadeThanMayBe() throws {
    let rig = try rig(RetryPlan(attemptsMax: 2, backOff: nil))
    for port in 9000...9002 { rig.kernel.serve(UInt16(port), .refuses) }
    _ = rig.connectClient()
    rig.settle()
    #expect(rig.worker.counters[.attempts] == 2)
    #expect(ends(rig) == [.connectRefused])
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func withANumberOfAttemptsEndpointsComeAgain() throws {
    let rig = try rig(RetryPlan(attemptsMax: 5), ports: [9000, 9001])
    for port in 9000...9001 { rig.kernel.serve(UInt16(port), .refusesAtOnce) }
    _ = rig.connectClient()
    rig.settle()
    rig.advance(milliseconds: 500)
    #expect(rig.worker.counters[.attempts] == 5)
    #expect(ends(rig) == [.connectRefused])
    #expect(rig.topology.upstreams[0].state.statistics().retries == 4)
    #expect(rig.tearDown() == [])
  }

  @Test func theThirdAttemptWaitsAndTheSecondDoesNot() throws {
    let rig = try rig(
      RetryPlan(backOff: .seconds(1), backOffMax: .seconds(1)), ports: [9000, 9001, 9002])
    for port in 9000...9001 { rig.kernel.serve(UInt16(port), .refuses) }
    let sound = rig.kernel.serve(9002, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    #expect(rig.worker.counters[.attempts] == 2)
    #expect(sound.accepted.isEmpty)
    rig.advance(milliseconds: 1000)
    #expect(sound.accepted.first?.readText() == "hello")
    #expect(rig.tearDown() == [])
  }

  @Test func aWaitThatConnectWouldNotOutlastIsNotBegun() throws {
    let rig = try rig(RetryPlan(attemptsMax: 9, backOff: .seconds(60), backOffMax: .seconds(60)))
    for port in 9000...9002 { rig.kernel.serve(UInt16(port), .isSilent) }
    for _ in 0..<20 { _ = rig.connectClient() }
    rig.advance(milliseconds: 5010)
    #expect(ends(rig) == Array(repeating: .connectTimedOut, count: 20))
    #expect(rig.tearDown() == [])
  }

  @Test func aClientThatBreaksBetweenTwoAttemptsEndsTheSession() throws {
    let rig = try rig(RetryPlan(attemptsMax: 3, backOff: .seconds(4), backOffMax: .seconds(4)))
    for port in 9000...9002 { rig.kernel.serve(UInt16(port), .refuses) }
    let client = rig.connectClient()
    rig.settle()
    #expect(rig.worker.sessions.count == 1)
    client.reset()
    rig.settle()
    #expect(ends(rig) == [.reset])
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func noMoreSessionsTryAgainThanTheBudgetAllows() throws {
    let rig = try rig(
      RetryPlan(budgetPercent: 0, budgetMin: 2), ports: [9000, 9001])
    rig.kernel.serve(9000, .refuses)
    rig.kernel.serve(9001, .refuses)
    for _ in 0..<2 { _ = rig.connectClient() }
    rig.settle()
    #expect(ends(rig) == [.connectRefused, .connectRefused])
    // Those that are past their first attempt stay there.
    rig.kernel.serve(9001, .isSilent)
    rig.kernel.serve(9000, .refuses)
    for _ in 0..<8 { _ = rig.connectClient() }
    rig.settle()
    let refused = ends(rig)
    #expect(refused == Array(repeating: .retryBudget, count: refused.count))
    #expect(!refused.isEmpty)
    let state = rig.topology.upstreams[0].state
    #expect(state.retrying.value == 2)
    #expect(state.statistics().retriesRefused == UInt64(refused.count))
    #expect(rig.worker.sessions.count == 8 - refused.count)
    rig.advance(milliseconds: 6000)
    #expect(state.retrying.value == 0)
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func withAHoldNobodyIsTurnedAwayByTheBudget() throws {
    let rig = try rig(
      RetryPlan(budgetPercent: 0, budgetMin: 0), ports: [9000, 9001],
      hold: HoldPlan(timeout: .seconds(10), ratePerSecond: 1000))
    rig.kernel.serve(9000, .refuses)
    rig.kernel.serve(9001, .refuses)
    let clients = (0..<5).map { _ in rig.connectClient() }
    rig.settle()
    let state = rig.topology.upstreams[0].state
    #expect(state.queue.waiting.held == 5)
    // Each has tried one of two: that says nothing about the other.
    #expect(!state.queue.isFailing)
    #expect(state.statistics().retriesRefused > 0)
    #expect(state.statistics().retries == 0)
    rig.topology.mark(1, .down)
    let server = rig.kernel.serve(9000, .accepts)
    rig.advance(milliseconds: 600)
    #expect(server.accepted.count == 5)
    for client in clients { client.close() }
    for stream in server.accepted { stream.close() }
    rig.settle()
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func theSessionsOfAnUpstreamAreCountedWhileTheyAreAtAnEndpoint() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .refuses)
    let server = rig.kernel.serve(9001, .accepts)
    let state = rig.topology.upstreams[0].state
    let clients = (0..<3).map { _ in rig.connectClient() }
    rig.settle()
    #expect(state.sessions.value == 3)
    #expect(rig.topology.endpoints[1].state.sessions.value == 3)
    // It stays counted where it was counted, whatever the route leads to by then.
    rig.change {
      $0.upstreams = [UpstreamPlan(name: "other", endpoints: [EndpointPlan(port: 9001)])]
    }
    rig.settle()
    #expect(state.sessions.value == 3)
    for client in clients { client.reset() }
    rig.settle()
    #expect(state.sessions.value == 0)
    #expect(server.accepted.count == 3)
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }
}
