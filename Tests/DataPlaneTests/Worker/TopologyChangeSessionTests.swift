// SPDX-License-Identifier: Apache-2.0
// What another topology means to the sessions there are, to whose turn it is, and to connections on
// their way from one worker to another.

import Addressing
import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite("Topology changes: sessions")
struct SessionChangeTests {
  private func rigWithSession(
    _ plan: RigPlan = RigPlan()
  ) throws -> (rig: Rig, client: FakeStream, server: FakeStream) {
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    rig.settle()
    return (rig, client, try #require(server.accepted.first))
  }

  @Test func anIdleTimeoutThatIsNewHoldsForOldSessionsToo() throws {
    let (rig, client, _) = try rigWithSession()
    rig.advance(milliseconds: 3000, step: 500)
    rig.change { $0.routes[0].idle = .seconds(5) }
    rig.advance(milliseconds: 1900, step: 100)
    #expect(client.readEnd() == .wouldBlock)
    rig.advance(milliseconds: 200, step: 100)
    #expect(client.readEnd() == .failed(.connectionReset))
    #expect(rig.takeEnds().map(\.end?.reason) == [.idle])
    #expect(rig.tearDown() == [])
  }

  @Test func aShorterIdleTimeoutThatIsOverEndsASessionAtOnce() throws {
    let (rig, client, _) = try rigWithSession(RigPlan(idle: .seconds(60)))
    rig.advance(milliseconds: 3000, step: 500)
    rig.change { $0.routes[0].idle = .seconds(2) }
    rig.advance(milliseconds: 10)
    #expect(client.readEnd() == .failed(.connectionReset))
    #expect(rig.tearDown() == [])
  }

  @Test func withoutAnIdleTimeoutNoTimerIsLeft() throws {
    let (rig, client, _) = try rigWithSession(RigPlan(idle: .seconds(2)))
    // It has been given what a session that lasts needs.
    rig.advance(milliseconds: 1010)
    rig.change { $0.routes[0].idle = nil }
    rig.settle()
    #expect(rig.worker.sessions.timers.count == 0)
    rig.advance(milliseconds: 5000, step: 500)
    #expect(client.readEnd() == .wouldBlock)
    #expect(rig.tearDown() == [])
  }

  @Test func aShorterHalfCloseTimeoutHoldsForOldSessionsToo() throws {
    let (rig, client, _) = try rigWithSession(RigPlan(halfClose: .seconds(60)))
    client.shutdownWrite()
    rig.settle()
    rig.change { $0.routes[0].halfCloseTimeout = .seconds(1) }
    rig.advance(milliseconds: 1080)
    #expect(rig.takeEnds().map(\.end?.reason) == [.halfCloseTimeout])
    #expect(rig.tearDown() == [])
  }

  @Test func recordsGoOnAtTheNewPace() throws {
    var plan = RigPlan()
    plan.routes[0].access.every = .seconds(1)
    let (rig, _, _) = try rigWithSession(plan)
    rig.advance(milliseconds: 20_500, step: 500)
    #expect(rig.takeRecords().count == 20)
    rig.change { $0.routes[0].access.every = .seconds(5) }
    rig.settle()
    rig.advance(milliseconds: 10_000, step: 500)
    #expect(rig.takeRecords().count == 2)
    #expect(rig.tearDown() == [])
  }

  @Test func whoeverIsBeingConnectedHasTheNewTimes() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .isSilent)
    let second = rig.kernel.serve(9001, .accepts)
    _ = rig.connectClient()
    rig.settle()
    rig.change { $0.upstreams[0].attempt = .milliseconds(200) }
    rig.advance(milliseconds: 210)
    #expect(second.accepted.count == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func anEndpointThatGoesKeepsItsSessionsAndGetsNoOther() throws {
    let (rig, client, server) = try rigWithSession(RigPlan(ports: [9000, 9001]))
    let other = rig.kernel.serve(9001, .accepts)
    let first = rig.topology.endpoints[0]
    rig.change { $0.upstreams[0].endpoints.removeFirst() }
    rig.settle()
    for _ in 0..<3 { _ = rig.connectClient() }
    rig.settle()
    #expect(other.accepted.count == 3)
    client.write("hello")
    rig.settle()
    #expect(server.readText() == "hello")
    #expect(first.state.sessions.value == 1)
    #expect(rig.topology.endpoints[0].isRetired)
    client.close()
    server.close()
    rig.settle()
    #expect(first.state.sessions.value == 0)
    let end = try #require(rig.takeEnds().first?.endpoint)
    #expect(rig.topology.endpoints[end.position].name == first.name)
    #expect(rig.tearDown() == [])
  }

  @Test func anEndpointThatGoesIsStillConnectedAndThenNoMore() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    let going = rig.kernel.serve(9000, .isSilent)
    let busy = rig.kernel.serve(9001, .isBusy)
    let other = rig.kernel.serve(9002, .accepts)
    let clients = (0..<2).map { _ in rig.connectClient() }
    for client in clients { client.write("hello") }
    rig.settle()
    rig.change { $0.upstreams[0].endpoints = [EndpointPlan(port: 9002)] }
    rig.settle()
    going.manner = .accepts
    busy.manner = .acceptsAtOnce
    rig.advance(milliseconds: 20)
    #expect(going.accepted.map { $0.readText() } == ["hello"])
    #expect(busy.accepted.map { $0.readText() } == ["hello"])
    #expect(other.accepted.isEmpty)
    // An endpoint that is gone but fails is not asked again.
    going.accepted[0].reset()
    rig.settle()
    #expect(rig.tearDown() == [])
  }

  @Test func sessionsOfARouteThatIsGoneWithItsUpstreamStillFindAnEndpoint() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .isSilent)
    let second = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    rig.change {
      $0.routes = [RoutePlan(name: "new", listen: [.port(9)], upstream: UpstreamIndex(0))]
      $0.upstreams = [UpstreamPlan(name: "new", endpoints: [EndpointPlan(port: 9009)])]
    }
    rig.settle()
    rig.advance(milliseconds: 1510)
    #expect(second.accepted.first?.readText() == "hello")
    // However often the plan changes meanwhile, its places stay.
    for port in 10...20 as ClosedRange<UInt16> {
      rig.change {
        $0.routes[0].listen = [.port(port)]
        $0.upstreams[0].endpoints = [EndpointPlan(port: 9000 + port)]
      }
      rig.settle()
      _ = rig.takeRecords()
    }
    client.write(" again")
    rig.settle()
    #expect(second.accepted[0].readText() == " again")
    #expect(rig.topology.endpoints.count <= 8)
    client.close()
    second.accepted[0].close()
    rig.settle()
    let end = try #require(rig.takeEnds().first)
    #expect(rig.topology.routes[end.route.position].name == "test")
    #expect(rig.topology.endpoints[end.endpoint?.position ?? 0].name == "10.0.0.1:9001")
    #expect(rig.tearDown() == [])
  }

  @Test func whoHasFailedInOneUpstreamHasNotFailedInAnother() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .refuses)
    rig.kernel.serve(9001, .isSilent)
    let third = rig.kernel.serve(9002, .accepts)
    _ = rig.connectClient()
    rig.settle()
    // Its only endpoint has the number of the first one of before.
    rig.change {
      $0.upstreams = [UpstreamPlan(name: "other", endpoints: [EndpointPlan(port: 9002)])]
    }
    // The third attempt waits for a moment.
    rig.advance(milliseconds: 1540)
    #expect(third.accepted.count == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func aNewEndpointIsTriedThoughItHasThePlaceOfOneThatFailed() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .refuses)
    rig.kernel.serve(9001, .isSilent)
    let third = rig.kernel.serve(9002, .accepts)
    _ = rig.connectClient()
    rig.settle()
    rig.change { $0.upstreams[0].endpoints[0] = EndpointPlan(port: 9002) }
    // The third attempt waits for a moment.
    rig.advance(milliseconds: 1540)
    #expect(third.accepted.count == 1)
    #expect(rig.tearDown() == [])
  }
}

