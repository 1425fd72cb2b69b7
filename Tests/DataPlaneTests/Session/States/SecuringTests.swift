// SPDX-License-Identifier: Apache-2.0
// Connections that lead to themselves: a refused attempt, and no more than that.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct SecuringTests {
  /// A port that this machine may choose for a connection.
  private let ephemeral = EphemeralPorts.current.lowerBound + 100

  private func failures(_ rig: Rig, of endpoint: Int) -> [EndpointStatistics.Failures] {
    rig.topology.endpoints[endpoint].state.statistics().failures
  }

  @Test func aConnectionToItselfGoesOnToTheNextEndpoint() throws {
    let rig = try Rig(RigPlan(ports: [ephemeral, 9001]))
    let empty = rig.kernel.serve(ephemeral, .isCaller)
    let sound = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    #expect(empty.attemptCount == 1)
    #expect(sound.accepted.first?.readText() == "hello")
    #expect(failures(rig, of: 0).map(\.reason) == [.connectRefused])
    #expect(failures(rig, of: 0).map(\.count) == [1])
    #expect(rig.worker.counters[.attemptsFailed] == 1)
    client.close()
    sound.accepted.first?.close()
    rig.settle()
    #expect(rig.takeEnds().map(\.attempts) == [2])
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func whereNoOtherEndpointIsLeftTheConnectionWasRefused() throws {
    let rig = try Rig(RigPlan(ports: [ephemeral]))
    rig.kernel.serve(ephemeral, .isCaller)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    #expect(client.readEnd() == .failed(.connectionReset))
    let record = try #require(rig.takeEnds().first)
    #expect(record.end?.origin == .upstream)
    #expect(record.end?.reason == .connectRefused)
    #expect(record.end?.phase == .connecting)
    #expect(record.uploadBytes == 0)
    #expect(record.downloadBytes == 0)
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func itCountsAsAFailureToConnect() throws {
    var plan = RigPlan(ports: [ephemeral, 9001])
    plan.upstreams[0].outlier = OutlierPlan(scope: .connect, failures: 2)
    let rig = try Rig(plan)
    rig.kernel.serve(ephemeral, .isCaller)
    rig.kernel.serve(9001, .accepts)
    for _ in 0..<4 {
      _ = rig.connectClient()
      rig.settle()
    }
    let failing = rig.reports[0].all.count { if case .endpointFailing = $0 { true } else { false } }
    #expect(failing == 1)
    #expect(rig.topology.endpoints[0].state.failuresInARow == 2)
    #expect(rig.tearDown() == [])
  }

  @Test func aConnectionToAPortThatThisMachineDoesNotChooseNeedsNoSecondLook() throws {
    let rig = try Rig(RigPlan(ports: [9000]))
    #expect(!rig.topology.endpoints[0].mayMeetItself)
    #expect(try Rig(RigPlan(ports: [ephemeral])).topology.endpoints[0].mayMeetItself)
    #expect(rig.tearDown() == [])
  }
}
