// SPDX-License-Identifier: Apache-2.0
// Which sessions speak against their endpoint and which for it, and when workers say so.

import Addressing
import Plan
import Reactor
import Testing

@testable import DataPlane

/// What was said about endpoints, by their ports.
private func told(_ rig: Rig) -> [String] {
  rig.reports.flatMap(\.all).compactMap { report in
    func port(_ state: EndpointState) -> String {
      let endpoint = rig.topology.endpoints.first { $0.state === state }
      return "\(endpoint?.socketAddress.port ?? 0)"
    }
    switch report {
    case .endpointFailing(let state): return "failing \(port(state))"
    case .endpointServed(let state, let since):
      return "served \(port(state)) since \(since.nanoseconds(since: rig.start) / 1_000_000)"
    default: return nil
    }
  }
}

extension Rig {
  /// When a fake kernel's clock begins.
  fileprivate var start: Instant { FakeKernel().now() }

  fileprivate var failuresInARow: [Int] { topology.endpoints.map(\.state.failuresInARow) }
}

@Suite struct OutliersTests {
  private func rig(
    _ ports: [UInt16] = [9000], failures: Int? = 3, workers: Int = 1
  ) throws -> Rig {
    var plan = RigPlan(ports: ports)
    plan.workers = workers
    plan.upstreams[0].outlier = failures.map { OutlierPlan(failures: $0) }
    if ports.count > 2 { plan.makeLastASpare() }
    return try Rig(plan)
  }

  /// One client that says hello, hears what there is to hear, and leaves.
  private func visit(_ rig: Rig) {
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    client.close()
    rig.settle()
  }

  @Test(arguments: [
    FakeServer.Manner.refuses, .refusesAtOnce, .resets, .isUnreachable,
  ])
  func failuresInARowAreReportedOnce(_ manner: FakeServer.Manner) throws {
    let rig = try rig()
    rig.kernel.serve(9000, manner)
    for _ in 0..<2 { visit(rig) }
    #expect(told(rig) == [])
    for _ in 0..<5 { visit(rig) }
    #expect(told(rig) == ["failing 9000"])
    #expect(rig.tearDown() == [])
  }

  @Test func anAttemptThatTakesTooLongIsAFailure() throws {
    let rig = try rig(failures: 2)
    rig.kernel.serve(9000, .isSilent)
    _ = rig.connectClient()
    _ = rig.connectClient()
    // No other attempt can follow, so that each has all the time there is.
    rig.advance(milliseconds: 4990)
    #expect(told(rig) == [])
    rig.advance(milliseconds: 20)
    #expect(told(rig) == ["failing 9000"])
    #expect(rig.tearDown() == [])
  }

  @Test func whatThisMachineLacksIsHeldAgainstNobody() throws {
    let rig = try rig(failures: 1)
    rig.kernel.serve(9000, .hasNoPorts)
    visit(rig)
    #expect(rig.worker.counters[.attemptsFailed] == 1)
    _ = rig.connectClient()
    rig.kernel.descriptorsMax = rig.kernel.openDescriptors.count + 1
    rig.settle()
    #expect(rig.worker.counters[.attemptsFailed] == 2)
    #expect(told(rig) == [])
    #expect(rig.failuresInARow == [0])
    #expect(rig.tearDown() == [])
  }

  @Test func eachEndpointThatASessionHasTriedIsBlamed() throws {
    let rig = try rig([9000, 9001, 9002], failures: 1)
    rig.kernel.serve(9000, .refuses)
    rig.kernel.serve(9001, .resets)
    rig.kernel.serve(9002, .accepts)
    visit(rig)
    #expect(Set(told(rig)) == ["failing 9000", "failing 9001"])
    #expect(rig.tearDown() == [])
  }

  @Test func aResetBeforeAByteCameBackIsAFailureThoughBytesWereSent() throws {
    let rig = try rig(failures: 1)
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    #expect(server.accepted[0].readText() == "hello")
    #expect(told(rig) == [])
    server.accepted[0].reset()
    rig.settle()
    #expect(told(rig) == ["failing 9000"])
    #expect(client.readEnd() == .failed(.connectionReset))
    #expect(rig.tearDown() == [])
  }

  @Test func aResetAfterAByteCameBackIsNone() throws {
    let rig = try rig(failures: 1)
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    server.accepted[0].write("h")
    rig.settle()
    server.accepted[0].reset()
    rig.settle()
    #expect(client.readText() == "h")
    #expect(told(rig) == [])
    #expect(rig.failuresInARow == [0])
    #expect(rig.tearDown() == [])
  }

  @Test func whatAClientDoesIsNone() throws {
    let rig = try rig(failures: 1)
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    client.reset()
    rig.settle()
    server.accepted[0].reset()
    rig.settle()
    #expect(rig.takeEnds().compactMap(\.end).map(\.origin) == [.downstream])
    #expect(told(rig) == [])
    #expect(rig.tearDown() == [])
  }

