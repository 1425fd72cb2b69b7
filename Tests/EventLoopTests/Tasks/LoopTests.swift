// SPDX-License-Identifier: Apache-2.0
// Running, stopping, tasks, sleeps, calls: what a loop promises, each with the thread it happens on.

import EventLoop
import Glibc
import Reactor
import Testing

/// A value that tasks of one loop share.
final class Shared<Value>: @unchecked Sendable {
  // SAFETY: one loop's thread uses it, and whoever ran the loop, afterwards.
  var value: Value

  init(_ value: Value) { self.value = value }
}

@Suite struct LoopTests {
  @Test func itRunsUntilComplete() throws {
    let loop = try Loop()
    #expect(try loop.run { 7 } == 7)
    // And again.
    #expect(try loop.run { "done" } == "done")
  }

  @Test func whatTheBodyThrowsIsThrown() throws {
    struct Failure: Error {}
    let loop = try Loop()
    #expect(throws: Failure.self) { try loop.run { throw Failure() } }
  }

  @Test func tasksGroupsAndChildrenStayOnTheThread() throws {
    let loop = try Loop()
    let strangers = Shared(0)
    let own = pthread_self()
    @Sendable func look() async throws {
      if pthread_self() != own { strangers.value += 1 }
      try await loop.sleep(for: .milliseconds(1))
      if pthread_self() != own { strangers.value += 1 }
    }
    let sum = try loop.run {
      async let one: Void = look()
      let sum = try await withThrowingTaskGroup(of: Int.self) { group in
        for number in 0..<50 {
          group.addTask {
            try await look()
            return number
          }
        }
        return try await group.reduce(0, +)
      }
      try await one
      try await loop.spawn(name: "spawned") { try await look() }.value
      return sum
    }
    #expect(sum == 1225)
    #expect(strangers.value == 0)
  }

