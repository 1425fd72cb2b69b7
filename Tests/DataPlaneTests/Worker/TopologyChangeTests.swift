// SPDX-License-Identifier: Apache-2.0
// Going over to another topology while sessions, pauses and hand-overs are under way: what stays
// notices nothing, what is gone ends by itself.

import Addressing
import Plan
import Reactor
import Testing

@testable import DataPlane

extension RigPlan {
  /// A second route, `b`, at port 2, to an upstream of its own at `port`.
  mutating func addSecondRoute(port: UInt16 = 9001) {
    routes.append(
      RoutePlan(name: "b", listen: [.port(2)], upstream: UpstreamIndex(upstreams.count)))
    upstreams.append(UpstreamPlan(name: "b", endpoints: [EndpointPlan(port: port)]))
  }
}

@Suite("Topology changes: listeners")
struct ListenerChangeTests {
  @Test func aNewListenerIsServedAndTheOldOneIsNotTouched() throws {
    let rig = try Rig()
    let first = rig.kernel.serve(9000, .accepts)
    let second = rig.kernel.serve(9001, .accepts)
    let registrations = rig.kernel.registrationCount(of: rig.listeners[0])
    rig.change { $0.addSecondRoute() }
    _ = rig.connectClient(route: 0)
    _ = rig.connectClient(route: 1)
    rig.settle()
    #expect(rig.reports[0].versions == [2])
    #expect(first.accepted.count == 1)
    #expect(second.accepted.count == 1)
    #expect(rig.kernel.registrationCount(of: rig.listeners[0]) == registrations)
    #expect(rig.tearDown() == [])
  }

  @Test func whoeverWaitsAtAListenerThatGoesIsServed() throws {
    var plan = RigPlan()
    plan.addSecondRoute()
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9001, .accepts)
    let gone = rig.listeners[1]
    let clients = (0..<40).map { _ in rig.connectClient(route: 1) }
    rig.change { $0.routes.removeLast() }
    rig.settle()
    #expect(server.accepted.count == 40)
    // Nobody watches it, so it can be closed, and its sessions go on.
    #expect(rig.kernel.watcherCount(of: gone) == 0)
    rig.noteReports()
    #expect(!rig.kernel.openDescriptors.contains(gone) || rig.kernel.stream(gone) != nil)
    clients[7].write("hello")
    rig.settle()
    let end = try #require(server.accepted.first { $0.readText() == "hello" })
    clients[7].close()
    end.close()
    rig.settle()
    let ends = rig.takeEnds()
    #expect(ends.map(\.end?.reason) == [.finished])
    #expect(ends.map { rig.topology.routes[$0.route.position].name } == ["b"])
    #expect(rig.tearDown() == [])
  }

  @Test func aListenerCanLeadToAnotherRouteWithoutBeingOpenedAnew() throws {
    var plan = RigPlan()
    plan.addSecondRoute()
    let rig = try Rig(plan)
    let first = rig.kernel.serve(9000, .accepts)
    let second = rig.kernel.serve(9001, .accepts)
    let descriptor = rig.listeners[0]
    let client = rig.connectClient()
    rig.settle()
    rig.change {
      $0.routes.removeFirst()
      $0.routes[0].listen.append(.port(1))
    }
    rig.settle()
    #expect(rig.listener(.port(1)) == descriptor)
    _ = rig.kernel.connectClient(to: descriptor)
    rig.settle()
    #expect(first.accepted.count == 1)
    #expect(second.accepted.count == 1)
    // The session of the route that is gone is counted there until its end.
    let routes = rig.topology.routes
    #expect(routes.map(\.isRetired) == [true, false])
    #expect(routes.map(\.state.sessions.value) == [1, 1])
    client.close()
    first.accepted[0].close()
    rig.settle()
    #expect(routes.map(\.state.sessions.value) == [0, 1])
    #expect(rig.takeEnds().map(\.route) == [RouteIndex(0)])
    #expect(rig.tearDown() == [])
  }

  @Test func aSlotThatIsReusedHearsNothingOfItsPredecessor() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    for port in 2...6 as ClosedRange<UInt16> {
      rig.change { $0.routes[0].listen = [.port(port)] }
      rig.settle()
      _ = rig.takeRecords()
    }
    // Each needs the one before to be out of use, so two take turns.
    #expect(rig.topology.listeners.count <= 4)
    _ = rig.connectClient()
    rig.settle()
    #expect(server.accepted.count == 1)
    let live = try #require(rig.topology.listeners.firstIndex { !$0.isRetired })
    let stale = rig.worker.counters[.staleEvents]
    rig.worker.receive(.readable, for: Token(.listener, index: live, generation: 1))
    #expect(rig.worker.counters[.staleEvents] == stale + 1)
    #expect(rig.tearDown() == [])
  }

  @Test func aListenerThatCannotBeWatchedIsReportedAndTriedAgain() throws {
    let rig = try Rig()
    let first = rig.kernel.serve(9000, .accepts)
    let second = rig.kernel.serve(9001, .accepts)
    rig.kernel.nextRegisterError = .noSpace
    rig.change { $0.addSecondRoute() }
    _ = rig.connectClient(route: 1)
    rig.worker.turn()
    #expect(rig.reports[0].refusals == [.noSpace])
    #expect(rig.reports[0].versions == [2])
    // The other one goes on meanwhile.
    _ = rig.connectClient(route: 0)
    rig.settle()
    #expect(first.accepted.count == 1)
    #expect(second.accepted.isEmpty)
    rig.advance(milliseconds: 510)
    #expect(second.accepted.count == 1)
    #expect(rig.reports[0].refusals.count == 1)
    #expect(rig.reports[0].pauses.isEmpty)
    #expect(rig.tearDown() == [])
  }

  @Test func whoeverDrainsGoesOverWithoutListening() throws {
    let rig = try Rig()
    rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    rig.settle()
    rig.post(.stopAccepting)
    rig.settle()
    rig.change { $0.addSecondRoute() }
    rig.settle()
    #expect(rig.reports[0].versions == [2])
    #expect(rig.listeners.allSatisfy { rig.kernel.watcherCount(of: $0) == 0 })
    client.reset()
    rig.advance(milliseconds: 100)
    #expect(rig.reports[0].finishedCount == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func anOlderOrEqualTopologyIsIgnored() throws {
    let rig = try Rig()
    let first = rig.topology
    rig.change { $0.addSecondRoute() }
    rig.post(.use(rig.topology))
    rig.post(.use(first))
    rig.settle()
    #expect(rig.reports[0].versions == [2])
    #expect(rig.worker.core.topology === rig.topology)
    #expect(rig.worker.counters[.topologyChanges] == 1)
    #expect(rig.tearDown() == [])
  }
}

