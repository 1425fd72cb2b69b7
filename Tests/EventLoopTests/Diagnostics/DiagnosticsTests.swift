// SPDX-License-Identifier: Apache-2.0
// What a loop tells of itself.

import EventLoop
import Glibc
import Reactor
import Testing

@Suite struct DiagnosticsTests {
  /// Keeps the thread busy until the clock has moved on by so much.
  @Sendable private static func waste(_ nanoseconds: UInt64) {
    let kernel = LinuxKernel()
    let end = kernel.now().advanced(by: nanoseconds)
    while kernel.now() < end {}
  }

  @Test func slowStepsAreToldByName() throws {
    let slow = Shared<[SlowStep]>([])
    let loop = try Loop(
      LoopOptions(name: "tested", slowThreshold: .milliseconds(50)) { slow.value.append($0) })
    try loop.run {
      try await loop.spawn(name: "slow to its sleep") {
        Self.waste(60_000_000)
        try await loop.sleep(for: .milliseconds(1))
      }.value
      try await loop.spawn(name: "slow to its end") { Self.waste(60_000_000) }.value
      loop.call(name: "slow call") { Self.waste(60_000_000) }
      loop.call(at: loop.now, name: "slow timer") { Self.waste(60_000_000) }
      try await loop.sleep(for: .milliseconds(5))
    }
    let names = Set(slow.value.map(\.name))
    #expect(
      names.isSuperset(of: ["slow to its sleep", "slow to its end", "slow call", "slow timer"]))
    #expect(slow.value.allSatisfy { $0.duration >= .milliseconds(50) && $0.loop == "tested" })
  }

  @Test func theListingNamesTasksAndWhatTheyWaitFor() throws {
    let loop = try Loop()
    try loop.run {
      let deadline = loop.now.advanced(by: 3_600_000_000_000)
      loop.spawn(name: "sleeper") { try await loop.sleep(until: deadline) }
      loop.call(at: deadline, name: "later") {}
      try await loop.yield()
      let listing = loop.listing
      #expect(listing.tasks == ["main", "sleeper"])
      #expect(Set(listing.waits.map(\.name)) == ["sleeper", "later"])
      #expect(Set(listing.waits.map(\.what)) == ["sleep", "call"])
      for wait in listing.waits {
        let told = try #require(wait.deadline)
        #expect(told >= deadline)
        #expect(told.nanoseconds(since: deadline) < 1_000_000)
      }
    }
  }

  @Test func everyTurnIsCounted() throws {
    let loop = try Loop()
    let lag = try loop.run {
      for _ in 0..<10 { try await loop.sleep(for: .milliseconds(1)) }
      Self.waste(20_000_000)
      try await loop.yield()
      return loop.lag
    }
    #expect(lag.count >= 10)
    #expect(lag.buckets.reduce(0, +) == lag.count)
    let longest = try #require(lag.bound(of: 1))
    #expect(longest >= .milliseconds(20))
  }
}
