// SPDX-License-Identifier: Apache-2.0
// How an end on one side becomes an end on the other, and how long that may take.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct EndsTests {
  /// A session that stands: the client's end and the server's.
  private func connect(_ rig: Rig) -> (client: FakeStream, server: FakeStream) {
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    rig.settle()
    return (client, server.accepted[0])
  }

  private func expectEnd(
    _ rig: Rig, _ origin: SessionEnd.Origin, _ reason: SessionEnd.Reason,
    _ phase: SessionEnd.Phase, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let ends = rig.takeEnds().compactMap(\.end)
    #expect(ends.map(\.origin) == [origin], sourceLocation: sourceLocation)
    #expect(ends.map(\.reason) == [reason], sourceLocation: sourceLocation)
    #expect(ends.map(\.phase) == [phase], sourceLocation: sourceLocation)
    #expect(rig.leftovers == [], sourceLocation: sourceLocation)
    #expect(rig.tearDown() == [], sourceLocation: sourceLocation)
  }

  @Test func aClientThatFinishesStillGetsTheReply() throws {
    let rig = try Rig()
    let (client, server) = connect(rig)
    client.write("request")
    client.shutdownWrite()
    rig.settle()
    #expect(server.readText() == "request")
    #expect(server.readEnd() == .endOfStream)
    rig.advance(milliseconds: 30_000, step: 1000)
    server.write("reply")
    server.close()
    rig.settle()
    #expect(client.readText() == "reply")
    #expect(client.readEnd() == .endOfStream)
    expectEnd(rig, .downstream, .finished, .downstreamFinished)
  }

  @Test func aServerThatFinishesStillGetsTheUpload() throws {
    let rig = try Rig()
    let (client, server) = connect(rig)
    server.write("greeting")
    server.shutdownWrite()
    rig.settle()
    #expect(client.readText() == "greeting")
    #expect(client.readEnd() == .endOfStream)
    client.write("upload")
    client.close()
    rig.settle()
    #expect(server.readText() == "upload")
    #expect(server.readEnd() == .endOfStream)
    expectEnd(rig, .upstream, .finished, .upstreamFinished)
  }

  @Test func aClientsResetReachesTheServerAfterWhatWasSent() throws {
    let rig = try Rig()
    let (client, server) = connect(rig)
    client.write("last words")
    client.carry()
    client.reset()
    rig.advance(milliseconds: 100)
    #expect(server.readText() == "last words")
    #expect(server.readEnd() == .failed(.connectionReset))
    expectEnd(rig, .downstream, .reset, .relaying)
  }

  @Test func aServersResetReachesTheClientAfterWhatWasSent() throws {
    let rig = try Rig()
    let (client, server) = connect(rig)
    client.write("request")
    rig.settle()
    server.write("last words")
    server.carry()
    server.reset()
    rig.advance(milliseconds: 100)
    #expect(client.readText() == "last words")
    #expect(client.readEnd() == .failed(.connectionReset))
    expectEnd(rig, .upstream, .reset, .relaying)
  }

  @Test func aResetWaitsUntilTheOtherSideHasEverything() throws {
    let rig = try Rig()
    rig.kernel.socketBytes = 100
    let (client, server) = connect(rig)
    for _ in 0..<3 {
      #expect(server.writeSome([UInt8](repeating: 7, count: 100)) == 100)
      rig.settle()
    }
    // One part is with the client, one in our send queue, one kept: reading brings all of them.
    server.reset()
    rig.settle()
    var received = 0
    for _ in 0..<50 {
      received += client.readBytes(max: 10).count
      rig.advance(milliseconds: 15)
    }
    #expect(received == 300)
    #expect(client.readEnd() == .failed(.connectionReset))
    expectEnd(rig, .upstream, .reset, .relaying)
  }

  @Test func aReaderThatDoesNotReadIsResetWhenLingerIsOver() throws {
    let rig = try Rig()
    rig.kernel.socketBytes = 100
    let (client, server) = connect(rig)
    for _ in 0..<2 {
      #expect(server.writeSome([UInt8](repeating: 7, count: 100)) == 100)
      rig.settle()
    }
    server.reset()
    rig.settle()
    rig.advance(milliseconds: 990)
    #expect(rig.worker.sessions.count == 1)
    rig.advance(milliseconds: 20)
    #expect(client.readBytes().count == 100)
    #expect(client.readEnd() == .failed(.connectionReset))
    expectEnd(rig, .upstream, .reset, .relaying)
  }

  @Test func theFailedSidesOwnReportDoesNotCutTheOtherSideShort() throws {
    let rig = try Rig()
    rig.kernel.socketBytes = 100
    let (client, server) = connect(rig)
    for _ in 0..<2 {
      #expect(server.writeSome([UInt8](repeating: 7, count: 100)) == 100)
      rig.settle()
    }
    // Both report in one batch, the client first: the failure is found by writing to the server.
    client.write("more")
    client.carry()
    server.reset()
    server.carry()
    rig.worker.turn()
    #expect(rig.worker.counters[.staleEvents] == 1)
    #expect(client.readBytes().count == 100)
    rig.settle()
    #expect(client.readBytes().count == 100)
    rig.advance(milliseconds: 100)
    #expect(client.readEnd() == .failed(.connectionReset))
    expectEnd(rig, .upstream, .reset, .relaying)
  }

  @Test func aHangUpOfBothEndsDoesNotCutTheFlushShort() throws {
    let rig = try Rig()
    rig.kernel.socketBytes = 100
    let (client, server) = connect(rig)
    #expect(server.writeSome([UInt8](repeating: 7, count: 100)) == 100)
    rig.settle()
    #expect(server.writeSome([UInt8](repeating: 7, count: 50)) == 50)
    server.shutdownWrite()
    rig.settle()
    server.reset()
    rig.settle()
    client.shutdownWrite()
    rig.settle()
    #expect(client.readBytes().count == 100)
    rig.settle()
    #expect(client.readBytes().count == 50)
    rig.advance(milliseconds: 100)
    expectEnd(rig, .upstream, .reset, .upstreamFinished)
  }

  @Test func anIdleSessionIsReset() throws {
    let rig = try Rig(RigPlan(idle: .seconds(10)))
    let (client, server) = connect(rig)
    rig.advance(milliseconds: 9000)
    client.write("still here")
    rig.settle()
    rig.advance(milliseconds: 9900)
    #expect(rig.worker.sessions.count == 1)
    // A sixteenth later at most: it is not known when the last byte was acknowledged.
    rig.advance(milliseconds: 740)
    #expect(server.readText() == "still here")
    #expect(server.readEnd() == .failed(.connectionReset))
    #expect(client.readEnd() == .failed(.connectionReset))
    expectEnd(rig, .proxy, .idle, .relaying)
  }

  @Test func theHalfCloseTimeoutCountsFromTheLastByte() throws {
    let rig = try Rig(RigPlan(halfClose: .seconds(10)))
    let (client, server) = connect(rig)
    client.shutdownWrite()
    rig.settle()
    rig.advance(milliseconds: 9000)
    server.write("slow")
    rig.settle()
    rig.advance(milliseconds: 9000)
    #expect(rig.worker.sessions.count == 1)
    rig.advance(milliseconds: 1700)
    expectEnd(rig, .proxy, .halfCloseTimeout, .downstreamFinished)
  }

  @Test func aSessionThatWasStillForLongMayStillFinishInOrder() throws {
    let rig = try Rig(RigPlan(halfClose: .seconds(10)))
    let (client, server) = connect(rig)
    rig.advance(milliseconds: 60_000, step: 1000)
    client.shutdownWrite()
    rig.settle()
    #expect(server.readEnd() == .endOfStream)
    rig.advance(milliseconds: 5000)
    server.close()
    rig.settle()
    #expect(client.readEnd() == .endOfStream)
    expectEnd(rig, .downstream, .finished, .downstreamFinished)
  }

  @Test func resetAllResetsBothSidesForTheReasonGiven() throws {
    let rig = try Rig()
    let (client, server) = connect(rig)
    rig.post(.resetAll(.drainDeadline))
    rig.settle()
    #expect(client.readEnd() == .failed(.connectionReset))
    #expect(server.readEnd() == .failed(.connectionReset))
    expectEnd(rig, .proxy, .drainDeadline, .relaying)
  }

  @Test func recordsAreWrittenAtTheStartInBetweenAndAtTheEnd() throws {
    var plan = RigPlan()
    plan.routes[0].access = AccessMoments(start: true, end: true, every: .seconds(10))
    let rig = try Rig(plan)
    let (client, server) = connect(rig)
    rig.advance(milliseconds: 25_000, step: 500)
    // A worker that was stopped for a while says it once, not once for each moment missed.
    rig.kernel.advance(milliseconds: 3_600_000)
    rig.settle()
    client.close()
    server.close()
    rig.settle()
    let moments: [SessionRecord.Moment] = [.start, .progress, .progress, .progress, .end]
    #expect(rig.takeRecords().map(\.moment) == moments)
    #expect(rig.tearDown() == [])
  }

  // MARK: Sessions that last

  @Test func onlyASessionThatLastsIsGivenTheOptionsForThat() throws {
    let rig = try Rig()
    rig.kernel.serve(9000, .accepts)
    let short = rig.connectClient()
    rig.settle()
    rig.advance(milliseconds: 500)
    short.reset()
    let long = rig.connectClient()
    rig.settle()
    rig.advance(milliseconds: 999)
    #expect(rig.kernel.lastingCount == 0)
    rig.advance(milliseconds: 1)
    #expect(rig.kernel.lastingCount == 1)
    rig.advance(milliseconds: 10_000)
    #expect(rig.kernel.lastingCount == 1)
    long.reset()
    #expect(rig.tearDown() == [])
  }

  @Test func onlyASecondMessageNeedsThatNoneWaits() throws {
    let rig = try Rig()
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    client.write("1")
    rig.settle()
    // Answers go to the client, whose connection has the listener's options.
    for _ in 0..<3 {
      server.accepted[0].write("2")
      rig.settle()
    }
    #expect(server.accepted[0].readText() == "1")
    #expect(rig.kernel.noDelayCount == 0)
    for _ in 0..<3 {
      client.write("3")
      rig.settle()
    }
    #expect(server.accepted[0].readText() == "333")
    #expect(rig.kernel.noDelayCount == 1)
    client.close()
    server.accepted[0].close()
    #expect(rig.tearDown() == [])
  }

  @Test func whoeverWantsSmallMessagesGatheredIsNotAskedForMore() throws {
    var plan = RigPlan()
    plan.upstreams[0].tcp.noDelay = false
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    for _ in 0..<3 {
      client.write("3")
      rig.settle()
    }
    #expect(server.accepted[0].readText() == "333")
    #expect(rig.kernel.noDelayCount == 0)
    client.reset()
    #expect(rig.tearDown() == [])
  }
}
