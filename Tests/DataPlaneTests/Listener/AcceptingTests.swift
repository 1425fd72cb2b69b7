// SPDX-License-Identifier: Apache-2.0
// Bounds, pauses, and the spread over workers.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct AcceptingTests {
  @Test func atTheBoundClientsWaitAndAreServedWhenThereIsRoom() throws {
    var plan = RigPlan()
    plan.sessionsMax = 2
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    let clients = (0..<3).map { _ in rig.connectClient() }
    rig.settle()
    #expect(server.accepted.count == 2)
    #expect(rig.reports[0].pauses == [.sessionsMax])
    clients[0].reset()
    rig.settle()
    rig.advance(milliseconds: 50)
    #expect(server.accepted.count == 3)
    #expect(rig.tearDown() == [])
  }

  @Test func aFullRouteDoesNotKeepOthersFromBeingServed() throws {
    var plan = RigPlan()
    plan.routes.append(RoutePlan(name: "b", listen: [.port(2)], upstream: UpstreamIndex(0)))
    plan.routes[0].sessionsMax = 1
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    for _ in 0..<3 { _ = rig.connectClient() }
    rig.settle()
    #expect(server.accepted.count == 1)
    _ = rig.connectClient(route: 1)
    rig.settle()
    #expect(server.accepted.count == 2)
    #expect(rig.reports[0].pauses == [.routeSessionsMax(RouteIndex(0))])
    #expect(rig.tearDown() == [])
  }

  @Test func whoComesAloneIsAcceptedWithOneCall() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    for count in 1...10 {
      let calls = rig.kernel.acceptCount
      _ = rig.connectClient()
      rig.settle()
      #expect(server.accepted.count == count)
      #expect(rig.kernel.acceptCount == calls + 1)
    }
    #expect(rig.tearDown() == [])
  }

  @Test func ofACrowdMoreAndMoreAreAcceptedInATurn() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    for _ in 0..<31 { _ = rig.connectClient() }
    // 1, 2, 4, 8, 16, the bound of a turn: who is left is never reported for nothing.
    var turns = 0
    while rig.kernel.acceptCount < 31 {
      rig.worker.turn()
      turns += 1
      #expect(turns < 10)
    }
    #expect(rig.worker.counters[.accepted] == 31)
    rig.settle()
    #expect(server.accepted.count == 31)
    #expect(rig.tearDown() == [])
  }

  @Test func withoutDescriptorsAcceptingRestsInsteadOfSpinning() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    rig.kernel.descriptorsMax = rig.kernel.openDescriptors.count
    _ = rig.connectClient()
    #expect(rig.settle() < 10)
    #expect(rig.reports[0].pauses == [.resources(.tooManyOpenFiles)])
    let waits = rig.kernel.waitCount
    rig.advance(milliseconds: 1000, step: 100)
    #expect(rig.kernel.waitCount - waits < 60)
    rig.kernel.descriptorsMax = 1000
    rig.advance(milliseconds: 510)
    #expect(server.accepted.count == 1)
    rig.advance(milliseconds: 20_100, step: 100)
    #expect(rig.reports[0].resumes == [.resources(.tooManyOpenFiles)])
    #expect(rig.tearDown() == [])
  }

  @Test func whereAcceptingIsForbiddenItRestsInsteadOfSpinning() throws {
    let rig = try Rig()
    rig.kernel.forbidsAccepting = true
    _ = rig.connectClient()
    #expect(rig.settle() < 10)
    #expect(rig.reports[0].pauses == [.resources(.notPermitted)])
    #expect(rig.tearDown() == [])
  }

  @Test(arguments: [2, 1000])
  func sessionsSpreadOverWorkers(_ count: Int) throws {
    var plan = RigPlan()
    plan.workers = 2
    let rig = try Rig(plan)
    rig.kernel.serve(9000, .acceptsAtOnce)
    for _ in 0..<count {
      _ = rig.connectClient()
      // The first worker is always the first to look.
      rig.workers[0].turn()
      rig.workers[1].turn()
    }
    rig.settle()
    let loads = rig.workers.map { $0.sessions.count }
    #expect(loads.reduce(0, +) == count)
    #expect(loads.allSatisfy { $0 * 10 <= count * 6 }, "\(loads)")
    #expect(rig.tearDown() == [])
  }

  @Test func whoeverWaitsWhenAcceptingStopsIsServed() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    let clients = (0..<40).map { _ in rig.connectClient() }
    rig.post(.stopAccepting)
    rig.settle()
    #expect(server.accepted.count == 40)
    #expect(rig.reports[0].finishedCount == 0)
    _ = rig.connectClient()
    rig.settle()
    #expect(server.accepted.count == 40)
    for client in clients { client.reset() }
    rig.advance(milliseconds: 100)
    #expect(rig.reports[0].finishedCount == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func aLateHandOverIsNeitherForgottenNorLeaked() throws {
    var plan = RigPlan()
    plan.workers = 2
    let rig = try Rig(plan)
    rig.kernel.serve(9000, .accepts)
    _ = rig.connectClient()
    rig.workers[0].turn()
    _ = rig.workers[1].link.inbox.post(.stopAccepting)
    rig.workers[1].turn()
    #expect(rig.reports[1].finishedCount == 1)
    _ = rig.connectClient()
    rig.workers[0].turn()
    #expect(rig.workers[1].link.load.value == 1)
    #expect(rig.tearDown() == [])
    #expect(rig.topology.sessions.value == 0)
  }
}