@Suite("Topology changes: turns")
struct TurnChangeTests {
  @Test func anUpstreamWhoseMembersStayKeepsItsTurn() throws {
    var plan = RigPlan(ports: [9000, 9001, 9002])
    plan.addSecondRoute(port: 9010)
    let rig = try Rig(plan)
    let servers = (0..<3).map { rig.kernel.serve(UInt16(9000 + $0), .accepts) }
    for round in 0..<9 {
      _ = rig.connectClient()
      rig.settle()
      // Everything changes but the endpoints of the first upstream, and their weights.
      rig.change {
        $0.upstreams[0].connect = .seconds(6 + round)
        $0.upstreams[0].endpoints[0].sessionsMax = 50 + round
        $0.upstreams[1].endpoints = [EndpointPlan(port: UInt16(9020 + round))]
      }
      rig.settle()
    }
    #expect(servers.map(\.accepted.count) == [3, 3, 3])
    #expect(rig.tearDown() == [])
  }

  @Test func weightsThatChangeAreFelt() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    let servers = (0..<2).map { rig.kernel.serve(UInt16(9000 + $0), .accepts) }
    rig.change { $0.upstreams[0].endpoints[1].weight = 3 }
    rig.settle()
    for _ in 0..<8 { _ = rig.connectClient() }
    rig.settle()
    #expect(servers.map(\.accepted.count) == [2, 6])
    #expect(rig.tearDown() == [])
  }

  /// With names that are looked up again, members may change between any two sessions.
  @Test func membersThatOftenChangeAreStillServedAlike() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001, 9002, 9003]))
    let servers = (0..<4).map { rig.kernel.serve(UInt16(9000 + $0), .accepts) }
    for round in 0..<200 {
      _ = rig.connectClient()
      rig.settle()
      rig.change { $0.upstreams[0].endpoints[0].weight = 1 + round % 2 }
      rig.settle()
    }
    #expect(servers.allSatisfy { $0.accepted.count > 15 }, "\(servers.map(\.accepted.count))")
    #expect(rig.tearDown() == [])
  }
}

