// SPDX-License-Identifier: Apache-2.0
// Rules of an upstream that end a session that is relayed: no socket is to be left in TIME_WAIT
// (`avoid_time_wait`), or the endpoint is down (`on_down`).

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct RelayingTests {
  private func avoidingRig(
    _ port: UInt16 = 9000, socketBytes: Int = 1000, isUnix: Bool = false
  ) throws -> (rig: Rig, client: FakeStream, server: FakeStream) {
    var plan = RigPlan()
    plan.upstreams[0].avoidTimeWait = true
    plan.relay.bufferBytes = 125
    if isUnix {
      plan.upstreams[0].endpoints = [EndpointPlan(address: .socket(.unix(path: "/9000")))]
    }
    let kernel = FakeKernel()
    kernel.socketBytes = socketBytes
    let rig = try Rig(plan, kernel: kernel)
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    rig.settle()
    return (rig, client, try #require(server.accepted.first))
  }

  private func expectFinished(
    _ rig: Rig, _ origin: SessionEnd.Origin, upload: UInt64, download: UInt64,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    rig.settle()
    let ends = rig.takeEnds()
    #expect(ends.compactMap(\.end?.origin) == [origin], sourceLocation: sourceLocation)
    #expect(ends.compactMap(\.end?.reason) == [.finished], sourceLocation: sourceLocation)
    #expect(ends.map(\.uploadBytes) == [upload], sourceLocation: sourceLocation)
    #expect(ends.map(\.downloadBytes) == [download], sourceLocation: sourceLocation)
    #expect(rig.leftovers == [], sourceLocation: sourceLocation)
    #expect(rig.tearDown() == [], sourceLocation: sourceLocation)
  }

  // MARK: avoid_time_wait

  @Test func theClientsEndResetsTheConnectionToTheEndpoint() throws {
    let (rig, client, server) = try avoidingRig()
    client.write("request")
    rig.settle()
    server.write("reply")
    rig.settle()
    #expect(client.readText() == "reply")
    client.close()
    rig.advance(milliseconds: 100)
    #expect(server.readText() == "request")
    #expect(server.readEnd() == .failed(.connectionReset))
    expectFinished(rig, .downstream, upload: 7, download: 5)
  }

  @Test func theResetWaitsUntilTheEndpointHasEverything() throws {
    let (rig, client, server) = try avoidingRig()
    let bytes = (0..<2500).map { UInt8(truncatingIfNeeded: $0) }
    var sent = 0
    while sent < bytes.count {
      sent += client.writeSome(Array(bytes[sent..<min(bytes.count, sent + 500)]))
      rig.settle()
    }
    client.close()
    rig.settle()
    var received: [UInt8] = []
    for _ in 0..<200 where received.count < bytes.count {
      received += server.readBytes(max: 50)
      rig.advance(milliseconds: 100)
    }
    #expect(received == bytes)
    rig.advance(milliseconds: 100)
    #expect(server.readEnd() == .failed(.connectionReset))
    expectFinished(rig, .downstream, upload: 2500, download: 0)
  }

  @Test func theClientStillGetsWhatTheEndpointHadSentBefore() throws {
    let (rig, client, server) = try avoidingRig()
    client.write("request")
    rig.settle()
    for _ in 0..<2 {
      server.write(String(repeating: "reply ", count: 150))
      rig.settle()
    }
    client.shutdownWrite()
    rig.settle()
    var text = ""
    for _ in 0..<100 {
      text += String(decoding: client.readBytes(max: 100), as: UTF8.self)
      rig.advance(milliseconds: 100)
    }
    #expect(text == String(repeating: "reply ", count: 300))
    #expect(server.readText() == "request")
    expectFinished(rig, .downstream, upload: 7, download: 1800)
  }

  @Test func anEndpointThatFinishesFirstIsTheOneThatWaits() throws {
    let (rig, client, server) = try avoidingRig()
    client.write("request")
    rig.settle()
    #expect(server.readText() == "request")
    server.write("reply")
    server.close()
    rig.settle()
    #expect(client.readText() == "reply")
    #expect(client.readEnd() == .endOfStream)
    client.close()
    rig.settle()
    #expect(server.failure == nil)
    expectFinished(rig, .upstream, upload: 7, download: 5)
  }

  @Test func whereBothFinishTheEndpointSeesAnOrderlyEnd() throws {
    let (rig, client, server) = try avoidingRig()
    server.write("reply")
    server.shutdownWrite()
    server.carry()
    client.write("request")
    client.shutdownWrite()
    client.carry()
    rig.settle()
    #expect(server.readText() == "request")
    #expect(server.readEnd() == .endOfStream)
    #expect(client.readText() == "reply")
    #expect(client.readEnd() == .endOfStream)
    let ends = rig.takeEnds().compactMap(\.end?.reason)
    #expect(ends == [.finished])
    #expect(rig.tearDown() == [])
  }

  @Test func unixSocketsHaveNoTimeWait() throws {
    let (rig, client, server) = try avoidingRig(isUnix: true)
    client.write("request")
    client.shutdownWrite()
    rig.settle()
    #expect(server.readText() == "request")
    #expect(server.readEnd() == .endOfStream)
    server.write("reply")
    server.close()
    rig.settle()
    #expect(client.readText() == "reply")
    #expect(client.readEnd() == .endOfStream)
    expectFinished(rig, .downstream, upload: 7, download: 5)
  }

  // MARK: on_down

  /// Told that the first endpoint is down, and that its sessions are to be closed.
  private func close(_ rig: Rig, over time: Duration = .zero) throws {
    let closing = SessionClosing(
      .close(over: time), of: EndpointIndex(0), in: rig.topology, at: rig.kernel.time)
    rig.post(.closeSessions(try #require(closing)))
    rig.settle()
  }

  @Test func aSessionThatIsConnectedAfterTheVerdictIsClosedIfItWasPickedBefore() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .isSilent)
    let client = rig.connectClient()
    rig.settle()
    rig.kernel.advance(milliseconds: 10)
    try close(rig)
    rig.advance(milliseconds: 100)
    #expect(client.readEnd() == .wouldBlock)
    server.manner = .accepts
    rig.advance(milliseconds: 10)
    #expect(server.accepted.count == 1)
    #expect(client.readEnd() == .failed(.connectionReset))
    let end = rig.takeEnds().first?.end
    #expect(end == SessionEnd(origin: .proxy, reason: .endpointDown, phase: .relaying))
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func aSessionThatIsPickedAfterTheVerdictIsLeftAlone() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    try close(rig)
    rig.advance(milliseconds: 10)
    let client = rig.connectClient()
    rig.advance(milliseconds: 1000)
    #expect(server.accepted.count == 1)
    #expect(client.readEnd() == .wouldBlock)
    #expect(rig.tearDown() == [])
  }

  @Test func aSessionThatGoesOnToAnotherEndpointIsLeftAlone() throws {
    let rig = try Rig(RigPlan(ports: [9000, 9001]))
    rig.kernel.serve(9000, .isSilent)
    let other = rig.kernel.serve(9001, .accepts)
    let client = rig.connectClient()
    rig.settle()
    try close(rig)
    rig.advance(milliseconds: 3000)
    #expect(other.accepted.count == 1)
    #expect(client.readEnd() == .wouldBlock)
    #expect(rig.tearDown() == [])
  }
}