  @Test func theFirstByteBackClearsTheCount() throws {
    let rig = try rig()
    let server = rig.kernel.serve(9000, .refuses)
    for _ in 0..<2 { visit(rig) }
    #expect(rig.failuresInARow == [2])
    server.manner = .accepts
    let client = rig.connectClient()
    rig.settle()
    // That it accepts proves nothing yet.
    #expect(rig.failuresInARow == [2])
    server.accepted[0].write("2")
    rig.settle()
    #expect(client.readText() == "2")
    #expect(rig.failuresInARow == [0])
    server.manner = .refuses
    for _ in 0..<2 { visit(rig) }
    #expect(told(rig) == [])
    visit(rig)
    #expect(told(rig) == ["failing 9000"])
    client.close()
    rig.settle()
    #expect(rig.tearDown() == [])
  }

  @Test(arguments: [true, false])
  func anOrderlyEndInSilenceSpeaksForAnEndpointIfTheClientBeganIt(_ isClientFirst: Bool) throws {
    let rig = try rig()
    let server = rig.kernel.serve(9000, .refuses)
    visit(rig)
    server.manner = .accepts
    let client = rig.connectClient()
    client.write("line\n")
    rig.settle()
    let end = server.accepted[0]
    _ = end.readText()
    if isClientFirst { client.close() } else { end.close() }
    rig.settle()
    if isClientFirst { end.close() } else { client.close() }
    rig.settle()
    #expect(rig.takeEnds().last?.end?.reason == .finished)
    #expect(rig.failuresInARow == [isClientFirst ? 0 : 1])
    #expect(rig.tearDown() == [])
  }

  @Test func whoServesAfterAllIsReportedWithTheTimeOfItsConnection() throws {
    let rig = try rig(failures: 2)
    let server = rig.kernel.serve(9000, .refuses)
    for _ in 0..<4 { visit(rig) }
    #expect(told(rig) == ["failing 9000"])
    server.manner = .accepts
    rig.advance(milliseconds: 100)
    let client = rig.connectClient()
    rig.settle()
    rig.advance(milliseconds: 100)
    server.accepted[0].write("late")
    rig.settle()
    #expect(told(rig) == ["failing 9000", "served 9000 since 100"])
    server.accepted[0].write("r")
    rig.settle()
    #expect(client.readText() == "later")
    #expect(told(rig).count == 2)
    #expect(rig.tearDown() == [])
  }

  @Test func oneFailureIsEnoughOnProbation() throws {
    let rig = try rig()
    rig.kernel.serve(9000, .refuses)
    rig.topology.endpoints[0].state.failuresInARow = 2
    visit(rig)
    #expect(told(rig) == ["failing 9000"])
    #expect(rig.tearDown() == [])
  }

  @Test func whoIsEjectedIsTheLastResort() throws {
    let rig = try rig([9000, 9001, 9002])
    rig.kernel.serve(9000, .refuses)
    let ejected = rig.kernel.serve(9001, .accepts)
    let down = rig.kernel.serve(9002, .accepts)
    rig.topology.mark(1, .ejected)
    rig.topology.mark(2, .down)
    for _ in 0..<4 { visit(rig) }
    #expect(rig.worker.counters[.attempts] == 8)
    #expect(ejected.accepted.count == 4)
    #expect(down.accepted.isEmpty)
    // As long as somebody else serves, nobody asks there.
    rig.kernel.serve(9000, .accepts)
    for _ in 0..<4 { visit(rig) }
    #expect(ejected.accepted.count == 4)
    for end in ejected.accepted { end.close() }
    rig.settle()
    #expect(rig.tearDown() == [])
  }

  @Test func workersCountTogether() throws {
    let rig = try rig(failures: 10, workers: 3)
    rig.kernel.serve(9000, .refuses)
    for _ in 0..<30 { _ = rig.connectClient() }
    rig.settle()
    #expect(told(rig) == ["failing 9000"])
    #expect(rig.failuresInARow == [30])
    #expect(rig.tearDown() == [])
  }

  @Test func withoutAPolicyNothingIsCounted() throws {
    let rig = try rig(failures: nil)
    let server = rig.kernel.serve(9000, .refuses)
    for _ in 0..<5 { visit(rig) }
    #expect(rig.failuresInARow == [0])
    // A reload brings one; who is there already is counted from now on.
    rig.change { $0.upstreams[0].outlier = OutlierPlan(failures: 1) }
    rig.settle()
    visit(rig)
    #expect(told(rig) == ["failing 9000"])
    server.manner = .accepts
    #expect(rig.tearDown() == [])
  }
}
