// SPDX-License-Identifier: Apache-2.0
// Moving bytes: backpressure, budgets, and the switch between copying and splicing.

import Reactor
import Testing

@testable import DataPlane

@Suite struct RelayTests {
  private func connect(_ rig: Rig) -> (client: FakeStream, server: FakeStream) {
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    rig.settle()
    return (client, server.accepted[0])
  }

  private let pattern = (0..<400_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }

  /// Sends all of the pattern as fast as it goes, the other side reading all.
  private func pass(_ rig: Rig, _ source: FakeStream, _ destination: FakeStream) -> [UInt8] {
    var offset = 0
    var received: [UInt8] = []
    while received.count < pattern.count {
      let end = min(pattern.count, offset + source.room)
      if offset < end { offset += source.writeSome(Array(pattern[offset..<end])) }
      rig.settle()
      received += destination.readBytes()
    }
    return received
  }

  @Test func aSideIsNotReadWhileTheOtherIsFull() throws {
    var plan = RigPlan()
    plan.relay.bufferBytes = 1000
    let kernel = FakeKernel()
    kernel.socketBytes = 2000
    let rig = try Rig(plan, kernel: kernel)
    let (client, server) = connect(rig)
    var sent = 0
    while true {
      let count = client.writeSome([UInt8](repeating: 1, count: 500))
      rig.settle()
      if count == 0 { break }
      sent += count
    }
    // The client's queue, ours, what is kept, ours towards the server, the server's.
    #expect(sent <= 4 * 2000 + 1000)
    #expect(rig.worker.relay.keptBytes > 0)
    #expect(rig.worker.relay.keptBytes <= 1000)
    let reads = client.peer?.readCount
    rig.advance(milliseconds: 1000)
    #expect(client.peer?.readCount == reads)
    var received = 0
    while received < sent {
      received += server.readBytes().count
      rig.settle()
    }
    #expect(rig.worker.relay.keptBytes == 0)
    client.close()
    server.close()
    rig.settle()
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test func bulkIsSplicedAndSmallMessagesAreCopiedAgain() throws {
    var plan = RigPlan()
    plan.pipesMax = 4
    let rig = try Rig(plan)
    let (client, server) = connect(rig)
    #expect(pass(rig, client, server) == pattern)
    #expect(rig.kernel.spliceCount > 0)
    for _ in 0..<5 {
      client.write("small")
      rig.settle()
      #expect(server.readText() == "small")
    }
    let splices = rig.kernel.spliceCount
    client.write("small")
    rig.settle()
    #expect(server.readText() == "small")
    #expect(rig.kernel.spliceCount == splices)
    client.close()
    server.close()
    rig.settle()
    #expect(rig.leftovers == [])
    #expect(rig.tearDown() == [])
  }

  @Test(arguments: [false, true])
  func whatFollowsUrgentDataIsNotLost(_ finishes: Bool) throws {
    var plan = RigPlan()
    plan.pipesMax = 4
    let rig = try Rig(plan)
    let (client, server) = connect(rig)
    #expect(pass(rig, client, server) == pattern)
    #expect(rig.kernel.spliceCount > 0)
    // The mark lies somewhere in what comes next, and then nothing more comes.
    rig.kernel.chaos.urgentPerMille = 1000
    let sent = Array(pattern[..<client.room])
    #expect(client.writeSome(sent) == sent.count)
    client.carry()
    rig.kernel.chaos.urgentPerMille = 0
    if finishes {
      client.shutdownWrite()
      client.carry()
    }
    rig.settle()
    var received = server.readBytes()
    rig.settle()
    received += server.readBytes()
    #expect(received == sent)
    #expect(server.readEnd() == (finishes ? .endOfStream : .wouldBlock))
    #expect(rig.tearDown() == [])
  }

  @Test func withoutAPipeBulkIsCopied() throws {
    let rig = try Rig()
    let (client, server) = connect(rig)
    #expect(pass(rig, client, server) == pattern)
    #expect(rig.kernel.spliceCount == 0)
    #expect(rig.tearDown() == [])
  }

  @Test func aPipeThatIsTooSmallIsGivenBack() throws {
    var plan = RigPlan()
    plan.pipesMax = 4
    let rig = try Rig(plan)
    rig.kernel.pipeBytesMax = 8192
    let before = rig.kernel.openDescriptors.count
    let (client, server) = connect(rig)
    #expect(pass(rig, client, server) == pattern)
    #expect(rig.kernel.spliceCount == 0)
    #expect(rig.kernel.openDescriptors.count == before + 2)
    #expect(rig.tearDown() == [])
  }

  @Test func aPipeFullOfCrumbsLosesNothing() throws {
    var plan = RigPlan()
    plan.pipesMax = 1
    let rig = try Rig(plan)
    rig.kernel.fragmentBytes = 1
    let (client, server) = connect(rig)
    // Sixteen slots of one byte are a small splice, so copying and splicing alternate.
    #expect(pass(rig, client, server) == pattern)
    #expect(rig.kernel.spliceCount > 0)
    #expect(rig.tearDown() == [])
  }

  @Test func aFastSessionLeavesTurnsToOthers() throws {
    var plan = RigPlan()
    plan.relay.turnBytes = 1000
    plan.relay.bufferBytes = 500
    let rig = try Rig(plan)
    let server = rig.kernel.serve(9000, .accepts, receiveCapacity: 1 << 20)
    let fast = rig.connectClient()
    let slow = rig.connectClient()
    rig.settle()
    #expect(fast.writeSome(Array(pattern[..<60_000])) == 60_000)
    slow.write("small")
    fast.carry()
    slow.carry()
    rig.worker.turn()
    rig.kernel.carryAll()
    let texts = server.accepted.map { $0.receiveQueue.count }
    #expect(texts.contains(5))
    #expect(texts.allSatisfy { $0 <= 4000 })
    rig.settle()
    #expect(server.accepted.map { $0.receiveQueue.count }.max() == 60_000)
    #expect(rig.tearDown() == [])
  }
}
