// SPDX-License-Identifier: Apache-2.0
// The contract of ends, line by line: what one side has sent reaches the other side, and an end is what it
// was. In both directions, between TCP and unix sockets, copied and spliced.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct EndsContractTests {
  // MARK: Delivered means acknowledged

  @Test(arguments: EndsCase.all)
  func aSlowReaderGetsEverythingBehindEveryTimer(_ one: EndsCase) throws {
    let ends = try EndsRig(one, idle: .seconds(1), halfClose: .seconds(1), flush: .seconds(1))
    ends.write(ends.volume)
    ends.source.shutdownWrite()
    ends.destination.shutdownWrite()
    // For much longer than any timer, in steps that none outlasts.
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(ends.volume))
    #expect(end == .endOfStream)
    let record = try ends.takeEnd()
    #expect(record.end?.reason == .finished)
    #expect(ends.counted(record) == ends.volume)
  }

  @Test(arguments: EndsCase.all)
  func aSlowReaderOfAHalfClosedSessionGetsEverything(_ one: EndsCase) throws {
    // What the receiver's kernel has acknowledged may take it six seconds to read.
    let ends = try EndsRig(one, halfClose: .seconds(8))
    ends.write(ends.volume)
    ends.source.shutdownWrite()
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(ends.volume))
    #expect(end == .endOfStream)
    ends.destination.close()
    let reason = try ends.takeEnd().end?.reason
    #expect(reason == .finished)
  }

  @Test(arguments: EndsCase.betweenTCP)
  func theIdleTimerDoesNotFireWhileTheReceiverAcknowledges(_ one: EndsCase) throws {
    let ends = try EndsRig(one, socketBytes: 4000, idle: .seconds(1))
    ends.fill()
    let moved = ends.counters
    // So little that there is no room for more: nothing moves but acknowledgements.
    for _ in 0..<30 {
      #expect(ends.destination.readBytes(max: 10).count == 10)
      ends.rig.advance(milliseconds: 230)
    }
    #expect(ends.counters == moved)
    #expect(ends.rig.worker.sessions.count == 1)
    ends.rig.advance(milliseconds: 1600)
    let reason = try ends.takeEnd().end?.reason
    #expect(reason == .idle)
  }

  @Test(arguments: EndsCase.betweenTCP)
  func theHalfCloseTimerDoesNotFireWhileTheReceiverAcknowledges(_ one: EndsCase) throws {
    let ends = try EndsRig(one, socketBytes: 4000, halfClose: .seconds(1))
    ends.write(6000)
    ends.source.shutdownWrite()
    ends.rig.settle()
    for _ in 0..<30 {
      #expect(ends.destination.readBytes(max: 10).count == 10)
      ends.rig.advance(milliseconds: 230)
    }
    #expect(ends.rig.worker.sessions.count == 1)
    ends.rig.advance(milliseconds: 1600)
    let reason = try ends.takeEnd().end?.reason
    #expect(reason == .halfCloseTimeout)
  }

  @Test(arguments: EndsCase.all.filter { $0.source == .unix })
  func theSideThatHasClosedIsTheFirstToFinishHoweverSlowlyTheOtherReads(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.write(ends.volume)
    ends.source.close()
    ends.rig.settle()
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(ends.volume))
    #expect(end == .endOfStream)
    ends.destination.close()
    let cause = try ends.takeEnd().end
    #expect(cause?.reason == .finished)
    #expect(cause?.origin == one.way.source)
    #expect(cause?.phase == (one.way == .upload ? .downstreamFinished : .upstreamFinished))
  }

  /// The source has finished, its end waits behind what the destination does not take, and then its machine is
  /// gone: a write finds that, before an event tells.
  @Test(arguments: EndsCase.fromTCP)
  func aMachineThatVanishesAfterItsEndHasStillSentACompleteStream(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    let arrival = try #require(ends.source.peer)
    while arrival.receiveQueue.isEmpty { ends.write(100) }
    ends.source.shutdownWrite()
    ends.rig.settle()
    #expect(!arrival.receiveQueue.isEmpty)
    ends.destination.write("a question that nobody reads")
    ends.kernel.carryAll()
    arrival.fail(with: .timedOut)
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(ends.written))
    #expect(end == .endOfStream)
    ends.destination.close()
    _ = try ends.takeEnd()
  }

  // MARK: An end that was passed on is never taken back

  @Test(arguments: EndsCase.all)
  func oneMoreByteToASideThatHasClosedTakesNothingBack(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.write(ends.volume)
    ends.source.close()
    ends.rig.settle()
    ends.destination.write("one more")
    ends.rig.settle()
    ends.destination.write("and one more")
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(ends.volume))
    #expect(end == .endOfStream)
    ends.destination.close()
    let counted = ends.counted(try ends.takeEnd())
    #expect(counted == ends.volume)
  }

  @Test(arguments: EndsCase.fromTCP)
  func aFailureAfterTheEndWasPassedOnTakesNothingBack(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.write(800)
    ends.source.shutdownWrite()
    ends.rig.settle()
    #expect(ends.destination.hasReceivedEnd)
    ends.source.reset()
    ends.rig.settle()
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(800))
    #expect(end == .endOfStream)
    ends.destination.close()
    let counted = ends.counted(try ends.takeEnd())
    #expect(counted == 800)
  }

  @Test(arguments: EndsCase.fromTCP)
  func aFailureBehindAnEndThatStillWaitsTakesNothingBack(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.write(ends.volume)
    ends.source.shutdownWrite()
    ends.rig.settle()
    #expect(!ends.destination.hasReceivedEnd)
    ends.source.reset()
    ends.rig.settle()
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(ends.volume))
    #expect(end == .endOfStream)
    ends.destination.close()
    let counted = ends.counted(try ends.takeEnd())
    #expect(counted == ends.volume)
  }

  @Test(arguments: EndsCase.all)
  func whatNobodyReadsIsDiscardedAndTheEndStaysOrderly(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.write(ends.volume)
    ends.source.close()
    ends.rig.settle()
    // Far more than all queues hold: the destination is not stopped by what nobody takes.
    var sent = 0
    for _ in 0..<40 {
      sent += ends.destination.writeSome([UInt8](repeating: 1, count: 500))
      ends.rig.settle()
    }
    #expect(sent == 20_000)
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(ends.volume))
    #expect(end == .endOfStream)
    #expect(ends.destination.error == nil)
    ends.destination.close()
    let counted = ends.counted(try ends.takeEnd())
    #expect(counted == ends.volume)
  }

  // MARK: A cut stream never looks complete

  @Test(arguments: EndsCase.betweenTCP)
  func aCutStreamIsDeliveredAndThenReset(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.write(2500)
    ends.source.reset()
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(2500))
    #expect(end == .failed(.connectionReset))
    let record = try ends.takeEnd()
    #expect(record.end?.reason == .reset)
    #expect(record.end?.origin == one.way.source)
    #expect(ends.counted(record) == 2500)
  }

  // MARK: Failing to write says nothing about what was written to us

  /// The reset is found by writing, which takes the error from the socket: what is read then ends with an end
  /// of file, which is no orderly one.
  @Test(arguments: EndsCase.betweenTCP)
  func aResetThatIsFoundByWritingStillCutsTheStream(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.write(2500)
    // Both report in one batch, the writer's event first.
    ends.destination.write("x")
    ends.destination.carry()
    ends.source.reset()
    ends.source.carry()
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(2500))
    #expect(end == .failed(.connectionReset))
    let reason = try ends.takeEnd().end?.reason
    #expect(reason == .reset)
  }

  @Test(arguments: EndsCase.betweenTCP)
  func aWriteThatFailsSinceThePeerHadFinishedBeforeLeavesTheStreamComplete(
    _ one: EndsCase
  ) throws {
    let ends = try EndsRig(one)
    ends.write(2500)
    // The end has arrived, and lies behind what could not be read yet, when the connection is reset.
    ends.source.shutdownWrite()
    ends.source.carry()
    ends.destination.write("x")
    ends.destination.carry()
    ends.source.reset()
    ends.source.carry()
    #expect(ends.source.peer?.failure == .brokenPipe)
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(2500))
    #expect(end == .endOfStream)
    ends.destination.close()
    let counted = ends.counted(try ends.takeEnd())
    #expect(counted == 2500)
  }

  /// A unix peer that closes loses nothing of what it wrote, also when it leaves input unread, which is
  /// reported as a reset.
  @Test(arguments: EndsCase.all.filter { $0.source == .unix })
  func aUnixPeerThatClosesWithInputUnreadHasFinished(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.destination.write("never read")
    ends.rig.settle()
    ends.write(700)
    #expect(!ends.source.receiveQueue.isEmpty)
    ends.source.close()
    let (bytes, end) = ends.readSlowly()
    #expect(bytes == EndsRig.bytes(700))
    #expect(end == .endOfStream)
    ends.destination.close()
    let counted = ends.counted(try ends.takeEnd())
    #expect(counted == 700)
  }
}

extension EndsRig {
  /// What was moved so far, as the session counts it.
  var counters: [UInt64] {
    guard let session = rig.worker.sessions.find(0) else { return [] }
    return [session.pointee.upload.bytes, session.pointee.download.bytes]
  }
}
