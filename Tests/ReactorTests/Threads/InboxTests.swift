// SPDX-License-Identifier: Apache-2.0
// The inbox between real threads: nothing lost, order per sender, and a bell only for sleepers.

import Reactor
import Synchronization
import Testing

@Suite struct InboxTests {
  private final class Count: Sendable {
    let value = Atomic<Int>(0)
  }

  @Test func theBellRingsOnceAndOnlyForASleeper() {
    let rings = Count()
    let inbox = Inbox<Int>(messagesMax: 10) { rings.value.add(1, ordering: .relaxed) }
    #expect(inbox.post(1))
    #expect(rings.value.load(ordering: .relaxed) == 0)
    #expect(!inbox.prepareToSleep())
    var messages: [Int] = []
    inbox.drain(into: &messages)
    #expect(messages == [1])
    #expect(inbox.prepareToSleep())
    #expect(inbox.post(2))
    #expect(inbox.post(3))
    #expect(rings.value.load(ordering: .relaxed) == 1)
  }

  @Test func aFullOrClosedInboxRefuses() {
    let inbox = Inbox<Int>(messagesMax: 2) {}
    #expect(inbox.post(1))
    #expect(inbox.post(2))
    #expect(!inbox.post(3))
    #expect(inbox.close() == [1, 2])
    #expect(!inbox.post(4))
  }

  @Test func manyThreadsKeepTheirOrder() throws {
    let inbox = Inbox<(Int, Int)>(messagesMax: 1_000_000) {}
    var threads: [() -> Void] = []
    for sender in 0..<4 {
      let thread = Lock(
        Optional(
          try LoopThread(name: "sender") {
            for number in 0..<5000 { _ = inbox.post((sender, number)) }
          }))
      threads.append { thread.withLock { $0.take() }?.join() }
    }
    var next = [0, 0, 0, 0]
    var messages: [(Int, Int)] = []
    while next != [5000, 5000, 5000, 5000] {
      inbox.drain(into: &messages)
      for (sender, number) in messages {
        #expect(next[sender] == number)
        next[sender] = number + 1
      }
      messages.removeAll(keepingCapacity: true)
    }
    for join in threads { join() }
  }
}
