// SPDX-License-Identifier: Apache-2.0
// Events: set, cleared, waited for.

import EventLoop
import Reactor
import Testing

@Suite struct EventTests {
  @Test func whatHasHappenedIsNotWaitedFor() throws {
    let loop = try Loop()
    let event = Event(isSet: true)
    #expect(event.isSet)
    try loop.run { try await event.wait() }
  }

  @Test func settingLetsAllWhoWaitGoOnInTheirOrder() throws {
    let loop = try Loop()
    let event = Event()
    let order = Shared<[Int]>([])
    try loop.run {
      let tasks = (0..<100).map { number in
        loop.spawn(name: "waiter \(number)") {
          try await event.wait()
          order.value.append(number)
        }
      }
      while loop.listing.waits.count(where: { $0.what == "event" }) < 100 {
        try await loop.yield()
      }
      #expect(order.value == [])
      event.set()
      // Those who wait go on all the same.
      event.clear()
      for task in tasks { try await task.value }
      #expect(!event.isSet)
    }
    #expect(order.value == Array(0..<100))
  }

  @Test func anyThreadMaySet() throws {
    let loop = try Loop()
    let event = Event()
    try loop.run {
      let setter = try LoopThread(name: "setter") { event.set() }
      try await event.wait()
      setter.join()
    }
    #expect(event.isSet)
  }

  @Test func tasksOfTwoLoopsMayWait() throws {
    let one = try Loop(LoopOptions(name: "one"))
    let other = try Loop(LoopOptions(name: "other"))
    let event = Event()
    let thread = try LoopThread(name: "other") { other.runForever() }
    try one.run {
      let there = other.spawn(name: "there") { try await event.wait() }
      let here = one.spawn(name: "here") { try await event.wait() }
      event.set()
      try await there.value
      try await here.value
    }
    other.stop()
    thread.join()
  }

  @Test func cancellationEndsTheWait() throws {
    let loop = try Loop()
    let event = Event()
    try loop.run {
      let task = loop.spawn(name: "waiter") { try await event.wait() }
      try await loop.yield()
      task.cancel()
      await #expect(throws: WaitError.cancelled) { try await task.value }
      // It is forgotten: this wakes nobody.
      event.set()
    }
  }

  @Test func aDeadlineEndsTheWait() throws {
    let loop = try Loop()
    let event = Event()
    try loop.run {
      await #expect(throws: WaitError.deadlinePassed) {
        try await event.wait(until: loop.now.advanced(by: 2_000_000))
      }
      // A second wait is one of its own.
      loop.call(name: "set") { event.set() }
      try await event.wait()
    }
  }
}
