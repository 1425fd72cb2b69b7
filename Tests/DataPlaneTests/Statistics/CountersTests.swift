// SPDX-License-Identifier: Apache-2.0
// Numbers of several workers: nobody's additions are lost or another's, and a reader on another
// thread sees them.

import Reactor
import Testing

@testable import DataPlane

@Suite struct CountersTests {
  @Test func everyWorkerHasItsOwnAndTheSumIsOfAll() {
    let table = CounterTable(counters: 40, workers: 3)
    for worker in 0..<3 {
      for counter in 0..<40 { table.block(of: worker).add(UInt64(worker + counter), to: counter) }
    }
    for counter in 0..<40 {
      #expect(table.sum(counter) == UInt64(3 * counter + 3))
      #expect(table.settledSum(counter) == UInt64(3 * counter + 3))
    }
  }

  @Test func threadsAddWithoutLosingAnythingWhileOthersRead() throws {
    let table = CounterTable(counters: 5, workers: 4)
    let writers = ThreadList()
    for worker in 0..<4 {
      try writers.start("writer-\(worker)") {
        let block = table.block(of: worker)
        for _ in 0..<20_000 {
          block.add(2, to: 1)
          block.publishOne(to: 4)
        }
      }
    }
    var last: UInt64 = 0
    while last < 80_000 {
      let settled = table.settledSum(4)
      #expect(settled >= last)
      // What was added before is seen with it.
      #expect(table.sum(1) >= settled * 2)
      last = settled
    }
    writers.join()
    #expect(table.sum(1) == 160_000)
  }
}

/// Threads that are joined together.
private final class ThreadList {
  private var threads: [Holder] = []

  private final class Holder {
    var thread: LoopThread?

    init(_ thread: consuming LoopThread) { self.thread = consume thread }
  }

  func start(_ name: String, _ body: @escaping @Sendable () -> Void) throws {
    threads.append(Holder(try LoopThread(name: name, body)))
  }

  func join() {
    for holder in threads { holder.thread.take()?.join() }
    threads = []
  }
}
