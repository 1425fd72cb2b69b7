// SPDX-License-Identifier: Apache-2.0
// An inbox between real threads and a real wait: each message arrives once and in order, and none waits
// while its owner sleeps.

import Glibc
import Reactor
import Synchronization
import Testing

@Suite struct InboxWakeupTests {
  /// What an owner waits at. A wake-up that is lost shows as a wait that nothing ends.
  private final class Alarm: Sendable {
    let bell: Bell<LinuxKernel>

    init() throws { bell = try Bell(LinuxKernel()) }

    /// Waits for the bell and silences it. Returns whether it has rung in time.
    func wait() -> Bool {
      var entry = pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0)
      while true {
        let count = poll(&entry, 1, 20_000)
        if count < 0, errno == EINTR { continue }
        guard count == 1 else { return false }
        bell.silence()
        return true
      }
    }
  }

  private struct Message: Sendable {
    let sender: Int
    let number: Int
  }

  /// What the owner has found out.
  private struct Outcome {
    var received: [Int]
    var isInOrder = true
    var wakeups = 0
    var hasOverslept = false
  }

  /// The owner: takes messages until it has all, and sleeps whenever there are none.
  private func receive(
    _ inbox: Inbox<Message>, _ alarm: Alarm, senders: Int, each: Int,
    note: (Message) -> Void = { _ in }
  ) -> Outcome {
    var outcome = Outcome(received: Array(repeating: 0, count: senders))
    var messages: [Message] = []
    while outcome.received.contains(where: { $0 < each }) {
      if inbox.prepareToSleep() {
        guard alarm.wait() else {
          outcome.hasOverslept = true
          return outcome
        }
        outcome.wakeups += 1
      }
      inbox.drain(into: &messages)
      for message in messages {
        if outcome.received[message.sender] != message.number { outcome.isInOrder = false }
        outcome.received[message.sender] += 1
        note(message)
      }
      messages.removeAll(keepingCapacity: true)
    }
    return outcome
  }

  private func start(
    _ senders: Int, _ body: @escaping @Sendable (Int) -> Void
  ) throws -> [ThreadHolder] {
    var threads: [ThreadHolder] = []
    for sender in 0..<senders {
      threads.append(ThreadHolder(try LoopThread(name: "sender") { body(sender) }))
    }
    return threads
  }

  /// The owner is about to fall asleep each time that a sender has something to say.
  @Test(arguments: [1, 3])
  func aMessageAlwaysWakesItsOwner(senders: Int) throws {
    let alarm = try Alarm()
    let inbox = Inbox<Message>(messagesMax: 100) { alarm.bell.ring() }
    let each = 20_000 / senders
    let answered = Turns(senders)
    let threads = try start(senders) { sender in
      for number in 0..<each {
        guard inbox.post(Message(sender: sender, number: number)) else { return }
        guard answered.wait(until: number + 1, of: sender) else { return }
      }
    }
    let outcome = receive(inbox, alarm, senders: senders, each: each) {
      answered.set($0.number + 1, of: $0.sender)
    }
    answered.stop()
    for thread in threads { thread.join() }
    #expect(!outcome.hasOverslept)
    #expect(outcome.isInOrder)
    #expect(outcome.received == Array(repeating: each, count: senders))
    #expect(outcome.wakeups > 0)
  }

  @Test func whatAFullInboxRefusesAndIsPostedAgainArrivesOnce() throws {
    let alarm = try Alarm()
    let inbox = Inbox<Message>(messagesMax: 4) { alarm.bell.ring() }
    let answered = Turns(4)
    let threads = try start(4) { sender in
      for number in 0..<5000 {
        while !inbox.post(Message(sender: sender, number: number)) {
          guard !answered.isStopped else { return }
          sched_yield()
        }
      }
    }
    let outcome = receive(inbox, alarm, senders: 4, each: 5000)
    answered.stop()
    for thread in threads { thread.join() }
    #expect(!outcome.hasOverslept)
    #expect(outcome.isInOrder)
    #expect(outcome.received == [5000, 5000, 5000, 5000])
  }

  /// Each message is taken, left over, or its sender's still.
  @Test(arguments: 0..<20)
  func whileAnInboxIsClosedNoMessageIsLost(round: Int) throws {
    let inbox = Inbox<Message>(messagesMax: 1 << 20) {}
    let posted = [Count(), Count(), Count()]
    let threads = try start(3) { sender in
      var number = 0
      while inbox.post(Message(sender: sender, number: number)) {
        number += 1
        posted[sender].value.store(number, ordering: .relaxed)
      }
    }
    var received = [0, 0, 0]
    var messages: [Message] = []
    while received.reduce(0, +) < 500 * round {
      inbox.drain(into: &messages)
      for message in messages { received[message.sender] += 1 }
      messages.removeAll(keepingCapacity: true)
    }
    for message in inbox.close() { received[message.sender] += 1 }
    for thread in threads { thread.join() }
    #expect(received == posted.map { $0.value.load(ordering: .relaxed) })
    inbox.drain(into: &messages)
    #expect(messages.isEmpty)
  }
}

private final class Count: Sendable {
  let value = Atomic<Int>(0)
}

/// How far the owner has come with each sender's messages.
private final class Turns: Sendable {
  private let numbers: [Count]
  private let hasStopped = Atomic<Bool>(false)

  init(_ senders: Int) { numbers = (0..<senders).map { _ in Count() } }

  var isStopped: Bool { hasStopped.load(ordering: .relaxed) }

  func stop() { hasStopped.store(true, ordering: .relaxed) }

  func set(_ number: Int, of sender: Int) {
    numbers[sender].value.store(number, ordering: .releasing)
  }

  /// Returns false when the owner has given up.
  func wait(until number: Int, of sender: Int) -> Bool {
    while numbers[sender].value.load(ordering: .acquiring) < number {
      if isStopped { return false }
      sched_yield()
    }
    return true
  }
}

/// A thread that is joined once.
private final class ThreadHolder {
  private var thread: LoopThread?

  init(_ thread: consuming LoopThread) {
    self.thread = consume thread
  }

  func join() {
    thread.take()?.join()
  }
}
