// SPDX-License-Identifier: Apache-2.0
// Which acknowledgements the timers of a session see, and that a lack of memory does not keep a worker busy
// while it discards what nobody takes.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct EndsProgressTests {
  /// Timers look at a receiver twice; progress before the first look counts as well.
  @Test(arguments: EndsCase.betweenTCP)
  func anAcknowledgementBeforeTheFirstLookPutsTheIdleTimerOff(_ one: EndsCase) throws {
    let ends = try EndsRig(one, socketBytes: 4000, idle: .seconds(2))
    ends.fill()
    ends.rig.advance(milliseconds: 800)
    #expect(ends.destination.readBytes(max: 10).count == 10)
    ends.rig.advance(milliseconds: 1900)
    #expect(ends.rig.worker.sessions.count == 1)
    #expect(ends.rig.tearDown() == [])
  }

  @Test(arguments: EndsCase.betweenTCP)
  func anAcknowledgementBeforeTheFirstLookPutsTheFlushTimerOff(_ one: EndsCase) throws {
    let ends = try EndsRig(one, socketBytes: 1000, flush: .seconds(2))
    ends.write(2500)
    ends.source.reset()
    ends.rig.settle()
    ends.rig.advance(milliseconds: 800)
    #expect(ends.destination.readBytes(max: 10).count == 10)
    ends.rig.advance(milliseconds: 1900)
    #expect(ends.rig.worker.sessions.count == 1)
    #expect(ends.rig.tearDown() == [])
  }

  /// The session's timer fires behind the turn's other work, and finds more to move than fits into one turn.
  @Test(arguments: EndsCase.betweenTCP.filter { !$0.splices })
  func whatATransferHasLeftAfterAShortageIsMovedInTheNextTurn(_ one: EndsCase) throws {
    let ends = try EndsRig(one, socketBytes: 300_000)
    ends.kernel.chaos.shortagePerMille = 1000
    #expect(ends.source.writeSome(EndsRig.bytes(200_000)) == 200_000)
    ends.note(200_000)
    ends.kernel.carryAll()
    for _ in 0..<3 { ends.rig.worker.turn() }
    #expect(ends.destination.receiveQueue.isEmpty)
    ends.kernel.chaos.shortagePerMille = 0
    ends.kernel.advance(milliseconds: 30)
    ends.rig.worker.turn()
    let moved = ends.counters.reduce(0, +)
    #expect(moved > 0)
    #expect(moved < 200_000)
    #expect(ends.rig.worker.nextDeadline() <= ends.kernel.time)
    #expect(ends.readAll().bytes.count == 200_000)
    #expect(ends.rig.tearDown() == [])
  }

  @Test(arguments: EndsCase.betweenTCP.filter { !$0.splices })
  func aShortageWhileDiscardingDoesNotKeepTheWorkerBusy(_ one: EndsCase) throws {
    let ends = try EndsRig(one)
    ends.write(2000)
    ends.source.close()
    ends.rig.settle()
    ends.destination.write("one more")
    ends.rig.settle()
    ends.kernel.chaos.shortagePerMille = 1000
    ends.destination.write("discarded")
    ends.kernel.carryAll()
    for _ in 0..<10 { ends.rig.worker.turn() }
    // It would sleep now, until the call is due to be made again.
    #expect(ends.kernel.lastWait.timeoutMilliseconds != 0)
    ends.kernel.chaos.shortagePerMille = 0
    ends.rig.advance(milliseconds: 30)
    #expect(ends.readAll().end == .endOfStream)
    ends.destination.close()
    _ = try ends.takeEnd()
  }
}
