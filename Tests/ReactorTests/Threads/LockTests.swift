// SPDX-License-Identifier: Apache-2.0
// The lock under contention, and when what it guards throws.

import Reactor
import Testing

@Suite struct LockTests {
  private struct Failure: Error {}
  private final class Shared: Sendable {
    let count = Lock(0)
  }

  @Test func noUpdateIsLost() throws {
    let shared = Shared()
    let other = try LoopThread(name: "other") {
      for _ in 0..<20_000 { shared.count.withLock { $0 += 1 } }
    }
    for _ in 0..<20_000 { shared.count.withLock { $0 += 1 } }
    other.join()
    #expect(shared.count.withLock { $0 } == 40_000)
  }

  @Test func anErrorLeavesItUnlocked() {
    let shared = Shared()
    #expect(throws: Failure.self) { try shared.count.withLock { _ in throw Failure() } }
    #expect(shared.count.withLock { $0 } == 0)
  }
}
