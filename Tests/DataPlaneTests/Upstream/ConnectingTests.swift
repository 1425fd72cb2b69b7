// SPDX-License-Identifier: Apache-2.0
// Reaching an endpoint: which failures go on to the next one, and whose fault each of them is.

import Addressing
import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct ConnectingTests {
  private func end(_ rig: Rig) -> SessionEnd? {
    let ends = rig.takeEnds()
    #expect(ends.count == 1)
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
    return ends.first?.end
  }

  /// A client says hello; the first endpoint behaves as told, the second is sound.
  private func expectSecondServes(_ manner: FakeServer.Manner, after milliseconds: Int = 0) throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, manner)
    let sound = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    if milliseconds > 0 {
      #expect(sound.accepted.isEmpty)
      rig.advance(milliseconds: milliseconds)
    }
    try #require(sound.accepted.count == 1)
    #expect(sound.accepted[0].readText() == "hello")
    #expect(rig.worker.counters[.attempts] == 2)
    client.close()
    sound.accepted[0].close()
    rig.settle()
    #expect(end(rig)?.reason == .finished)
  }

  @Test(arguments: [
    FakeServer.Manner.refuses, .refusesAtOnce, .resets, .isUnreachable, .hasNoPorts,
  ])
  func theNextEndpointServesWhenOneDoesNot(_ manner: FakeServer.Manner) throws {
    try expectSecondServes(manner)
  }

  @Test func anAttemptThatTakesTooLongGoesOnToTheNextEndpoint() throws {
    try expectSecondServes(.isSilent, after: 1510)
  }

  @Test func aBusyEndpointIsAskedAgain() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    let busy = rig.kernel.serve(9000, .isBusy)
    let other = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    rig.advance(milliseconds: 100, step: 5)
    #expect(busy.attemptCount > 3)
    busy.manner = .acceptsAtOnce
    rig.advance(milliseconds: 20, step: 5)
    #expect(other.accepted.isEmpty)
    #expect(busy.accepted.first?.readText() == "hello")
    #expect(rig.worker.counters[.attempts] == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func anEndpointThatStaysBusyIsGivenUpInTime() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .isBusy)
    let other = rig.kernel.serve(9001, .accepts)
    _ = rig.connectClient()
    rig.advance(milliseconds: 1480)
    #expect(other.accepted.isEmpty)
    rig.advance(milliseconds: 40)
    #expect(other.accepted.count == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func allAttemptsTogetherHaveADeadline() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001, 9002, 9003, 9004, 9005]))
    for port in 9000...9005 { rig.kernel.serve(UInt16(port), .isSilent) }
    let client = rig.connectClient()
    rig.advance(milliseconds: 4990)
    #expect(rig.worker.sessions.count == 1)
    rig.advance(milliseconds: 20)
    #expect(client.readEnd() == .failed(.connectionReset))
    #expect(rig.worker.counters[.attempts] == 4)
    let end = end(rig)
    #expect(end?.reason == .connectTimedOut)
    #expect(end?.origin == .upstream)
  }

  @Test func whenNobodyIsLeftTheLastFailureIsTold() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .refuses)
    rig.kernel.serve(9001, .refuses)
    let client = rig.connectClient()
    rig.settle()
    #expect(client.readEnd() == .failed(.connectionReset))
    let end = end(rig)
    #expect(end?.reason == .connectRefused)
    #expect(end?.phase == .connecting)
  }

  @Test func withoutADescriptorNoOtherEndpointIsTried() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .accepts)
    rig.kernel.serve(9001, .accepts)
    _ = rig.connectClient()
    rig.kernel.descriptorsMax = rig.kernel.openDescriptors.count + 1
    rig.settle()
    #expect(rig.worker.counters[.attempts] == 1)
    let end = end(rig)
    #expect(end?.origin == .proxy)
    #expect(end?.reason == .outOfDescriptors)
  }

  @Test func withoutADescriptorForOneTheOthersWaitToBeAccepted() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    let clients = (0..<3).map { _ in rig.connectClient() }
    rig.kernel.descriptorsMax = rig.kernel.openDescriptors.count + 1
    rig.settle()
    #expect(rig.takeEnds().compactMap(\.end).map(\.reason) == [.outOfDescriptors])
    #expect(rig.reports[0].pauses == [.resources(.tooManyOpenFiles)])
    rig.kernel.descriptorsMax = 1000
    rig.advance(milliseconds: 510)
    #expect(server.accepted.count == 2)
    #expect(clients[0].readEnd() == .failed(.connectionReset))
    #expect(clients[1].readEnd() == .wouldBlock)
    #expect(rig.tearDown() == [])
  }

  @Test func aSourceThatIsNotOursHasItsOwnName() throws {
    var plan = RigPlan()
    plan.upstreams[0].source = [.v4(IPv4Address(rawValue: 0x0A00_0009))]
    let rig = try Rig(plan)
    rig.kernel.serve(9000, .accepts)
    rig.kernel.nextBindError = .addressNotAvailable
    _ = rig.connectClient()
    rig.settle()
    let end = end(rig)
    #expect(end?.origin == .proxy)
    #expect(end?.reason == .noSource)
  }

  @Test func aPortThatCannotBeHadIsOurOwnFailure() throws {
    let rig = try Rig()
    rig.kernel.serve(9000, .hasNoPorts)
    _ = rig.connectClient()
    rig.settle()
    let end = end(rig)
    #expect(end?.origin == .proxy)
    #expect(end?.reason == .outOfPorts)
  }

  @Test func aClientThatBreaksWhileConnectingEndsTheSession() throws {
    let rig = try Rig()
    rig.kernel.serve(9000, .isSilent)
    let client = rig.connectClient()
    rig.settle()
    client.reset()
    rig.settle()
    let end = end(rig)
    #expect(end?.origin == .downstream)
    #expect(end?.reason == .reset)
    #expect(end?.phase == .connecting)
  }

  @Test func whatAClientSaidBeforeItBrokeIsDeliveredOnceConnected() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .isSilent)
    let server = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    client.write("last words")
    client.carry()
    client.reset()
    rig.settle()
    // The first endpoint takes too long; the second has them all.
    rig.advance(milliseconds: 1600)
    try #require(server.accepted.count == 1)
    #expect(server.accepted[0].readText() == "last words")
    #expect(server.accepted[0].readEnd() == .failed(.connectionReset))
    let end = end(rig)
    #expect(end?.origin == .downstream)
    #expect(end?.reason == .reset)
    #expect(end?.phase == .inspecting)
  }

  @Test func lastWordsThatNobodyTakesDoNotChangeWhoEndedTheSession() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .isSilent)
    rig.kernel.serve(9001, .refuses)
    let client = rig.connectClient()
    client.write("last words")
    client.carry()
    client.reset()
    rig.settle()
    #expect(rig.worker.sessions.count == 1)
    rig.advance(milliseconds: 1600)
    #expect(end(rig)?.origin == .downstream)
  }

  @Test func aClientThatFinishesWhileConnectingIsServed() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .isSilent)
    let client = rig.connectClient()
    client.write("hello")
    client.shutdownWrite()
    rig.settle()
    server.manner = .accepts
    rig.settle()
    try #require(server.accepted.count == 1)
    #expect(server.accepted[0].readText() == "hello")
    #expect(server.accepted[0].readEnd() == .endOfStream)
    server.accepted[0].close()
    rig.settle()
    #expect(end(rig)?.reason == .finished)
  }

  @Test func aResetThatIsFoundByReadingGoesOnToTheNextEndpointToo() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    let first = rig.kernel.serve(9000, .accepts)
    let second = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    rig.settle()
    try #require(first.accepted.count == 1)
    // The client's event comes first, and pumping finds out about the endpoint.
    client.write("hello")
    client.carry()
    first.accepted[0].reset()
    first.accepted[0].carry()
    rig.settle()
    try #require(second.accepted.count == 1)
    #expect(second.accepted[0].readText() == "hello")
    client.close()
    second.accepted[0].close()
    rig.settle()
    #expect(end(rig)?.reason == .finished)
  }

  @Test func aSessionThatIsRetriedStartsOnce() throws {
    var plan = RigPlan(ports: [9000, 9001])
    plan.routes[0].access = AccessMoments(start: true, end: true)
    let rig = try Rig(plan)
    rig.kernel.serve(9000, .resets)
    let server = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    client.write("hello")
    rig.settle()
    #expect(server.accepted.first?.readText() == "hello")
    #expect(rig.takeRecords().map(\.moment) == [.start])
    #expect(rig.tearDown() == [])
  }

  @Test func anEndpointThatBrokeIsFreeWhileItsLastWordsAreDelivered() throws {
    var plan = RigPlan()
    plan.upstreams[0].endpoints = [EndpointPlan(port: 9000, sessionsMax: 1)]
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    let slow = rig.connectClient(receiveCapacity: 4)
    rig.settle()
    try #require(server.accepted.count == 1)
    server.accepted[0].write(String(repeating: "last words ", count: 100))
    server.accepted[0].carry()
    rig.settle()
    server.accepted[0].reset()
    rig.settle()
    #expect(rig.worker.sessions.count == 1)
    _ = rig.connectClient()
    rig.settle()
    #expect(server.accepted.count == 2)
    slow.reset()
    rig.settle()
    #expect(rig.tearDown() == [])
  }

  @Test func whatAnEndpointSaysBeforeItBreaksReachesTheClient() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    let first = rig.kernel.serve(9000, .accepts)
    let second = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    rig.settle()
    first.accepted[0].write("too many connections")
    first.accepted[0].carry()
    first.accepted[0].reset()
    rig.advance(milliseconds: 100)
    #expect(second.accepted.isEmpty)
    #expect(client.readText() == "too many connections")
    #expect(client.readEnd() == .failed(.connectionReset))
    #expect(end(rig)?.reason == .reset)
  }

  @Test func aFullEndpointIsPassedOver() throws {
    var plan = RigPlan()
    plan.upstreams[0].endpoints = [
      EndpointPlan(port: 9000, sessionsMax: 1), EndpointPlan(port: 9001, priority: 1),
    ]
    let rig = try Rig(plan)
    let first = rig.kernel.serve(9000, .accepts)
    let spare = rig.kernel.serve(9001, .accepts)
    _ = rig.connectClient()
    _ = rig.connectClient()
    rig.settle()
    #expect(first.accepted.count == 1)
    #expect(spare.accepted.count == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func whenAllEndpointsAreFullThereIsNone() throws {
    var plan = RigPlan()
    plan.upstreams[0].endpoints = [EndpointPlan(port: 9000, sessionsMax: 1)]
    let rig = try Rig(plan)
    rig.kernel.serve(9000, .accepts)
    _ = rig.connectClient()
    rig.settle()
    let client = rig.connectClient()
    rig.settle()
    #expect(client.readEnd() == .failed(.connectionReset))
    let ends = rig.takeEnds().compactMap(\.end)
    #expect(ends.map(\.reason) == [.noEndpoint])
    #expect(ends.map(\.origin) == [.proxy])
    #expect(rig.tearDown() == [])
  }

  @Test func withoutItsQuorumAnUpstreamServesNobody() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.topology.mark(0, .down)
    rig.topology.upstreams[0].state.serving = .none
    rig.topology.noteChange(ofUpstream: 0)
    _ = rig.connectClient()
    rig.settle()
    #expect(rig.takeEnds().compactMap(\.end?.reason) == [.noQuorum])
    rig.topology.mark(1, .down)
    _ = rig.connectClient()
    rig.settle()
    #expect(rig.takeEnds().compactMap(\.end?.reason) == [.allDown])
    #expect(rig.tearDown() == [])
  }

  @Test func anEndpointThatIsDownGetsNobodyAndKeepsWhomItHas() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    let first = rig.kernel.serve(9000, .accepts)
    let second = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    rig.settle()
    try #require(first.accepted.count == 1)
    rig.topology.mark(0, .down)
    for _ in 0..<3 { _ = rig.connectClient() }
    rig.settle()
    #expect(first.accepted.count == 1)
    #expect(second.accepted.count == 3)
    client.write("hello")
    rig.settle()
    #expect(first.accepted[0].readText() == "hello")
    #expect(rig.tearDown() == [])
  }

  @Test func whenAllEndpointsAreDownASessionEndsAtOnce() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    let first = rig.kernel.serve(9000, .accepts)
    rig.kernel.serve(9001, .accepts)
    for endpoint in 0..<2 { rig.topology.mark(endpoint, .down) }
    let client = rig.connectClient()
    rig.settle()
    #expect(client.readEnd() == .failed(.connectionReset))
    let ends = rig.takeEnds()
    #expect(ends.map(\.end?.reason) == [.allDown])
    #expect(ends.map(\.end?.origin) == [.proxy])
    #expect(rig.worker.counters[.attempts] == 0)
    rig.topology.mark(0, .up)
    _ = rig.connectClient()
    rig.settle()
    #expect(first.accepted.count == 1)
    #expect(rig.tearDown() == [])
  }

  @Test func anAttemptThatFailedSaysMoreThanThatTheOthersAreDown() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .refuses)
    rig.kernel.serve(9001, .accepts)
    rig.topology.mark(1, .down)
    _ = rig.connectClient()
    rig.settle()
    #expect(end(rig)?.reason == .connectRefused)
  }

  @Test func aClientThatCannotBeWatchedIsServedAsSoonAsItCan() throws {
    let rig = try Rig(RigPlan(ports: [9000]))
    let server = rig.kernel.serve(9000, .accepts)
    let clients = (0..<3).map { _ in rig.connectClient() }
    clients[0].write("hello")
    rig.kernel.nextRegisterError = .noSpace
    rig.settle()
    // Nothing else is accepted meanwhile.
    #expect(rig.reports[0].pauses == [.resources(.noSpace)])
    #expect(server.accepted.isEmpty)
    rig.advance(milliseconds: 510)
    #expect(server.accepted.count == 3)
    #expect(server.accepted.contains { $0.readText() == "hello" })
    for client in clients { #expect(client.readEnd() == .wouldBlock) }
    for client in clients { client.reset() }
    rig.settle()
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func aConnectionToAnEndpointThatCannotBeWatchedIsOurOwnFailure() throws {
    let rig = try Rig(RigPlan(ports: [9000]))
    let server = rig.kernel.serve(9000, .accepts)
    // The server is the kernel's: it may not hold it in turn.
    server.onConnect = { [unowned kernel = rig.kernel] in kernel.nextRegisterError = .noSpace }
    _ = rig.connectClient()
    rig.settle()
    #expect(end(rig)?.origin == .proxy)
  }
}
