// SPDX-License-Identifier: Apache-2.0
// A count whose bound may change under it.

import Glibc
import Reactor
import Synchronization
import Testing

@testable import DataPlane

@Suite struct SessionCountTests {
  @Test func theBoundIsWhateverIsAskedFor() {
    let count = SessionCount()
    #expect(count.take(below: 2))
    #expect(count.take(below: 2))
    #expect(!count.take(below: 2))
    #expect(count.value == 2)
    #expect(count.take(below: 3))
    #expect(!count.take(below: 1))
    #expect(count.value == 3)
    for _ in 0..<3 { count.giveBack() }
    #expect(!count.take(below: 0))
    #expect(count.take(below: 1))
  }

  // MARK: Waiting for the count to be lowered

  @Test func aMarkIsFoundByTheNextOneThatIsGivenBackAndOnlyOnce() {
    let count = SessionCount()
    for _ in 0..<3 { #expect(count.take(below: 3)) }
    #expect(!count.giveBackToAwaited())
    #expect(count.take(below: 3))
    #expect(!count.awaitFree(below: 3))
    #expect(count.giveBackToAwaited())
    #expect(!count.giveBackToAwaited())
    #expect(count.value == 1)
  }

  @Test func aBoundThatIsNotReachedAnyMoreIsSeenAtOnce() {
    let count = SessionCount()
    #expect(count.take(below: 1))
    #expect(!count.awaitFree(below: 1))
    #expect(count.awaitFree(below: 2))
    count.giveBack()
    #expect(count.awaitFree(below: 1))
  }

  /// Either the one that waits sees that there is room, or the one that makes room sees that one waits.
  @Test func noMarkIsMissedBetweenThreads() throws {
    let count = SessionCount()
    let rounds = 20_000
    let (roundBegun, givenBack, notified) = (Number(), Number(), Number())
    let giver = Lock(
      Optional(
        try LoopThread(name: "giver") {
          for round in 1...rounds {
            while roundBegun.value.load(ordering: .acquiring) < round { sched_yield() }
            if count.giveBackToAwaited() { notified.value.store(round, ordering: .relaxed) }
            givenBack.value.store(round, ordering: .releasing)
          }
        }))
    var missed = 0
    for round in 1...rounds {
      #expect(count.take(below: 1))
      roundBegun.value.store(round, ordering: .releasing)
      let isFree = count.awaitFree(below: 1)
      while givenBack.value.load(ordering: .acquiring) < round { sched_yield() }
      if !isFree, notified.value.load(ordering: .relaxed) != round { missed += 1 }
    }
    giver.withLock { $0.take() }?.join()
    #expect(missed == 0)
    #expect(count.value == 0)
  }

  private final class Number: Sendable {
    let value = Atomic<Int>(0)
  }
}
