// SPDX-License-Identifier: Apache-2.0
// Queues: in order, bounded, finished, and nothing lost when waits end early.

import EventLoop
import Reactor
import Testing

@Suite struct QueueTests {
  @Test func elementsComeInTheirOrderAndWhoIsTooFastWaits() throws {
    let loop = try Loop()
    let queue = Queue<Int>(capacity: 3)
    let taken = try loop.run { () -> [Int] in
      let maker = loop.spawn(name: "maker") {
        for number in 0..<100 { try await queue.put(number) }
        queue.finish()
      }
      try await loop.waitUntil("maker", waitsFor: "queue has room")
      #expect(queue.count == 3)
      var taken: [Int] = []
      for await number in queue { taken.append(number) }
      try await maker.value
      return taken
    }
    #expect(taken == Array(0..<100))
  }

  @Test func withoutWaiting() throws {
    let queue = Queue<String>(capacity: 1)
    #expect(try queue.takeNow() == nil)
    #expect(try queue.putNow("a"))
    #expect(try !queue.putNow("b"))
    #expect(try queue.takeNow() == "a")
    #expect(try queue.putNow("c"))
    queue.finish()
    #expect(throws: QueueError.finished) { try queue.putNow("d") }
    #expect(try queue.takeNow() == "c")
    #expect(throws: QueueError.finished) { try queue.takeNow() }
  }

  @Test func finishingEndsEveryWait() throws {
    let loop = try Loop()
    try loop.run {
      let empty = Queue<Int>(capacity: 1)
      let full = Queue<Int>(capacity: 1)
      _ = try full.putNow(1)
      let taker = loop.spawn(name: "taker") { try await empty.take() }
      let maker = loop.spawn(name: "maker") { try await full.put(2) }
      try await loop.waitUntil("taker", waitsFor: "queue has an element")
      try await loop.waitUntil("maker", waitsFor: "queue has room")
      empty.finish()
      full.finish()
      await #expect(throws: QueueError.finished) { try await taker.value }
      await #expect(throws: QueueError.finished) { try await maker.value }
    }
  }

  @Test func deadlinesAndCancellationEndWaits() throws {
    let loop = try Loop()
    try loop.run {
      let queue = Queue<Int>(capacity: 1)
      await #expect(throws: QueueError.deadlinePassed) { try await queue.take(until: loop.soon) }
      let taker = loop.spawn(name: "taker") { try await queue.take() }
      let reader = loop.spawn(name: "reader") { for await _ in queue {} }
      try await loop.waitUntil("reader", waitsFor: "queue has an element")
      taker.cancel()
      await #expect(throws: QueueError.cancelled) { try await taker.value }
      reader.cancel()
      try await reader.value
      // Nobody waits any more: it stays.
      try await queue.put(1)
      #expect(queue.count == 1)
    }
  }

  @Test func aTakerThatIsWokenAndCancelledPassesItOn() throws {
    let loop = try Loop()
    try loop.run {
      let queue = Queue<Int>(capacity: 1)
      let first = loop.spawn(name: "first") { try await queue.take() }
      let second = loop.spawn(name: "second") { try await queue.take() }
      try await loop.waitUntil("second", waitsFor: "queue has an element")
      first.cancel()
      try LoopThread(name: "maker") { _ = try? queue.putNow(7) }.join()
      await #expect(throws: QueueError.cancelled) { try await first.value }
      #expect(try await second.value == 7)
    }
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>)
  func betweenTwoLoopsNothingIsLostWhereTakersAreCancelled(seed: UInt64) throws {
    let one = try Loop(LoopOptions(name: "one"))
    let other = try Loop(LoopOptions(name: "other"))
    let thread = try LoopThread(name: "other") { other.runForever() }
    let queue = Queue<Int>(capacity: 4)
    let sum = Lock(0)
    try one.run {
      var numbers = Numbers(state: seed)
      let maker = other.spawn(name: "maker") {
        for number in 1...1000 { try await queue.put(number) }
        queue.finish()
      }
      let takers = (0..<20).map { number in
        (number % 2 == 0 ? one : other).spawn(name: "taker \(number)") {
          for await number in queue {
            sum.withLock { $0 += number }
            try await Loop.current?.yield()
          }
        }
      }
      for taker in takers.dropFirst() where Bool.random(using: &numbers) {
        try await one.yield()
        taker.cancel()
      }
      for taker in takers { _ = try? await taker.value }
      try await maker.value
    }
    other.stop()
    thread.join()
    #expect(sum.withLock { $0 } == 500_500)
  }
}
