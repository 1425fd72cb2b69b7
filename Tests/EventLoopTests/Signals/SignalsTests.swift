// SPDX-License-Identifier: Apache-2.0
// Signals that are read. The test's process has threads that block nothing, so each test has a thread
// of its own, and sends its signals to that alone.

import EventLoop
import Glibc
import Reactor
import Testing

/// Runs `body` as the task of a loop on a thread of its own that blocks the signals. Blocks.
private func run<Success: Sendable>(
  blocking signals: [SignalNumber], _ body: @escaping @Sendable (Loop) async throws -> Success
) throws -> Success {
  let result = Shared<Result<Success, any Error>?>(nil)
  let thread = try LoopThread(name: "signals") {
    SignalNumber.block(signals)
    result.value = Result {
      let loop = try Loop()
      return try loop.run { try await body(loop) }
    }
  }
  thread.join()
  return try #require(result.value).get()
}

@Suite struct SignalsTests {
  @Test func signalsComeAsElements() throws {
    let seen = try run(blocking: [.user1, .user2]) { loop in
      // One has come before anybody asks.
      pthread_kill(pthread_self(), SIGUSR1)
      let signals = try loop.signals([.user1, .user2])
      loop.call(at: loop.now.advanced(by: 2_000_000), name: "send") {
        pthread_kill(pthread_self(), SIGUSR2)
      }
      var seen: [SignalNumber] = []
      for await signal in signals {
        seen.append(signal)
        if seen.count == 2 { break }
      }
      return seen
    }
    #expect(seen == [.user1, .user2])
  }

  @Test func cancellationEndsTheSequence() throws {
    let count = try run(blocking: [.user1]) { loop in
      let signals = try loop.signals([.user1])
      let task = loop.spawn(name: "reader") {
        var count = 0
        for await _ in signals { count += 1 }
        return count
      }
      try await loop.yield()
      task.cancel()
      return try await task.value
    }
    #expect(count == 0)
  }

  @Test func theEndOfTheLoopEndsTheSequence() throws {
    let ended = Shared(false)
    try run(blocking: [.user1]) { loop in
      let signals = try loop.signals([.user1])
      loop.spawn(name: "reader") {
        for await _ in signals {}
        ended.value = true
      }
      try await loop.yield()
    }
    #expect(ended.value)
  }

  @Test func closingEndsTheSequenceForWhoeverWaits() throws {
    let listings = try run(blocking: [.user1]) { loop in
      let signals = try loop.signals([.user1])
      let task = loop.spawn(name: "reader") { for await _ in signals {} }
      try await loop.yield()
      let before = loop.listing
      signals.close()
      try await task.value
      for await _ in signals {}
      return (before, loop.listing)
    }
    #expect(listings.0.descriptors.map(\.what) == ["signals"])
    #expect(listings.0.descriptors.map(\.reader) == ["reader"])
    #expect(listings.0.waits.map(\.what).contains("signal"))
    #expect(listings.1.descriptors == [])
  }

  @Test func aSequenceThatNobodyHoldsIsClosed() throws {
    let descriptors = try run(blocking: [.user1]) { loop in
      _ = try loop.signals([.user1])
      return loop.listing.descriptors
    }
    #expect(descriptors == [])
  }

  @Test func aBoundOfDescriptorsIsKept() throws {
    let error = Shared<Errno?>(nil)
    let thread = try LoopThread(name: "signals") {
      SignalNumber.block([.user1])
      do {
        let loop = try Loop(LoopOptions(descriptorsMax: 1))
        try loop.run {
          let first = try loop.signals([.user1])
          do throws(Errno) {
            _ = try loop.signals([.user1])
          } catch let failure {
            error.value = failure
          }
          first.close()
          _ = try loop.signals([.user1])
        }
      } catch let failure {
        error.value = failure as? Errno
      }
    }
    thread.join()
    #expect(error.value == .tooManyOpenFiles)
  }
}
