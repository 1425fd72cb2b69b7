// SPDX-License-Identifier: Apache-2.0
// How long an attempt may take, which endpoint the next one goes to, and whom a failure is counted against.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct LastAttemptTests {
  // All attempts have 5 s together, and one has 1.5 s.

  private func rig(_ ports: [UInt16], _ change: (inout UpstreamPlan) -> Void = { _ in }) throws
    -> Rig
  {
    var plan = RigPlan(ports: ports)
    plan.upstreams[0].outlier = nil
    change(&plan.upstreams[0])
    return try Rig(plan)
  }

  private func expectEnd(
    _ rig: Rig, _ reason: SessionEnd.Reason, attempts: UInt8,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let ends = rig.takeEnds()
    #expect(ends.map(\.end?.reason) == [reason], sourceLocation: sourceLocation)
    #expect(ends.map(\.attempts) == [attempts], sourceLocation: sourceLocation)
    #expect(rig.leftovers == [], sourceLocation: sourceLocation)
    #expect(rig.tearDown() == [], sourceLocation: sourceLocation)
  }

  // MARK: What is left of the time to connect

  @Test(arguments: [1000, 2000, 4900])
  func theOnlyEndpointMayTakeAllTheTimeThereIs(milliseconds: Int) throws {
    let rig = try rig([9000])
    let server = rig.kernel.serve(9000, .isSilent)
    let client = rig.connectClient()
    client.write("hello")
    rig.advance(milliseconds: milliseconds)
    server.manner = .accepts
    rig.settle()
    #expect(server.accepted.first?.readText() == "hello")
    #expect(server.attemptCount == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func theOnlyEndpointIsGivenUpWhenTheTimeIsOver() throws {
    let rig = try rig([9000])
    rig.kernel.serve(9000, .isSilent)
    let client = rig.connectClient()
    rig.advance(milliseconds: 4990)
    #expect(client.readEnd() == .wouldBlock)
    rig.advance(milliseconds: 20)
    #expect(client.readEnd() == .failed(.connectionReset))
    expectEnd(rig, .connectTimedOut, attempts: 1)
  }

  @Test func ofTwoSilentEndpointsTheSecondHasWhatIsLeft() throws {
    let rig = try rig([9000, 9001])
    let servers = [rig.kernel.serve(9000, .isSilent), rig.kernel.serve(9001, .isSilent)]
    let client = rig.connectClient()
    rig.advance(milliseconds: 1480)
    #expect(servers.map(\.attemptCount) == [1, 0])
    rig.advance(milliseconds: 3510)
    #expect(servers.map(\.attemptCount) == [1, 1])
    #expect(client.readEnd() == .wouldBlock)
    rig.advance(milliseconds: 20)
    expectEnd(rig, .connectTimedOut, attempts: 2)
  }

  @Test func theSecondOfTwoEndpointsMayAnswerLate() throws {
    let rig = try rig([9000, 9001])
    rig.kernel.serve(9000, .isSilent)
    let late = rig.kernel.serve(9001, .isSilent)
    let client = rig.connectClient()
    client.write("hello")
    rig.advance(milliseconds: 4500)
    late.manner = .accepts
    rig.settle()
    #expect(late.accepted.first?.readText() == "hello")
    #expect(rig.tearDown() == [])
  }

  @Test func anEndpointThatComesUpMeanwhileIsTriedBeforeTheTimeIsOver() throws {
    let rig = try rig([9000, 9001])
    rig.kernel.serve(9000, .isSilent)
    let other = rig.kernel.serve(9001, .accepts)
    rig.topology.mark(1, .down)
    let client = rig.connectClient()
    client.write("hello")
    rig.advance(milliseconds: 2000)
    #expect(other.attemptCount == 0)
    rig.topology.mark(1, .up)
    // It is looked for another one as often as an attempt takes.
    rig.advance(milliseconds: 1010)
    #expect(other.accepted.first?.readText() == "hello")
    #expect(rig.worker.counters[.attempts] == 2)
    #expect(rig.tearDown() == [])
  }

  @Test func anEndpointThatHasRoomAgainIsTriedBeforeTheTimeIsOver() throws {
    let rig = try rig([9000, 9001]) { $0.endpoints[1].sessionsMax = 1 }
    rig.kernel.serve(9000, .isSilent)
    let other = rig.kernel.serve(9001, .accepts)
    let clients = (0..<2).map { _ in rig.connectClient() }
    rig.advance(milliseconds: 2000)
    #expect(other.accepted.count == 1)
    try #require(other.accepted.first).reset()
    clients[1].reset()
    rig.advance(milliseconds: 1010)
    #expect(other.attemptCount == 2)
    #expect(rig.tearDown() == [])
  }

  @Test func whereNoRetryIsAllowedTheFirstAttemptHasAllTheTime() throws {
    let rig = try rig([9000, 9001]) { $0.retry = RetryPlan(budgetPercent: 0, budgetMin: 0) }
    let silent = rig.kernel.serve(9000, .isSilent)
    let other = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.advance(milliseconds: 4000)
    #expect(other.attemptCount == 0)
    silent.manner = .accepts
    rig.settle()
    #expect(silent.accepted.first?.readText() == "hello")
    #expect(rig.worker.counters[.attempts] == 1)
    #expect(rig.topology.upstreams[0].state.statistics().retriesRefused == 0)
    #expect(rig.tearDown() == [])
  }

  @Test func theLastOfANumberOfAttemptsHasWhatIsLeft() throws {
    let rig = try rig([9000, 9001, 9002]) { $0.retry = RetryPlan(attemptsMax: 2, backOff: nil) }
    for port in 9000...9002 { rig.kernel.serve(UInt16(port), .isSilent) }
    let client = rig.connectClient()
    rig.advance(milliseconds: 4990)
    #expect(client.readEnd() == .wouldBlock)
    rig.advance(milliseconds: 20)
    expectEnd(rig, .connectTimedOut, attempts: 2)
  }

  // MARK: Whose turn it is

  @Test(arguments: [UInt64(1), 2, 3])
  func aRetryTakesNoTurnOfRoundRobin(seed: UInt64) throws {
    var plan = RigPlan(ports: [9000, 9001])
    plan.upstreams[0].outlier = nil
    plan.seed = seed
    let rig = try Rig(plan)
    let dead = rig.kernel.serve(9000, .refuses)
    let sound = rig.kernel.serve(9001, .accepts)
    for _ in 0..<120 {
      _ = rig.connectClient()
      rig.settle()
    }
    // Every other session begins at the dead endpoint, and goes on to the sound one.
    #expect(dead.attemptCount == 60)
    #expect(sound.accepted.count == 120)
    #expect(rig.tearDown() == [])
  }

  @Test func aRetryTakesNoTurnOfTheEndpointsThatAreLeft() throws {
    let rig = try rig([9000, 9001, 9002])
    let dead = rig.kernel.serve(9000, .refuses)
    let others = [rig.kernel.serve(9001, .accepts), rig.kernel.serve(9002, .accepts)]
    for _ in 0..<120 {
      _ = rig.connectClient()
      rig.settle()
    }
    #expect(dead.attemptCount == 40)
    // 40 turns each, and the 40 retries by chance.
    #expect(others.allSatisfy { (48...72).contains($0.accepted.count) })
    #expect(others.map(\.accepted.count).reduce(0, +) == 120)
    #expect(rig.tearDown() == [])
  }

  // MARK: Silent clients

  @Test(arguments: [FakeServer.Manner.accepts, .resets])
  func aSilentClientThatIsResetIsNeitherRetriedNorHeldAgainstAnEndpoint(
    _ manner: FakeServer.Manner
  ) throws {
    let rig = try rig([9000, 9001]) { $0.outlier = OutlierPlan(scope: .all, failures: 1) }
    let first = rig.kernel.serve(9000, manner)
    let second = rig.kernel.serve(9001, .accepts)
    rig.connectClient().close()
    rig.kernel.carryAll()
    rig.settle()
    if manner == .accepts { try #require(first.accepted.first).reset() }
    rig.settle()
    #expect(first.attemptCount == 1)
    #expect(second.attemptCount == 0)
    #expect(rig.worker.counters[.attemptsFailed] == 0)
    #expect(rig.topology.endpoints[0].state.failuresInARow == 0)
    let end = rig.takeEnds().first?.end
    #expect(end?.origin == .upstream || end?.reason == .finished)
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func aSilentClientThatStillWaitsIsRetried() throws {
    let rig = try rig([9000, 9001])
    rig.kernel.serve(9000, .resets)
    let second = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    rig.settle()
    try #require(second.accepted.first).write("greeting")
    rig.settle()
    #expect(client.readText() == "greeting")
    #expect(rig.tearDown() == [])
  }

  // MARK: Outliers that count failures to connect

  @Test func whereOnlyFailuresToConnectCountAResetIsNone() throws {
    let rig = try rig([9000, 9001]) { $0.outlier = OutlierPlan(scope: .connect, failures: 2) }
    let server = rig.kernel.serve(9000, .accepts)
    rig.kernel.serve(9001, .accepts)
    for _ in 0..<6 {
      let client = rig.connectClient()
      client.write("hello")
      rig.settle()
      if let last = server.accepted.last, !last.isClosed { last.reset() }
      rig.settle()
    }
    #expect(rig.topology.endpoints.map(\.state.failuresInARow) == [0, 0])
    #expect(rig.tearDown() == [])
  }

  @Test func aConnectionThatStandsClearsTheCountOfFailuresToConnect() throws {
    let rig = try rig([9000, 9001]) { $0.outlier = OutlierPlan(scope: .connect, failures: 3) }
    let server = rig.kernel.serve(9000, .refuses)
    rig.kernel.serve(9001, .accepts)
    for _ in 0..<4 {
      _ = rig.connectClient()
      rig.settle()
    }
    #expect(rig.topology.endpoints[0].state.failuresInARow == 2)
    server.manner = .accepts
    for _ in 0..<2 {
      _ = rig.connectClient()
      rig.settle()
    }
    #expect(rig.topology.endpoints[0].state.failuresInARow == 0)
    #expect(rig.tearDown() == [])
  }
}
