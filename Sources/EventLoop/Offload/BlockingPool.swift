// SPDX-License-Identifier: Apache-2.0
// Blocking work off the loop: a bounded number of threads and a bounded queue before them. One pool per
// kind of work, so that one that hangs (a name server, a disk) cannot starve another.
//
// A system call that blocks cannot be cancelled. So a task that is cancelled, or whose deadline comes,
// goes on at once; work that has not begun is dropped, work that has begun is abandoned: it finishes on its
// thread, and nobody looks at what it says.

import Glibc
import Reactor

/// Why a pool did not do what it was asked for.
public enum BlockingPoolError: Error, Hashable, Sendable {
  /// As much work is waiting as the pool takes.
  case full
  /// The kernel gives no thread, and there is none yet.
  case noThread(Errno)
  /// The pool was closed.
  case closed
}

extension BlockingPoolError: CustomStringConvertible {
  /// What happened, in words.
  public var description: String {
    switch self {
    case .full: "too much work of this kind is waiting"
    case .noThread(let errno): "there is no thread for it: \(errno)"
    case .closed: "no more work of this kind is taken"
    }
  }
}

/// Threads for work that blocks. Any thread may use it.
public final class BlockingPool: Sendable {
  private let queue: WorkQueue
  private let name: String
  private let threadsMax: Int

  /// A pool without threads; they are started when there is work, up to `threadsMax`. Up to `waitingMax`
  /// pieces of work wait for one. `name` is shown by ps(1).
  public init(name: String, threadsMax: Int, waitingMax: Int = 1024) {
    precondition(threadsMax > 0)
    precondition(waitingMax >= 0)
    self.name = name
    self.threadsMax = threadsMax
    queue = WorkQueue(threadsMax: threadsMax, waitingMax: waitingMax)
  }

  deinit {
    queue.close()
  }

  /// Runs `body`, which may block, on one of the pool's threads, while the calling task of a loop
  /// waits. Returns or throws what `body` does; throws `WaitError` when the task is cancelled or
  /// `deadline` comes first, and `BlockingPoolError` when the pool does not take the work.
  public func run<Success: Sendable>(
    until deadline: Instant = .distantFuture, _ body: @escaping @Sendable () throws -> Success
  ) async throws -> Success {
    let loop = Loop.ofTask
    let result = Box<Result<Success, any Error>>()
    let isAbandoned = Box<Bool>()
    let refusal = Box<BlockingPoolError>()
    let wake = await loop.park("offload to \(name)", until: deadline) { id in
      let refuse: @Sendable (BlockingPoolError) -> Void = { error in
        refusal.value = error
        loop.engine.post(.wake(id))
      }
      let work = Work(
        run: {
          if isAbandoned.value == nil { result.value = Result { try body() } }
          loop.engine.post(.wake(id))
        }, refuse: refuse)
      do throws(BlockingPoolError) {
        try self.queue.add(work, name: self.name)
      } catch {
        refuse(error)
      }
    }
    if let refusal = refusal.value { throw refusal }
    switch wake {
    case .ready:
      guard let result = result.value else { preconditionFailure("woken without a result") }
      return try result.get()
    case .cancelled:
      isAbandoned.value = true
      throw WaitError.cancelled
    case .deadlinePassed:
      isAbandoned.value = true
      throw WaitError.deadlinePassed
    }
  }

  /// Takes no more work. What was begun finishes on its threads; whoever waits for a thread is refused
  /// with `closed`. Any thread.
  public func close() {
    queue.close()
  }
}

/// A value that two threads pass to each other.
private final class Box<Value: Sendable>: Sendable {
  private let place = Lock<Value?>(nil)

  var value: Value? {
    get { place.withLock { $0 } }
    set { place.withLock { $0 = newValue } }
  }
}

/// A piece of work, one of whose ends is called, once.
private struct Work: Sendable {
  let run: @Sendable () -> Void
  let refuse: @Sendable (BlockingPoolError) -> Void
}

/// Work that waits for a thread, and the threads.
private final class WorkQueue: @unchecked Sendable {
  // SAFETY: everything below is used between lock and unlock of `mutex`, but for the constants.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let hasChanged: UnsafeMutablePointer<pthread_cond_t>
  private let threadsMax: Int
  private let waitingMax: Int
  private var works: [Work] = []
  private var threads = 0
  private var idleThreads = 0
  private var isClosed = false

  init(threadsMax: Int, waitingMax: Int) {
    self.threadsMax = threadsMax
    self.waitingMax = waitingMax
    mutex = .allocate(capacity: 1)
    hasChanged = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(hasChanged, nil)
  }

  deinit {
    pthread_cond_destroy(hasChanged)
    pthread_mutex_destroy(mutex)
    hasChanged.deallocate()
    mutex.deallocate()
  }

  func add(_ work: Work, name: String) throws(BlockingPoolError) {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    guard !isClosed else { throw .closed }
    if idleThreads <= works.count, threads < threadsMax {
      do throws(Errno) {
        try LoopThread(name: name) { self.serve() }.detach()
        threads += 1
        // It will take this work, or what is before it.
        idleThreads += 1
      } catch  where threads == 0 {
        throw .noThread(error)
      } catch {
        // The threads that are there will come to it.
      }
    }
    guard works.count < idleThreads + waitingMax else { throw .full }
    works.append(work)
    pthread_cond_signal(hasChanged)
  }

  func close() {
    pthread_mutex_lock(mutex)
    isClosed = true
    let dropped = works
    works = []
    pthread_cond_broadcast(hasChanged)
    pthread_mutex_unlock(mutex)
    for work in dropped { work.refuse(.closed) }
  }

  /// A thread's life.
  private func serve() {
    pthread_mutex_lock(mutex)
    while true {
      while works.isEmpty, !isClosed { pthread_cond_wait(hasChanged, mutex) }
      if isClosed { break }
      let work = works.removeFirst()
      idleThreads -= 1
      pthread_mutex_unlock(mutex)
      work.run()
      pthread_mutex_lock(mutex)
      idleThreads += 1
    }
    pthread_mutex_unlock(mutex)
  }
}