  @Test func sleepsEndInOrderOfTheirDeadlines() throws {
    let loop = try Loop()
    let order = Shared<[Int]>([])
    try loop.run {
      let start = loop.now
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in [30, 10, 20, 0] {
          group.addTask {
            let deadline = start.advanced(by: UInt64(number) * 1_000_000)
            try await loop.sleep(until: deadline)
            #expect(loop.now >= deadline)
            order.value.append(number)
          }
        }
        try await group.waitForAll()
      }
    }
    #expect(order.value == [0, 10, 20, 30])
  }

  @Test func cancellationEndsASleep() throws {
    let loop = try Loop()
    let error = try loop.run { () -> WaitError? in
      let task = loop.spawn(name: "sleeper") { try await loop.sleep(until: .distantFuture) }
      try await loop.yield()
      task.cancel()
      do {
        try await task.value
        return nil
      } catch let error as WaitError {
        return error
      }
    }
    #expect(error == .cancelled)
  }

  @Test func aTaskThatIsCancelledBeforeItSleepsDoesNotSleep() throws {
    let loop = try Loop()
    let error = try loop.run { () -> WaitError? in
      let task = loop.spawn(name: "sleeper") { () -> WaitError? in
        withUnsafeCurrentTask { $0?.cancel() }
        do throws(WaitError) {
          try await loop.sleep(until: .distantFuture)
          return nil
        } catch {
          return error
        }
      }
      return try await task.value
    }
    #expect(error == .cancelled)
  }

  @Test func whatIsLeftWhenTheBodyEndsIsCancelledAndWaitedFor() throws {
    let loop = try Loop()
    let ended = Shared(0)
    try loop.run {
      for number in 0..<10 {
        loop.spawn(name: "left \(number)") {
          defer { ended.value += 1 }
          try await loop.sleep(until: .distantFuture)
        }
      }
      try await loop.yield()
    }
    #expect(ended.value == 10)
  }

  @Test func stopEndsALoopThatRunsForever() throws {
    let loop = try Loop()
    let ended = Shared(false)
    loop.spawn(name: "waiter") {
      defer { ended.value = true }
      try await loop.sleep(until: .distantFuture)
    }
    let stopper = try LoopThread(name: "stopper") { loop.stop() }
    loop.runForever()
    stopper.join()
    #expect(ended.value)
  }

  @Test func callsFromOtherThreadsComeInTheirOrder() throws {
    let loop = try Loop()
    let seen = Shared<[Int]>([])
    let caller = try LoopThread(name: "caller") {
      for number in 0..<1000 { loop.call(name: "note") { seen.value.append(number) } }
      loop.stop()
    }
    loop.runForever()
    caller.join()
    #expect(seen.value == Array(0..<1000))
  }

  @Test func whatIsCalledInTheLastTurnIsCalled() throws {
    let loop = try Loop()
    let calls = Shared<[String]>([])
    try loop.run {
      loop.call(name: "last") {
        calls.value.append("last")
        loop.call(name: "later") { calls.value.append("later") }
      }
    }
    #expect(calls.value == ["last", "later"])
  }

  @Test func aScheduledCallIsMadeOnceAndNotWhenCancelled() throws {
    let loop = try Loop()
    let calls = Shared<[String]>([])
    try loop.run {
      let soon = loop.now.advanced(by: 2_000_000)
      loop.call(at: soon, name: "made") { calls.value.append("made") }
      let cancelled = loop.call(at: soon, name: "cancelled") { calls.value.append("cancelled") }
      cancelled.cancel()
      try await loop.sleep(for: .milliseconds(10))
      cancelled.cancel()
    }
    #expect(calls.value == ["made"])
  }

  @Test func aCancelledCallMayHoldTheLastReferenceToWhatUsesTheLoop() throws {
    let loop = try Loop()
    try loop.run {
      func schedule() throws -> ScheduledCall {
        let (one, other) = try Stream.pair()
        return loop.call(at: loop.now.advanced(by: 3_600_000_000_000), name: "abort") {
          one.abort()
          other.abort()
        }
      }
      let call = try schedule()
      #expect(loop.listing.descriptors.count == 2)
      call.cancel()
      #expect(loop.listing.descriptors == [])
    }
  }

  @Test func yieldingLetsWhatIsReadyRun() throws {
    let loop = try Loop()
    let order = Shared<[String]>([])
    try loop.run {
      loop.spawn(name: "other") { order.value.append("other") }
      loop.call(name: "call") { order.value.append("call") }
      try await loop.yield()
      order.value.append("main")
    }
    #expect(Set(order.value.prefix(2)) == ["other", "call"])
    #expect(order.value.last == "main")
  }

  @Test func aDeadlineAroundAnythingCancelsIt() throws {
    struct Failure: Error {}
    let loop = try Loop()
    let ended = Shared(false)
    try loop.run {
      let late = loop.now.advanced(by: 3_600_000_000_000)
      #expect(try await loop.withDeadline(late) { 7 } == 7)
      await #expect(throws: Failure.self) { try await loop.withDeadline(late) { throw Failure() } }
      await #expect(throws: WaitError.deadlinePassed) {
        try await loop.withDeadline(loop.now.advanced(by: 2_000_000)) {
          defer { ended.value = true }
          try await loop.sleep(until: .distantFuture)
        }
      }
      #expect(ended.value)
      let task = loop.spawn(name: "cancelled") {
        try await loop.withDeadline(late) { try await loop.sleep(until: late) }
      }
      try await loop.yield()
      task.cancel()
      await #expect(throws: WaitError.cancelled) { try await task.value }
      #expect(loop.listing.waits == [])
    }
  }

  @Test func severalLoopsRunBesideEachOther() throws {
    let one = try Loop(LoopOptions(name: "one"))
    let other = try Loop(LoopOptions(name: "other"))
    let thread = try LoopThread(name: "other") { other.runForever() }
    let names = try one.run { () -> [String?] in
      let there = try await other.spawn(name: "there") { Loop.current?.name }.value
      return [Loop.current?.name, there]
    }
    other.stop()
    thread.join()
    #expect(names == ["one", "other"])
    #expect(Loop.current == nil)
  }

  @Test func aLoopThatSpinsServesTheSame() throws {
    let loop = try Loop(LoopOptions(spin: .microseconds(100)))
    try loop.run { for _ in 0..<20 { try await loop.sleep(for: .milliseconds(1)) } }
  }

  @Test func tenThousandTasksSleepAndAreCancelledAtRandom() throws {
    let loop = try Loop()
    let ends = Shared((slept: 0, cancelled: 0))
    try loop.run {
      let tasks = (0..<10_000).map { number in
        loop.spawn(name: "task \(number)") {
          do throws(WaitError) {
            for _ in 0..<3 { try await loop.sleep(for: .milliseconds(number * 7919 % 20)) }
            ends.value.slept += 1
          } catch {
            ends.value.cancelled += 1
          }
        }
      }
      try await loop.yield()
      for (number, task) in tasks.enumerated() where number % 3 == 0 { task.cancel() }
      for task in tasks { try await task.value }
      #expect(loop.listing.tasks == ["main"])
      #expect(loop.listing.waits == [])
    }
    #expect(ends.value.slept + ends.value.cancelled == 10_000)
    #expect(ends.value.cancelled > 0)
    #expect(ends.value.slept > 0)
  }

  @Test func manyTimersAreSetAndCancelled() throws {
    let loop = try Loop()
    try loop.run {
      let late = loop.now.advanced(by: 3_600_000_000_000)
      var calls: [ScheduledCall] = []
      for number in 0..<100_000 {
        calls.append(
          loop.call(at: late.advanced(by: UInt64(number) * 1000), name: "never") {
            Issue.record("a cancelled call was made")
          })
      }
      #expect(loop.listing.waits.count == 100_000)
      for call in calls { call.cancel() }
      #expect(loop.listing.waits == [])
    }
  }
}
