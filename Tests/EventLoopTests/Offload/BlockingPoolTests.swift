// SPDX-License-Identifier: Apache-2.0
// Blocking work: it leaves the loop, comes back, and is bounded.

import EventLoop
import Glibc
import Reactor
import Testing

/// Holds threads until it is opened.
private final class Gate: Sendable {
  private let ends: (CInt, CInt)

  init() {
    var ends: [CInt] = [-1, -1]
    let result = pipe(&ends)
    precondition(result == 0)
    self.ends = (ends[0], ends[1])
  }

  deinit {
    close(ends.0)
    close(ends.1)
  }

  /// Blocks until the gate has been opened once for each that passes.
  @Sendable func pass() {
    var byte: UInt8 = 0
    _ = read(ends.0, &byte, 1)
  }

  func open(_ count: Int) {
    for _ in 0..<count {
      var byte: UInt8 = 1
      _ = write(ends.1, &byte, 1)
    }
  }
}

/// What several threads note.
private final class Notes: Sendable {
  private let numbers = Lock<Set<UInt>>([])

  var count: Int { numbers.withLock { $0.count } }

  @Sendable func noteThread() {
    let number = UInt(pthread_self())
    numbers.withLock { numbers in _ = numbers.insert(number) }
  }
}

@Suite struct BlockingPoolTests {
  @Test func workLeavesTheLoopAndComesBack() throws {
    let pool = BlockingPool(name: "pool", threadsMax: 2)
    let own = pthread_self()
    let loop = try Loop()
    let (there, here) = try loop.run {
      let there = try await pool.run { pthread_self() == own }
      return (there, pthread_self() == own)
    }
    #expect(!there)
    #expect(here)
  }

  @Test func whatTheWorkThrowsIsThrown() throws {
    struct Failure: Error {}
    let pool = BlockingPool(name: "pool", threadsMax: 1)
    let loop = try Loop()
    #expect(throws: Failure.self) { try loop.run { try await pool.run { throw Failure() } } }
  }

  @Test func theLoopGoesOnMeanwhile() throws {
    let pool = BlockingPool(name: "pool", threadsMax: 1)
    let gate = Gate()
    let loop = try Loop()
    try loop.run {
      let blocked = loop.spawn(name: "blocked") { try await pool.run { gate.pass() } }
      for _ in 0..<5 { try await loop.sleep(for: .milliseconds(1)) }
      #expect(loop.listing.waits.contains { $0.name == "blocked" && $0.what == "offload to pool" })
      gate.open(1)
      try await blocked.value
    }
  }

  @Test func allThreadsAreUsedAndNoMore() throws {
    let pool = BlockingPool(name: "pool", threadsMax: 3)
    let gate = Gate()
    let threads = Notes()
    let loop = try Loop()
    try loop.run {
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<12 {
          group.addTask {
            try await pool.run {
              threads.noteThread()
              gate.pass()
            }
          }
        }
        group.addTask {
          // The first three are all inside before one may leave.
          while threads.count < 3 { try await loop.sleep(for: .milliseconds(1)) }
          gate.open(12)
        }
        try await group.waitForAll()
      }
    }
    #expect(threads.count == 3)
  }

  @Test func aFullPoolRefuses() throws {
    let pool = BlockingPool(name: "pool", threadsMax: 1, waitingMax: 1)
    let gate = Gate()
    let begins = Notes()
    let loop = try Loop()
    try loop.run {
      let taken = (0..<2).map { number in
        loop.spawn(name: "taken \(number)") {
          try await pool.run {
            begins.noteThread()
            gate.pass()
          }
        }
      }
      // The first leaves the queue when its thread begins.
      while begins.count == 0 { try await loop.sleep(for: .milliseconds(1)) }
      await #expect(throws: BlockingPoolError.full) { try await pool.run {} }
      gate.open(2)
      for task in taken { try await task.value }
      // There is room again.
      try await pool.run {}
    }
  }

  @Test func aTaskThatIsCancelledDoesNotWaitForItsWork() throws {
    let pool = BlockingPool(name: "pool", threadsMax: 1)
    let gate = Gate()
    let begins = Notes()
    let runs = Notes()
    let loop = try Loop()
    try loop.run {
      let begun = loop.spawn(name: "begun") {
        try await pool.run {
          begins.noteThread()
          gate.pass()
        }
      }
      let waiting = loop.spawn(name: "waiting") {
        try await pool.run { runs.noteThread() }
      }
      while begins.count == 0 { try await loop.sleep(for: .milliseconds(1)) }
      begun.cancel()
      waiting.cancel()
      await #expect(throws: WaitError.cancelled) { try await begun.value }
      await #expect(throws: WaitError.cancelled) { try await waiting.value }
      gate.open(1)
      // What comes after goes on where the abandoned work was.
      try await pool.run {}
    }
    #expect(runs.count == 0)
  }

  @Test func aDeadlineEndsTheWait() throws {
    let pool = BlockingPool(name: "pool", threadsMax: 1)
    let gate = Gate()
    let loop = try Loop()
    try loop.run {
      let deadline = loop.now.advanced(by: 2_000_000)
      await #expect(throws: WaitError.deadlinePassed) {
        try await pool.run(until: deadline) { gate.pass() }
      }
      gate.open(1)
    }
  }

  @Test func closingRefusesWhoeverWaitsForAThread() throws {
    let pool = BlockingPool(name: "pool", threadsMax: 1)
    let gate = Gate()
    let begins = Notes()
    let loop = try Loop()
    try loop.run {
      let begun = loop.spawn(name: "begun") {
        try await pool.run {
          begins.noteThread()
          gate.pass()
        }
      }
      while begins.count == 0 { try await loop.sleep(for: .milliseconds(1)) }
      let waiting = loop.spawn(name: "waiting") { try await pool.run {} }
      while !loop.listing.waits.contains(where: { $0.name == "waiting" }) {
        try await loop.yield()
      }
      pool.close()
      await #expect(throws: BlockingPoolError.closed) { try await waiting.value }
      gate.open(1)
      try await begun.value
    }
  }

  @Test func aClosedPoolRefuses() throws {
    let pool = BlockingPool(name: "pool", threadsMax: 1)
    pool.close()
    let loop = try Loop()
    #expect(throws: BlockingPoolError.closed) { try loop.run { try await pool.run {} } }
  }
}
