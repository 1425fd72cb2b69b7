// SPDX-License-Identifier: Apache-2.0
// Elements that some tasks make and others take, with a bound: what asyncio calls a Queue. Who makes
// faster than others take waits, so that nothing piles up.

import Reactor

/// Why a queue did not take or give an element.
public enum QueueError: Error, Hashable, Sendable {
  /// The task was cancelled, or its loop stopped.
  case cancelled
  /// The deadline of the wait has come.
  case deadlinePassed
  /// The queue is finished, and, for who takes, empty.
  case finished
}

/// A bounded queue, first in, first out. Any thread may use what does not wait; tasks of any loop may wait.
/// Iterating takes one element after another, until the queue is finished and empty, or the task
/// cancelled; several tasks may, and each element goes to one of them.
public final class Queue<Element: Sendable>: AsyncSequence, Sendable {
  private struct State {
    var elements: [Element] = []
    /// How many of `elements` were taken.
    var taken = 0
    var isFinished = false
    var takers = Waiters()
    var makers = Waiters()

    var count: Int { elements.count - taken }

    mutating func take() -> Element? {
      guard taken < elements.count else { return nil }
      defer {
        taken += 1
        // Moving what is left costs no more than what was taken before has.
        if taken > elements.count / 2 {
          elements.removeSubrange(..<taken)
          taken = 0
        }
      }
      return elements[taken]
    }
  }

  private let state = Lock(State())
  private let capacity: Int

  /// An empty queue that holds up to `capacity` elements.
  public init(capacity: Int) {
    precondition(capacity > 0)
    self.capacity = capacity
  }

  /// How many elements it holds.
  public var count: Int { state.withLock { $0.count } }

  /// Adds an element, after waiting for room. Throws `finished` when none will be taken any more.
  public func put(
    _ element: Element, until deadline: Instant = .distantFuture
  ) async throws(QueueError) {
    while try !putNow(element) {
      try await wait("queue has room", until: deadline, among: \.makers) {
        $0.count < self.capacity
      }
    }
  }

  /// Adds an element if there is room. Returns whether there was; throws `finished` when none will be taken
  /// any more.
  public func putNow(_ element: Element) throws(QueueError) -> Bool {
    let (isTaken, taker) = try state.withLock { state throws(QueueError) -> (Bool, Waiter?) in
      guard !state.isFinished else { throw .finished }
      guard state.count < capacity else { return (false, nil) }
      state.elements.append(element)
      return (true, state.takers.popFirst())
    }
    taker?.wake()
    return isTaken
  }

  /// Takes the first element, after waiting for one. Throws `finished` when none will come.
  public func take(until deadline: Instant = .distantFuture) async throws(QueueError) -> Element {
    while true {
      if let element = try takeNow() { return element }
      try await wait("queue has an element", until: deadline, among: \.takers) { $0.count > 0 }
    }
  }

  /// Takes the first element, `nil` if there is none; throws `finished` when none will come.
  public func takeNow() throws(QueueError) -> Element? {
    let (element, maker) = try state.withLock { state throws(QueueError) -> (Element?, Waiter?) in
      guard let element = state.take() else {
        if state.isFinished { throw .finished }
        return (nil, nil)
      }
      return (element, state.makers.popFirst())
    }
    maker?.wake()
    return element
  }

  /// No more elements come. Those that are there can still be taken; who waits to add one is refused.
  public func finish() {
    let waiters = state.withLock { state in
      state.isFinished = true
      return state.takers.popAll() + state.makers.popAll()
    }
    for waiter in waiters { waiter.wake() }
  }

  /// Waits for the moment in which something may have become possible; the caller looks again.
  private func wait(
    _ what: String, until deadline: Instant, among list: WritableKeyPath<State, Waiters>,
    unless isPossible: (State) -> Bool
  ) async throws(QueueError) {
    let engine = Loop.ofTask.engine
    var number: UInt64?
    let wake = await Loop.ofTask.park(what, until: deadline) { id in
      // Another thread may have changed it since.
      number = state.withLock { state in
        guard !state.isFinished, !isPossible(state) else { return nil }
        return state[keyPath: list].add(Waiter(engine: engine, id: id))
      }
      if number == nil { engine.wake(id, .ready) }
    }
    if wake != .ready, let number {
      // Woken in the moment in which the wait ended: the next one is, instead.
      let next = state.withLock { state in
        state[keyPath: list].remove(number) ? nil : state[keyPath: list].popFirst()
      }
      next?.wake()
    }
    switch wake {
    case .ready: return
    case .cancelled: throw .cancelled
    case .deadlinePassed: throw .deadlinePassed
    }
  }

  /// Starts to take elements.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(queue: self) }

  /// Takes one element after another.
  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let queue: Queue

    /// Waits for the next element; `nil` when the queue is finished and empty, or the task cancelled.
    public func next() async -> Element? {
      try? await queue.take()
    }

    /// The same; the isolation must be the loop's.
    public func next(isolation actor: isolated (any Actor)?) async -> Element? {
      try? await queue.take()
    }
  }
}
