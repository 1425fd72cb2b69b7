// SPDX-License-Identifier: Apache-2.0
// How other threads speak to a loop: a short list under a lock, and a bell. The bell is a system
// call here and a wake-up there, so it is rung only for an owner that sleeps, and once per sleep.
//
// A loop looks at its inbox twice a turn, and as a rule there is nothing: one atomic number tells, and only
// where there are messages is the lock taken.

import Synchronization

/// Messages from any thread to the one that owns the inbox.
///
/// Messages of one sender arrive in their order. The inbox is bounded: a full one refuses.
public final class Inbox<Message: Sendable>: Sendable {
  @usableFromInline
  struct State: ~Copyable {
    @usableFromInline var messages: [Message] = []
    var isClosed = false
  }

  @usableFromInline let state = Lock(State())
  /// Whether there are messages. Set under the lock, after one was added.
  @usableFromInline let hasMessages = Atomic<Bool>(false)
  /// Whether the owner is about to wait, and is to be woken.
  @usableFromInline let isOwnerAsleep = Atomic<Bool>(false)
  private let messagesMax: Int
  private let ring: @Sendable () -> Void

  /// An empty inbox. `ring` must end the owner's wait, from any thread.
  public init(messagesMax: Int, ring: @escaping @Sendable () -> Void) {
    precondition(messagesMax > 0)
    self.messagesMax = messagesMax
    self.ring = ring
  }

  /// Leaves a message. Returns false, and keeps nothing, when the inbox is full or closed: whatever
  /// the message owns is still the caller's.
  public func post(_ message: Message) -> Bool {
    let isTaken = state.withLock { state -> Bool in
      guard !state.isClosed, state.messages.count < messagesMax else { return false }
      state.messages.append(message)
      // Sequentially consistent with `prepareToSleep`: either the owner sees the message, or this thread
      // sees that the owner sleeps.
      hasMessages.store(true, ordering: .sequentiallyConsistent)
      return true
    }
    if isTaken, isOwnerAsleep.load(ordering: .sequentiallyConsistent),
      isOwnerAsleep.exchange(false, ordering: .sequentiallyConsistent)
    {
      ring()
    }
    return isTaken
  }

  /// Owner: says that a wait begins, from which a message must wake it. Returns false when there are
  /// messages already; then do not wait.
  @inlinable
  public func prepareToSleep() -> Bool {
    isOwnerAsleep.store(true, ordering: .sequentiallyConsistent)
    guard hasMessages.load(ordering: .sequentiallyConsistent) else { return true }
    isOwnerAsleep.store(false, ordering: .relaxed)
    return false
  }

  /// Owner: takes all messages into `messages`, which must be empty. Both lists keep their memory.
  @inlinable
  public func drain(into messages: inout [Message]) {
    assert(messages.isEmpty)
    if isOwnerAsleep.load(ordering: .relaxed) { isOwnerAsleep.store(false, ordering: .relaxed) }
    guard hasMessages.load(ordering: .acquiring) else { return }
    state.withLock { state in
      hasMessages.store(false, ordering: .relaxed)
      swap(&state.messages, &messages)
    }
  }

  /// Owner: refuses messages from now on, and returns those that were left.
  public func close() -> [Message] {
    state.withLock { state in
      state.isClosed = true
      hasMessages.store(false, ordering: .relaxed)
      defer { state.messages = [] }
      return state.messages
    }
  }
}
