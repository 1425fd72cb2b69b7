// SPDX-License-Identifier: Apache-2.0
// When a worker lets bytes gather, and when it must not.

import Reactor
import Testing

@testable import DataPlane

@Suite struct CoalescingTests {
  private func at(_ microseconds: UInt64) -> Instant {
    Instant(nanoseconds: microseconds * 1000)
  }

  @Test func onlyBulkMayGather() {
    var coalescing = Coalescing(nanoseconds: 200_000, now: at(0))
    #expect(coalescing.sleepNanoseconds(at: at(0)) == 0)
    coalescing.note(bytes: 1 << 20, isBulk: true, at: at(1))
    #expect(coalescing.sleepNanoseconds(at: at(1)) == 200_000)
    // What moves nothing says nothing.
    coalescing.note(bytes: 0, isBulk: false, at: at(2))
    #expect(coalescing.sleepNanoseconds(at: at(2)) == 200_000)
  }

  @Test func anExchangeUnderWayIsNotDelayed() {
    var coalescing = Coalescing(nanoseconds: 200_000, now: at(0))
    coalescing.note(bytes: 1 << 20, isBulk: true, at: at(0))
    coalescing.note(bytes: 64, isBulk: false, at: at(10))
    #expect(coalescing.sleepNanoseconds(at: at(10)) == 0)
    coalescing.note(bytes: 1 << 20, isBulk: true, at: at(900))
    #expect(coalescing.sleepNanoseconds(at: at(900)) == 0)
    #expect(coalescing.sleepNanoseconds(at: at(1010)) == 200_000)
  }

  @Test func switchedOffItNeverSleeps() {
    var coalescing = Coalescing(nanoseconds: 0, now: at(0))
    coalescing.note(bytes: 1 << 20, isBulk: true, at: at(5000))
    #expect(coalescing.sleepNanoseconds(at: at(5000)) == 0)
  }

  /// One worker with two sessions, one of them moving bulk. Returns how often it slept meanwhile.
  private func sleeps(exchanging: Bool) throws -> Int {
    var plan = RigPlan()
    plan.pipesMax = 4
    plan.relay.coalesce = .microseconds(200)
    let rig = try Rig(plan)
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
