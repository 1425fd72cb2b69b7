// SPDX-License-Identifier: Apache-2.0
// What routes and endpoints count of the sessions of a rig. Sums over random schedules are compared
// with the records in ScheduleVerdict.swift.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct StatisticsTests {
  @Test func aSessionIsCountedFromItsBeginningOn() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    server.accepted[0].write("hello yourself")
    rig.advance(milliseconds: 30)
    let (route, endpoint) = (rig.topology.routes[0].state, rig.topology.endpoints[0].state)
    var counted = route.statistics()
    #expect(counted.accepted == 1)
    #expect(counted.ends.isEmpty)
    #expect(counted.uploadBytes == 5)
    #expect(counted.downloadBytes == 14)
    #expect(counted.connect.count == 1)
    #expect(counted.duration.count == 0)
    #expect(endpoint.statistics().uploadBytes == 5)
    #expect(endpoint.statistics().downloadBytes == 14)
    #expect(endpoint.isNamed)
    #expect(rig.topology.listeners[0].state.isNamed)
    #expect(client.readText() == "hello yourself")
    #expect(server.accepted[0].readText() == "hello")
    client.close()
    server.accepted[0].close()
    rig.settle()
    counted = route.statistics()
    #expect(
      counted.ends == [RouteStatistics.Ends(reason: .finished, origin: .downstream, count: 1)])
    #expect(counted.duration.count == 1)
    // Thirty milliseconds are above the first bound and not above the second.
    #expect(counted.duration.counts[1] == 1)
    #expect(counted.duration.sumNanoseconds == 30_000_000)
    #expect(!endpoint.isNamed)
    #expect(!rig.topology.listeners[0].state.isNamed)
    #expect(rig.tearDown() == [])
  }

  @Test func attemptsThatFailAreCountedWhereTheyFailed() throws {
    var plan = RigPlan(ports: [9000, 9001, 9002])
    plan.makeLastASpare()
    let rig = try Rig(plan)
    rig.kernel.serve(9000, .refuses)
    rig.kernel.serve(9001, .isSilent)
    let last = rig.kernel.serve(9002, .accepts)
    _ = rig.connectClient()
    rig.advance(milliseconds: 1600)
    #expect(last.accepted.count == 1)
    let counted = rig.topology.endpoints.map { $0.state.statistics() }
    #expect(counted.map(\.attempts) == [1, 1, 1])
    #expect(
      counted.map(\.failures) == [
        [EndpointStatistics.Failures(reason: .connectRefused, count: 1)],
        [EndpointStatistics.Failures(reason: .connectTimedOut, count: 1)], [],
      ])
    #expect(rig.topology.routes[0].state.statistics().connect.counts[10] == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func whatAWorkerCountsIsReadThroughItsLink() throws {
    let rig = try Rig()
    rig.kernel.serve(9000, .accepts)
    _ = rig.connectClient()
    rig.settle()
    #expect(rig.worker.link.counters[.accepted] == 1)
    #expect(rig.worker.link.counters[.staleEvents] == 0)
    #expect(rig.tearDown() == [])
  }

  @Test func whatWasCountedGoesOnInTheNextTopology() throws {
    let rig = try Rig()
    rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    rig.change {
      $0.addSecondRoute()
      $0.upstreams[0].endpoints.insert(EndpointPlan(port: 9005), at: 0)
    }
    rig.settle()
    client.write(" again")
    rig.settle()
    #expect(rig.topology.routes[0].state.statistics().uploadBytes == 11)
    #expect(rig.topology.endpoints[0].state.statistics().uploadBytes == 11)
    #expect(rig.tearDown() == [])
  }
}
