// SPDX-License-Identifier: Apache-2.0
// The wheel against a model that is too simple to be wrong, also where the levels turn over.

import Balancing
import Reactor
import Testing

@Suite struct TimerWheelTests {
  private static let tick: UInt64 = 1_000_000

  private func instant(_ tick: UInt64) -> Instant {
    Instant(nanoseconds: tick * TimerWheelTests.tick)
  }

  /// All that is due, by the wheel; stops when there is more than there can be.
  private func popAll(_ wheel: inout TimerWheel, _ now: Instant) -> [Int] {
    var popped: [Int] = []
    while popped.count <= wheel.capacity, let index = wheel.popDue(at: now) { popped.append(index) }
    return popped
  }

  @Test(arguments: [0, 1 << 20, (1 << 36) - 70_000, (1 << 36) - 1, (5 << 36) - 3] as [UInt64])
  func itDoesWhatTheModelDoes(_ start: UInt64) throws {
    for seed in 0..<60 as Range<UInt64> {
      var random = SplitMix64(seed: seed)
      var now = start * TimerWheelTests.tick
      var wheel = try TimerWheel(capacity: 50, now: Instant(nanoseconds: now))
      var model: [Int: UInt64] = [:]
      for _ in 0..<500 {
        let index = Int(random.next(below: 50))
        switch random.next(below: 8) {
        case 0...3:
          let distance = random.next(below: 1 << random.next(below: 62))
          let deadline =
            random.next(below: 10) == 0 ? now - min(now, distance) : now + distance
          wheel.schedule(index, at: Instant(nanoseconds: deadline))
          model[index] = (deadline + TimerWheelTests.tick - 1) / TimerWheelTests.tick
        case 4:
          wheel.cancel(index)
          model[index] = nil
        default:
          now += random.next(below: 1 << random.next(below: 57))
          let due = Set(model.filter { $0.value <= now / TimerWheelTests.tick }.keys)
          let popped = popAll(&wheel, Instant(nanoseconds: now))
          #expect(popped.count == due.count, "seed \(seed)")
          #expect(Set(popped) == due, "seed \(seed)")
          for index in due { model[index] = nil }
        }
        let count = wheel.count
        #expect(count == model.count, "seed \(seed)")
        let isScheduled = wheel.isScheduled(index)
        #expect(isScheduled == (model[index] != nil), "seed \(seed)")
        if let first = model.values.min() {
          let next = wheel.nextDeadline()?.nanoseconds ?? .max
          #expect(next <= max(now, first * TimerWheelTests.tick), "late, seed \(seed)")
        } else {
          let next = wheel.nextDeadline()
          #expect(next == nil, "seed \(seed)")
        }
      }
    }
  }

  @Test func aTimerAcrossTheTurnOverIsNotEarly() throws {
    let last: UInt64 = (1 << 36) - 1
    var wheel = try TimerWheel(capacity: 4, now: instant(last - 10))
    wheel.schedule(1, at: instant(last + 60_000))
    for tick in [last - 1, last, last + 1, last + 59_999] {
      let early = wheel.popDue(at: instant(tick))
      #expect(early == nil)
    }
    let due = wheel.popDue(at: instant(last + 60_000))
    #expect(due == 1)
  }

  @Test func noDeadlineAtAllIsKeptForEver() throws {
    var wheel = try TimerWheel(capacity: 2, now: instant(5))
    wheel.schedule(0, at: .distantFuture)
    let early = wheel.popDue(at: instant(1 << 43))
    #expect(early == nil)
    let isScheduled = wheel.isScheduled(0)
    #expect(isScheduled)
  }

  @Test func aMillionTimersAreSetAndCancelled() throws {
    var wheel = try TimerWheel(capacity: 1_000_000, now: instant(7))
    for index in 0..<1_000_000 { wheel.schedule(index, at: instant(7 + UInt64(index) % 90_000)) }
    let scheduled = wheel.count
    #expect(scheduled == 1_000_000)
    for index in 0..<1_000_000 { wheel.cancel(index) }
    let left = wheel.count
    #expect(left == 0)
    let next = wheel.nextDeadline()
    #expect(next == nil)
  }
}
