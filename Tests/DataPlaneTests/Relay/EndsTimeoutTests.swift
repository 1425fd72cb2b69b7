// SPDX-License-Identifier: Apache-2.0
// The contract of ends, where time and memory run out: how long a receiver that makes no progress is waited
// for, what the record then counts, and that a shortage of the kernel loses nothing.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct EndsTimeoutTests {
  // MARK: flush_timeout

  @Test(arguments: EndsCase.betweenTCP)
  func theTimeToFlushCountsFromTheLastProgress(_ one: EndsCase) throws {
    let ends = try EndsRig(one, flush: .seconds(1))
    ends.write(2500)
    ends.source.reset()
    ends.rig.settle()
    // The receiver goes on for much longer than the timeout, and then stops.
    let (bytes, _) = ends.readSlowly(20, every: 230, max: 400)
    #expect(bytes == EndsRig.bytes(400))
    ends.rig.advance(milliseconds: 980)
    #expect(ends.rig.worker.sessions.count == 1)
    ends.rig.advance(milliseconds: 600)
    let rest = ends.destination.readBytes()
    #expect(bytes + rest == EndsRig.bytes(400 + rest.count))
    #expect(ends.destination.readEnd() == .failed(.connectionReset))
    let record = try ends.takeEnd()
    #expect(record.end?.origin == one.way.source)
    // What was acknowledged, read or not.
    #expect(ends.counted(record) == 400 + rest.count)
  }

  @Test(arguments: EndsCase.betweenTCP)
  func aReceiverThatAcknowledgesNothingOfACompleteStreamIsNotWaitedForEver(
    _ one: EndsCase
  ) throws {
    let ends = try EndsRig(one, flush: .seconds(1))
    ends.write(1700)
    ends.source.shutdownWrite()
    ends.destination.shutdownWrite()
    ends.rig.settle()
    ends.rig.advance(milliseconds: 980)
    #expect(ends.rig.worker.sessions.count == 1)
    ends.rig.advance(milliseconds: 600)
    let record = try ends.takeEnd()
    #expect(record.end?.origin == .proxy)
    #expect(record.end?.reason == .flushTimeout)
    #expect(ends.counted(record) == 1000)
  }

  /// The kernel has all of it, end included: it goes on delivering after the session is over.
  @Test(arguments: EndsCase.betweenTCP)
  func aCompleteStreamIsDeliveredByTheKernelAfterTheTimeout(_ one: EndsCase) throws {
    let ends = try EndsRig(one, flush: .seconds(1))
    ends.write(1700)
    ends.source.shutdownWrite()
    ends.destination.shutdownWrite()
    ends.rig.advance(milliseconds: 2000)
    #expect(ends.rig.worker.sessions.count == 0)
    let (bytes, end) = ends.readAll()
    #expect(bytes == EndsRig.bytes(1700))
    #expect(end == .endOfStream)
    let reason = try ends.takeEnd().end?.reason
    #expect(reason == .flushTimeout)
  }

  /// What the kernel has not taken is lost when the session is over, and that must show. (A unix socket
  /// tells that its peer has closed, though not all was read: delivering begins before all is with the kernel.)
  @Test(arguments: EndsCase.toTCP.filter { $0.source == .unix })
  func aStreamThatTheKernelCouldNotTakeIsCutByTheTimeout(_ one: EndsCase) throws {
    let ends = try EndsRig(one, flush: .seconds(1))
    ends.write(2400)
    ends.destination.shutdownWrite()
    ends.source.close()
    ends.rig.settle()
    ends.rig.advance(milliseconds: 980)
    #expect(ends.rig.worker.sessions.count == 1)
    ends.rig.advance(milliseconds: 600)
    let (bytes, end) = ends.readAll()
    #expect(bytes == EndsRig.bytes(1000))
    #expect(end == .failed(.connectionReset))
    let record = try ends.takeEnd()
    #expect(record.end?.reason == .flushTimeout)
    #expect(ends.counted(record) == 1000)
  }

  @Test(arguments: EndsCase.all.filter { $0.destination == .unix })
  func whatAUnixSocketHasTakenIsDelivered(_ one: EndsCase) throws {
    let ends = try EndsRig(one, flush: .seconds(1))
    ends.write(600)
    ends.source.close()
    ends.destination.shutdownWrite()
    let record = try ends.takeEnd()
    #expect(record.end?.reason == .finished)
    #expect(ends.counted(record) == 600)
    #expect(ends.destination.readBytes() == EndsRig.bytes(600))
    #expect(ends.destination.readEnd() == .endOfStream)
  }

  // MARK: The record counts what was acknowledged

  @Test(arguments: EndsCase.betweenTCP, [SessionEnd.Reason.idle, .killed])
  func theRecordOfASessionThatWeEndCountsWhatWasAcknowledged(
    _ one: EndsCase, reason: SessionEnd.Reason
  ) throws {
    let ends = try EndsRig(one, idle: reason == .idle ? .seconds(1) : nil)
    ends.fill()
    #expect(ends.destination.readBytes(max: 300).count == 300)
    ends.rig.settle()
    if reason == .idle {
      ends.rig.advance(milliseconds: 2000)
    } else {
      ends.rig.post(.resetAll(reason))
      ends.rig.settle()
    }
    #expect(ends.destination.readBytes().count == 1000)
    #expect(ends.destination.readEnd() == .failed(.connectionReset))
    #expect(ends.source.failure == .connectionReset)
    let record = try ends.takeEnd()
    #expect(record.end?.reason == reason)
    #expect(ends.counted(record) == 1300)
  }

  @Test(arguments: EndsCase.betweenTCP)
  func theRecordOfASessionWhoseReceiverIsResetCountsWhatWasAcknowledged(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.write(1700)
    ends.destination.reset()
    ends.rig.settle()
    ends.source.close()
    let record = try ends.takeEnd()
    #expect(record.end?.origin == one.way.destination)
    #expect(ends.counted(record) == 1000)
  }

  // MARK: Shortages

  @Test(arguments: EndsCase.all, 1...2 as ClosedRange<UInt64>)
  func aShortageOfMemoryLosesNothing(_ one: EndsCase, seed: UInt64) throws {
    let ends = try EndsRig(one, socketBytes: 8000)
    ends.kernel.chaos.shortagePerMille = 200 + Int(seed) * 100
    var received: [UInt8] = []
    for _ in 0..<2000 where received.count < 30_000 {
      if ends.written < 30_000 { ends.writeSome(upTo: 30_000) }
      ends.rig.advance(milliseconds: 20, step: 20)
      received += ends.destination.readBytes()
    }
    #expect(received == EndsRig.bytes(30_000))
    if one.splices { #expect(ends.kernel.spliceCount > 0) }
    ends.source.close()
    ends.rig.advance(milliseconds: 2000, step: 20)
    #expect(ends.destination.readEnd() == .endOfStream)
    ends.destination.close()
    ends.rig.advance(milliseconds: 2000, step: 20)
    let record = try ends.takeEnd()
    #expect(record.end?.reason == .finished)
    #expect(ends.counted(record) == 30_000)
  }

  @Test(arguments: [Errno.noMemory, .noBufferSpace], EndsCase.all.filter { !$0.splices })
  func oneCallThatFailsForWantOfMemoryIsMadeAgain(_ errno: Errno, _ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.kernel.nextReceiveError = errno
    ends.write(100)
    #expect(ends.kernel.nextReceiveError == nil)
    #expect(ends.destination.receiveQueue.isEmpty)
    ends.rig.advance(milliseconds: 20)
    #expect(ends.destination.readBytes() == EndsRig.bytes(100))
    ends.kernel.nextSendError = errno
    ends.write(100)
    #expect(ends.kernel.nextSendError == nil)
    ends.rig.advance(milliseconds: 20)
    #expect(ends.destination.readBytes() == Array(EndsRig.bytes(200)[100...]))
    ends.source.close()
    ends.destination.close()
    let reason = try ends.takeEnd().end?.reason
    #expect(reason == .finished)
  }

  /// A session that waits for memory rests; it must not keep its worker busy.
  @Test(arguments: EndsCase.all.filter { !$0.splices })
  func aLastingShortageDoesNotSpin(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.kernel.chaos.shortagePerMille = 1000
    #expect(ends.source.writeSome([1, 2, 3]) == 3)
    let waits = ends.kernel.waitCount
    ends.rig.advance(milliseconds: 200, step: 1)
    #expect(ends.kernel.waitCount - waits < 500)
    ends.kernel.chaos.shortagePerMille = 0
    ends.rig.advance(milliseconds: 30)
    #expect(ends.destination.readBytes() == [1, 2, 3])
    ends.source.close()
    ends.destination.close()
    _ = try ends.takeEnd()
  }
}

extension EndsRig {
  /// The source sends what there is room for, up to so many bytes in all.
  func writeSome(upTo end: Int) {
    note(source.writeSome(Array(EndsRig.bytes(min(end, written + source.room))[written...])))
  }
}