@Suite("Topology changes: hand-over")
struct HandOverChangeTests {
  /// Two workers, the first of which has a session more, so that it hands the next one over.
  private func twoWorkers() throws -> (Rig, FakeServer) {
    var plan = RigPlan()
    plan.workers = 2
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    _ = rig.connectClient()
    rig.workers[0].turn()
    rig.settle()
    #expect(rig.workers.map { $0.sessions.count } == [1, 0])
    return (rig, server)
  }

  @Test func whoeverIsBehindGoesOverFirst() throws {
    let (rig, _) = try twoWorkers()
    let second = rig.kernel.serve(9001, .accepts)
    rig.change(only: [0]) { $0.addSecondRoute() }
    rig.workers[0].turn()
    let client = rig.connectClient(route: 1)
    client.write("hello")
    rig.workers[0].turn()
    #expect(rig.workers[1].link.load.value == 1)
    rig.settle()
    #expect(rig.reports[1].versions == [2])
    #expect(rig.workers.map { $0.sessions.count } == [1, 1])
    #expect(second.accepted.first?.readText() == "hello")
    // The message itself comes late, and changes nothing.
    rig.post(.use(rig.topology))
    rig.settle()
    #expect(rig.reports[1].versions == [2])
    #expect(rig.tearDown() == [])
    #expect(rig.leftovers == [])
  }

  @Test func whoeverIsAheadServesWhatComesFromAListenerThatIsGone() throws {
    let (rig, server) = try twoWorkers()
    let client = rig.connectClient()
    client.write("hello")
    rig.workers[0].turn()
    #expect(rig.workers[1].link.load.value == 1)
    // The topology comes before the connection is looked at only in this order of posting.
    let connection = rig.workers[1].link.inbox.takeAll()
    rig.change(only: [1]) {
      $0.routes[0].name = "renamed"
      $0.routes[0].listen = [.port(7)]
    }
    rig.workers[1].turn()
    for message in connection { #expect(rig.workers[1].link.inbox.post(message)) }
    rig.settle()
    #expect(rig.workers.map { $0.sessions.count } == [1, 1])
    #expect(server.accepted.contains { $0.readText() == "hello" })
    rig.post(.use(rig.topology))
    rig.settle()
    client.reset()
    rig.advance(milliseconds: 100)
    let end = try #require(rig.takeEnds().first)
    #expect(rig.topology.routes[end.route.position].name == "test")
    #expect(rig.tearDown() == [])
    #expect(rig.leftovers == [])
  }

  @Test func whoeverEndsGivesBackWhatCameFromANewerTopology() throws {
    let (rig, _) = try twoWorkers()
    rig.change(only: [0]) { $0.addSecondRoute() }
    rig.workers[0].turn()
    _ = rig.connectClient(route: 1)
    rig.workers[0].turn()
    #expect(rig.workers[1].link.load.value == 1)
    #expect(rig.tearDown() == [])
    #expect(rig.leftovers == [])
  }
}
