// SPDX-License-Identifier: Apache-2.0
// When a worker lets bytes gather, and when it must not.

import Reactor
import Testing

@testable import DataPlane

@Suite struct CoalescingTests {
  private func at(_ microseconds: UInt64) -> Instant {
    Instant(nanoseconds: microseconds * 1000)
  }

  private let megabyte: UInt64 = 1_000_000

  @Test func theSleepIsInProportionToWhatWasMoved() {
    var coalescing = Coalescing(nanosecondsMax: 400_000, now: at(0))
    #expect(coalescing.sleepNanoseconds(at: at(0)) == 0)
    // Two gigabytes a second.
    coalescing.note(bytes: 300_000, isBulk: true, at: at(1))
    #expect(coalescing.sleepNanoseconds(at: at(1)) == 150_000)
    coalescing.note(bytes: 300_000, isBulk: true, at: at(2))
    #expect(coalescing.sleepNanoseconds(at: at(2)) == 300_000)
    coalescing.note(bytes: megabyte, isBulk: true, at: at(3))
    #expect(coalescing.sleepNanoseconds(at: at(3)) == 400_000)
    coalescing.noteNothing()
    #expect(coalescing.sleepNanoseconds(at: at(4)) == 0)
  }

  @Test func aSmallWindowIsNotMadeToWait() {
    var coalescing = Coalescing(nanosecondsMax: 1_000_000, now: at(0))
    coalescing.note(bytes: 64 << 10, isBulk: true, at: at(1))
    #expect(coalescing.sleepNanoseconds(at: at(1)) == 0)
  }

  @Test func anExchangeUnderWayIsNotDelayed() {
    var coalescing = Coalescing(nanosecondsMax: 200_000, now: at(0))
    coalescing.note(bytes: megabyte, isBulk: true, at: at(0))
    coalescing.note(bytes: 64, isBulk: false, at: at(10))
    #expect(coalescing.sleepNanoseconds(at: at(10)) == 0)
    coalescing.note(bytes: megabyte, isBulk: true, at: at(900))
    #expect(coalescing.sleepNanoseconds(at: at(900)) == 0)
    #expect(coalescing.sleepNanoseconds(at: at(1010)) == 200_000)
    // What moves nothing says nothing.
    coalescing.note(bytes: 0, isBulk: false, at: at(1010))
    #expect(coalescing.sleepNanoseconds(at: at(1010)) == 200_000)
  }

  @Test func switchedOffItNeverSleeps() {
    var coalescing = Coalescing(nanosecondsMax: 0, now: at(0))
    coalescing.note(bytes: megabyte, isBulk: true, at: at(5000))
    #expect(coalescing.sleepNanoseconds(at: at(5000)) == 0)
  }

  @Test func besideExchangesBulkIsMovedInSmallPieces() {
    var coalescing = Coalescing(nanosecondsMax: 0, now: at(0))
    #expect(coalescing.turnBytes(of: 1 << 20, at: at(0)) == 1 << 20)
    coalescing.note(bytes: megabyte, isBulk: true, at: at(5))
    #expect(coalescing.turnBytes(of: 1 << 20, at: at(5)) == 1 << 20)
    coalescing.noteExchange(at: at(10))
    #expect(coalescing.turnBytes(of: 1 << 20, at: at(10)) == 1 << 17)
    #expect(coalescing.turnBytes(of: 1 << 20, at: at(5009)) == 1 << 17)
    #expect(coalescing.turnBytes(of: 1 << 20, at: at(5010)) == 1 << 20)
  }

  /// How much bulk one turn moves, with an exchange before it or without.
  private func movedInATurn(exchanging: Bool) throws -> Int {
    var plan = RigPlan()
    plan.pipesMax = 4
    let kernel = FakeKernel()
    kernel.socketBytes = 1 << 20
    let rig = try Rig(plan, kernel: kernel)
    let server = rig.kernel.serve(9000, .accepts)
    let bulk = rig.connectClient()
    rig.settle()
    let other = rig.connectClient()
    rig.settle()
    func pushBulk() { _ = bulk.writeSome([UInt8](repeating: 7, count: bulk.room)) }
    func takeAll() { for accepted in server.accepted { _ = accepted.readBytes() } }
    func moved() -> UInt64 { rig.worker.sessions.find(0)?.pointee.upload.bytes ?? 0 }
    pushBulk()
    rig.settle()
    takeAll()
    rig.advance(milliseconds: 10)
    if exchanging {
      other.write("ping")
      rig.settle()
    }
    takeAll()
    pushBulk()
    _ = rig.kernel.carryAll()
    let before = moved()
    rig.worker.turn()
    let count = moved() - before
    #expect(rig.tearDown() == [])
    return Int(count)
  }

  @Test func aMessageWaitsForLessThanAWholeTurnOfBulk() throws {
    let whole = RigPlan().relay.turnBytes
    #expect(try movedInATurn(exchanging: false) >= whole)
    #expect(try (1...whole / 8).contains(movedInATurn(exchanging: true)))
  }

  /// One worker with two sessions, one of them moving bulk. Returns how often it slept meanwhile.
  private func sleeps(exchanging: Bool) throws -> Int {
    var plan = RigPlan()
    plan.pipesMax = 4
    plan.relay.coalesce = .microseconds(200)
    let kernel = FakeKernel()
    kernel.socketBytes = 1 << 20
    let rig = try Rig(plan, kernel: kernel)
    let server = rig.kernel.serve(9000, .accepts)
    let bulk = rig.connectClient()
    let other = rig.connectClient()
    rig.settle()
    // What was accepted counts as an exchange.
    rig.advance(milliseconds: 10)
    let before = rig.kernel.sleepCount
    for _ in 0..<100 {
      _ = bulk.writeSome([UInt8](repeating: 7, count: bulk.room))
      if exchanging { other.write("ping") }
      rig.settle()
      for accepted in server.accepted { _ = accepted.readBytes() }
    }
    #expect(rig.kernel.spliceCount > 0)
    let count = rig.kernel.sleepCount - before
    #expect(rig.tearDown() == [])
    return count
  }

  @Test func aWorkerThatMovesBulkSleeps() throws {
    #expect(try sleeps(exchanging: false) > 0)
  }

  @Test func aWorkerThatAlsoServesAnExchangeDoesNot() throws {
    #expect(try sleeps(exchanging: true) == 0)
  }
}
