// SPDX-License-Identifier: Apache-2.0
// How other threads speak to a loop: a short list under a lock, and a bell. The bell is a system
// call here and a wake-up there, so it is rung only for an owner that sleeps, and once per sleep.

/// Messages from any thread to the one that owns the inbox.
///
/// Messages of one sender arrive in their order. The inbox is bounded: a full one refuses.
public final class Inbox<Message: Sendable>: Sendable {
  @usableFromInline
  struct State: ~Copyable {
    @usableFromInline var messages: [Message] = []
    @usableFromInline var isOwnerAsleep = false
    var isClosed = false
  }

  @usableFromInline let state = Lock(State())
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
    let (isTaken, mustRing) = state.withLock { state -> (Bool, Bool) in
      guard !state.isClosed, state.messages.count < messagesMax else { return (false, false) }
      state.messages.append(message)
      defer { state.isOwnerAsleep = false }
      return (true, state.isOwnerAsleep)
    }
    if mustRing { ring() }
    return isTaken
  }

  /// Owner: says that a wait begins, from which a message must wake it. Returns false when there are
  /// messages already; then do not wait.
  @inlinable
  public func prepareToSleep() -> Bool {
    state.withLock { state in
      state.isOwnerAsleep = state.messages.isEmpty
      return state.isOwnerAsleep
    }
  }

  /// Owner: takes all messages into `messages`, which must be empty. Both lists keep their memory.
  @inlinable
  public func drain(into messages: inout [Message]) {
    assert(messages.isEmpty)
    state.withLock { state in
      state.isOwnerAsleep = false
      swap(&state.messages, &messages)
    }
  }

  /// Owner: refuses messages from now on, and returns those that were left.
  public func close() -> [Message] {
    state.withLock { state in
      state.isClosed = true
      defer { state.messages = [] }
      return state.messages
    }
  }
}
