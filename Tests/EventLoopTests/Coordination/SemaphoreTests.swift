// SPDX-License-Identifier: Apache-2.0
// Permits: never more at once, in turn, and none lost.

import EventLoop
import Reactor
import Testing

@Suite struct SemaphoreTests {
  @Test func noMoreThanThatAtOnceAndInTurn() throws {
    let loop = try Loop()
    let semaphore = Semaphore(3)
    let order = Shared<[Int]>([])
    let inside = Shared((now: 0, most: 0))
    try loop.run {
      let tasks = (0..<20).map { number in
        loop.spawn(name: "task \(number)") {
          try await semaphore.withPermit {
            order.value.append(number)
            inside.value.now += 1
            inside.value.most = max(inside.value.most, inside.value.now)
            try await loop.sleep(for: .milliseconds(1))
            inside.value.now -= 1
          }
        }
      }
      for task in tasks { try await task.value }
    }
    #expect(order.value == Array(0..<20))
    #expect(inside.value.most == 3)
    #expect(semaphore.available == 3)
  }

  @Test func whatFailsGivesItsPermitBack() throws {
    struct Failure: Error {}
    let semaphore = Semaphore(1)
    #expect(throws: Failure.self) {
      try Loop().run { try await semaphore.withPermit { throw Failure() } }
    }
    #expect(semaphore.available == 1)
  }

  @Test func aWaitThatEndsEarlyLosesNoPermit() throws {
    let loop = try Loop()
    let semaphore = Semaphore(1)
    try loop.run {
      try await semaphore.acquire()
      await #expect(throws: WaitError.deadlinePassed) {
        try await semaphore.acquire(until: loop.soon)
      }
      let first = loop.spawn(name: "first") { try await semaphore.acquire() }
      let second = loop.spawn(name: "second") { try await semaphore.acquire() }
      try await loop.waitUntil("second", waitsFor: "semaphore")
      // Handed, by another thread, to the first, which was cancelled in that moment: goes on to the second.
      first.cancel()
      try LoopThread(name: "giver") { semaphore.release() }.join()
      await #expect(throws: WaitError.cancelled) { try await first.value }
      try await second.value
      #expect(semaphore.available == 0)
      semaphore.release()
    }
    #expect(semaphore.available == 1)
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>)
  func twoLoopsAndCancellationKeepTheirNumber(seed: UInt64) throws {
    let one = try Loop(LoopOptions(name: "one"))
    let other = try Loop(LoopOptions(name: "other"))
    let thread = try LoopThread(name: "other") { other.runForever() }
    let semaphore = Semaphore(2)
    try one.run {
      var numbers = Numbers(state: seed)
      let tasks = (0..<200).map { number in
        (number % 2 == 0 ? one : other).spawn(name: "task \(number)") {
          try await semaphore.withPermit { try await Loop.current?.yield() }
        }
      }
      for task in tasks where Int.random(in: 0..<3, using: &numbers) == 0 {
        try await one.yield()
        task.cancel()
      }
      for task in tasks { _ = try? await task.value }
    }
    other.stop()
    thread.join()
    #expect(semaphore.available == 2)
  }
}
