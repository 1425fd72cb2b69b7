// SPDX-License-Identifier: Apache-2.0
// Sessions of an endpoint that went down: those that go on, those that are reset, and when.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct SessionClosingTests {
  /// Two workers, two endpoints, sessions at both.
  private func rigWithSessions(_ count: Int) throws -> (Rig, [FakeStream]) {
    var plan = RigPlan(ports: [9000, 9001])
    plan.workers = 2
    let rig = try Rig(plan)
    rig.kernel.serve(9000, .accepts)
    rig.kernel.serve(9001, .accepts)
    let clients = (0..<count).map { _ in rig.connectClient() }
    rig.settle()
    return (rig, clients)
  }

  private func close(_ policy: OnDown, in rig: Rig) throws {
    let closing = SessionClosing(
      policy, of: EndpointIndex(0), in: rig.topology, at: rig.kernel.time)
    rig.post(.closeSessions(try #require(closing)))
    rig.settle()
  }

  private func count(_ rig: Rig, at endpoint: Int = 0) -> Int {
    rig.topology.endpoints[endpoint].state.sessions.value
  }

  @Test func toKeepThemNeedsNoMessage() throws {
    let (rig, _) = try rigWithSessions(2)
    #expect(
      SessionClosing(.keep, of: EndpointIndex(0), in: rig.topology, at: rig.kernel.time) == nil)
    #expect(rig.tearDown() == [])
  }

  @Test func theyAreResetOneAfterAnotherUntilNoneIsLeft() throws {
    let (rig, clients) = try rigWithSessions(200)
    #expect(count(rig) == 100)
    try close(.close(over: .seconds(2)), in: rig)
    var left: [Int] = []
    for _ in 0..<4 {
      rig.advance(milliseconds: 500)
      left.append(count(rig))
    }
    // A quarter each, give or take: by chance, and with fixed seeds always the same.
    #expect((60...90).contains(left[0]))
    #expect((35...65).contains(left[1]))
    #expect((10...40).contains(left[2]))
    rig.advance(milliseconds: 10)
    #expect(count(rig) == 0)
    #expect(count(rig, at: 1) == 100)
    let ends = rig.takeEnds()
    #expect(ends.count == 100)
    #expect(
      ends.allSatisfy {
        $0.end == SessionEnd(origin: .proxy, reason: .endpointDown, phase: .relaying)
      })
    #expect(clients.count { $0.readEnd() == .failed(.connectionReset) } == 100)
    #expect(rig.tearDown() == [])
  }

  @Test func whatIsDrainedMayEndByItselfFirst() throws {
    let (rig, _) = try rigWithSessions(20)
    try close(.drain(.seconds(3), over: .seconds(1)), in: rig)
    rig.advance(milliseconds: 2990)
    #expect(count(rig) == 10)
    rig.advance(milliseconds: 1020)
    #expect(count(rig) == 0)
    #expect(rig.tearDown() == [])
  }

  @Test func anEndpointThatIsBackKeepsThoseItStillHas() throws {
    let (rig, _) = try rigWithSessions(100)
    try close(.close(over: .seconds(2)), in: rig)
    rig.advance(milliseconds: 1000)
    rig.post(.keepSessions(of: EndpointIndex(0)))
    rig.settle()
    let left = count(rig)
    #expect((1...49).contains(left))
    rig.advance(milliseconds: 5000, step: 50)
    #expect(count(rig) == left)
    #expect(rig.tearDown() == [])
  }

  @Test func whoeverComesToTheEndpointLaterStays() throws {
    let (rig, _) = try rigWithSessions(2)
    try close(.close(over: .zero), in: rig)
    rig.advance(milliseconds: 10)
    #expect(count(rig) == 0)
    // All are used in a panic, also those that are down.
    for _ in 0..<2 { _ = rig.connectClient() }
    rig.advance(milliseconds: 3000, step: 50)
    #expect(count(rig) == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func whoeverSaysItsFirstWordLaterWasThereBefore() throws {
    let (rig, clients) = try rigWithSessions(20)
    rig.advance(milliseconds: 100)
    try close(.drain(.seconds(3), over: .zero), in: rig)
    rig.advance(milliseconds: 1000)
    for client in clients { client.write("hello") }
    rig.settle()
    rig.advance(milliseconds: 2010)
    #expect(count(rig) == 0)
    #expect(count(rig, at: 1) == 10)
    #expect(rig.tearDown() == [])
  }

  @Test func endpointsThatGoDownTogetherAreAllMeant() throws {
    let (rig, _) = try rigWithSessions(40)
    for endpoint in 0..<2 {
      let closing = SessionClosing(
        .drain(.seconds(1), over: .zero), of: EndpointIndex(endpoint), in: rig.topology,
        at: rig.kernel.time)
      rig.post(.closeSessions(try #require(closing)))
    }
    rig.settle()
    rig.post(.keepSessions(of: EndpointIndex(1)))
    rig.advance(milliseconds: 1010)
    #expect(count(rig) == 0)
    #expect(count(rig, at: 1) == 20)
    for worker in rig.workers { #expect(worker.closings.count == 1) }
    #expect(rig.tearDown() == [])
  }

  @Test func anEndpointThatGetsTheSlotLaterIsNotMeant() throws {
    let (rig, _) = try rigWithSessions(2)
    try close(.drain(.seconds(3), over: .zero), in: rig)
    let closed = rig.topology.endpoints[0].state
    rig.change { $0.upstreams[0].endpoints = [EndpointPlan(port: 9001)] }
    rig.settle()
    rig.advance(milliseconds: 3010)
    #expect(closed.sessions.value == 0)
    _ = rig.takeRecords()
    // Slots are vacated by the changes that follow.
    for number in 0..<4 {
      rig.change { $0.upstreams[0].connect = .seconds(6 + number) }
      rig.settle()
      _ = rig.takeRecords()
    }
    rig.kernel.serve(9002, .accepts)
    rig.change { $0.upstreams[0].endpoints.append(EndpointPlan(port: 9002)) }
    rig.settle()
    #expect(rig.topology.endpoints[0].state !== closed)
    for worker in rig.workers { #expect(worker.closings.isEmpty) }
    #expect(rig.tearDown() == [])
  }
}