@Suite("Topology changes: pauses")
struct PauseChangeTests {
  @Test func moreRoomInTheProcessEndsAPauseAtOnce() throws {
    var plan = RigPlan()
    plan.sessionsMax = 1
    plan.sessionsCapacity = 10
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    for _ in 0..<3 { _ = rig.connectClient() }
    rig.settle()
    #expect(server.accepted.count == 1)
    rig.change { $0.sessionsMax = 2 }
    rig.settle()
    #expect(server.accepted.count == 2)
    #expect(rig.tearDown() == [])
  }

  @Test func moreRoomInTheRouteEndsAPauseAtOnce() throws {
    var plan = RigPlan()
    plan.routes[0].sessionsMax = 1
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    for _ in 0..<3 { _ = rig.connectClient() }
    rig.settle()
    #expect(server.accepted.count == 1)
    rig.change { $0.routes[0].sessionsMax = nil }
    rig.settle()
    #expect(server.accepted.count == 3)
    #expect(rig.tearDown() == [])
  }

  @Test func lessRoomThanThereAreSessionsLetsThemGoOn() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    let clients = (0..<3).map { _ in rig.connectClient() }
    rig.settle()
    rig.change {
      $0.sessionsMax = 2
      $0.upstreams[0].endpoints[0].sessionsMax = 1
      $0.routes[0].sessionsMax = 1
    }
    rig.settle()
    let late = rig.connectClient()
    rig.settle()
    #expect(server.accepted.count == 3)
    for client in clients { client.reset() }
    rig.advance(milliseconds: 100)
    #expect(server.accepted.count == 4)
    #expect(late.readEnd() == .wouldBlock)
    #expect(rig.tearDown() == [])
  }

  @Test func thePauseOfARouteThatGoesIsOver() throws {
    var plan = RigPlan()
    plan.addSecondRoute()
    plan.routes[1].sessionsMax = 1
    let rig = try Rig(plan)
    rig.kernel.serve(9001, .accepts)
    for _ in 0..<2 { _ = rig.connectClient(route: 1) }
    rig.settle()
    let pause = AcceptPause.routeSessionsMax(RouteIndex(1))
    #expect(rig.reports[0].pauses == [pause])
    rig.change { $0.routes.removeLast() }
    rig.settle()
    #expect(rig.reports[0].resumes == [pause])
    #expect(rig.worker.acceptor.pause.reason == nil)
    #expect(rig.tearDown() == [])
  }

  /// A session that ends at once while a listener is accepted empty ends a pause as well, and has
  /// the listeners watched again that were left out, also those that are gone.
  @Test func aPauseThatEndsMeanwhileBringsBackNothingThatIsGone() throws {
    var plan = RigPlan()
    plan.routes[0].sessionsMax = 1
    for (name, port) in [("b", 2), ("c", 3)] as [(String, UInt16)] {
      plan.routes.append(
        RoutePlan(name: name, listen: [.port(port)], upstream: UpstreamIndex(1)))
    }
    plan.upstreams.append(UpstreamPlan(name: "down", endpoints: [EndpointPlan(port: 9001)]))
    let rig = try Rig(plan)
    rig.kernel.serve(9000, .accepts)
    rig.topology.mark(1, .down)
    for _ in 0..<2 { _ = rig.connectClient(route: 0) }
    rig.settle()
    #expect(rig.worker.acceptor.pause.reason == .routeSessionsMax(RouteIndex(0)))
    let gone = rig.listeners[1...]
    // Not by an event of its own, but by the change.
    _ = rig.connectClient(route: 2)
    rig.change { $0.routes.removeLast(2) }
    rig.worker.finishTurn()
    #expect(rig.takeEnds().map(\.end?.reason) == [.allDown])
    #expect(gone.allSatisfy { rig.kernel.watcherCount(of: $0) == 0 })
    rig.settle()
    #expect(rig.tearDown() == [])
  }

  @Test func aNewListenerWaitsWithTheOthersForDescriptors() throws {
    let rig = try Rig()
    rig.kernel.serve(9000, .accepts)
    let second = rig.kernel.serve(9001, .accepts)
    rig.kernel.descriptorsMax = rig.kernel.openDescriptors.count
    _ = rig.connectClient()
    rig.settle()
    #expect(rig.reports[0].pauses == [.resources(.tooManyOpenFiles)])
    rig.kernel.descriptorsMax = 1000
    rig.change { $0.addSecondRoute() }
    _ = rig.connectClient(route: 1)
    rig.settle()
    #expect(second.accepted.count == 1)
    #expect(rig.tearDown() == [])
  }
}
