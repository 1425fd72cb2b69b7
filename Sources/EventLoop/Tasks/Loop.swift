// SPDX-License-Identifier: Apache-2.0
// An event loop that is the executor of its tasks: one thread, one epoll, and everything that runs on
// it takes turns. It is what Python's asyncio calls a loop; docs/event-loop.md shows both side by side.
//
// A task that was spawned here, its task groups and its `async let` never leave the loop's thread:
// each piece of work between two suspensions is a job that comes back to `enqueue`. A task made in
// any other way does not inherit that and would run on Swift's global threads: use `spawn`.

import CLinux
import Glibc
import Reactor

/// How a loop waits, how much it does at once, and when it complains.
public struct LoopOptions: Sendable {
  /// What its tasks are told apart by in diagnostics, beside their own names.
  public var name: String
  /// How long it polls before it blocks; zero: it blocks at once. Shortens latency and costs processor
  /// time.
  public var spin: Duration
  /// How many jobs run before the kernel is asked again, so that no crowd of tasks keeps events waiting.
  public var jobsPerTurn: Int
  /// How many timers and waits there can be at once. They cost address space, memory only when used.
  public var waitsMax: Int
  /// How many descriptors there can be at once: streams, listeners, signals. The process's limit of open
  /// files usually comes first.
  public var descriptorsMax: Int
  /// A job or callback that takes longer is told to `onSlow`.
  public var slowThreshold: Duration
  /// Called on the loop's thread with each job or callback that was too slow. Must not block. By default
  /// a line on standard error.
  public var onSlow: @Sendable (SlowStep) -> Void

  /// The defaults: block at once, 1,024 jobs a turn, four million waits, a million descriptors, a
  /// complaint after 100 ms.
  public init(
    name: String = "loop", spin: Duration = .zero, jobsPerTurn: Int = 1024,
    waitsMax: Int = 1 << 22, descriptorsMax: Int = 1 << 20,
    slowThreshold: Duration = .milliseconds(100),
    onSlow: @escaping @Sendable (SlowStep) -> Void = { $0.writeToStandardError() }
  ) {
    self.name = name
    self.spin = spin
    self.jobsPerTurn = jobsPerTurn
    self.waitsMax = waitsMax
    self.descriptorsMax = descriptorsMax
    self.slowThreshold = slowThreshold
    self.onSlow = onSlow
  }
}

/// Why a wait on a loop ended without what was waited for.
public enum WaitError: Error, Hashable, Sendable {
  /// The task was cancelled, or its loop stopped.
  case cancelled
  /// The deadline of the wait has come.
  case deadlinePassed
}

/// An event loop, and the executor of its tasks. Any thread may spawn, call, and stop; what says so is for
/// the loop's own thread and traps elsewhere.
public final class Loop: TaskExecutor, SerialExecutor, @unchecked Sendable {
  // SAFETY: `engine` is touched by the thread that runs the loop alone, but for its inbox and registry,
  // which have locks of their own.
  let engine: LoopEngine

  /// A loop that does not run yet. Throws when the kernel has no descriptors for it, or no address space
  /// for `waitsMax`.
  public init(_ options: LoopOptions = LoopOptions()) throws(Errno) {
    engine = try LoopEngine(options)
  }

  /// The name that its options gave it.
  public var name: String { engine.options.name }

  /// The loop that the calling thread is running, `nil` elsewhere.
  public static var current: Loop? { CurrentLoop.value?.takeUnretainedValue() }

  /// Now, as the loop's deadlines count: `CLOCK_MONOTONIC`.
  public var now: Instant { engine.kernel.now() }

  // MARK: Running

  /// Runs `body` as a task of this loop, named `main`, on the calling thread. When it has ended, the tasks
  /// that are left are cancelled and waited for. Blocks. Returns or throws what `body` did.
  public func run<Success: Sendable>(
    _ body: @escaping @Sendable () async throws -> Success
  ) throws -> Success {
    let outcome = Outcome<Success>()
    runOnThisThread {
      spawn(name: "main") { [engine] in
        do {
          outcome.result = .success(try await body())
        } catch {
          outcome.result = .failure(error)
        }
        engine.isStopping = true
      }
    }
    guard let result = outcome.result else { preconditionFailure("a task ended without a result") }
    return try result.get()
  }

  /// Runs what is spawned and called until `stop`, on the calling thread. Then the tasks that are left are
  /// cancelled and waited for. Blocks.
  public func runForever() {
    runOnThisThread {}
  }

  /// Ends `run` or `runForever` soon: every task is cancelled, which ends its waits, and when all have
  /// returned the loop does. Any thread. A loop that does not run yet ends as soon as it does.
  public func stop() {
    engine.post(.stop)
  }

  /// What `run` hands from its task to its caller.
  private final class Outcome<Success>: @unchecked Sendable {
    // SAFETY: written by a task of the loop and read after the loop, all on one thread.
    var result: Result<Success, any Error>?
  }

  private func runOnThisThread(_ begin: () -> Void) {
    precondition(Loop.current == nil, "a loop cannot run inside another one")
    engine.begin()
    CurrentLoop.value = Unmanaged.passUnretained(self)
    begin()
    engine.runUntilStopped()
    CurrentLoop.value = nil
    engine.end()
  }

  // MARK: Tasks

  /// Starts a task that runs on this loop, with all its children. Any thread. The name is what
  /// diagnostics and `listing` show. Cancel the task that is returned, or await its value, as any other.
  @discardableResult
  public func spawn<Success: Sendable>(
    name: String, _ body: @escaping @Sendable () async throws -> Success
  ) -> Task<Success, any Error> {
    let engine = engine
    let number = engine.registry.add(name)
    let task = Task(name: name, executorPreference: self) {
      defer {
        engine.lastName = name
        engine.registry.remove(number)
      }
      return try await body()
    }
    engine.registry.attach(number) { task.cancel() }
    return task
  }

  /// Suspends the calling task, which must run on this loop, until `deadline`. Rounded up to the
  /// millisecond. Ends at once, with an error, when the task is cancelled or the loop stops.
  public func sleep(until deadline: Instant) async throws(WaitError) {
    switch await park("sleep", until: deadline) {
    case .cancelled: throw .cancelled
    case .ready, .deadlinePassed: return
    }
  }

  /// Suspends the calling task for a while; see `sleep(until:)`.
  public func sleep(for duration: Duration) async throws(WaitError) {
    try await sleep(until: now.advanced(by: duration.wholeNanoseconds))
  }

  /// Lets everything else that is ready run first.
  public func yield() async throws(WaitError) {
    let wake = await park("turn", until: .distantFuture) { engine.wakeNextTurn($0) }
    if wake == .cancelled { throw .cancelled }
  }

  /// Runs `body` as a child task and cancels it when `deadline` comes; then throws
  /// `WaitError.deadlinePassed` as soon as it has ended, and what it has returned is lost. Returns or
  /// throws what `body` does otherwise. The calling task must run on this loop.
  ///
  /// For what has no deadline of its own: waits of this library take one (`until:`), which costs less.
  public func withDeadline<Success: Sendable>(
    _ deadline: Instant, _ body: @escaping @Sendable () async throws -> Success
  ) async throws -> Success {
    checkIsolated()
    return try await withThrowingTaskGroup(of: Success?.self) { group in
      group.addTask(name: Task.name) { try await body() }
      group.addTask(name: "deadline") {
        try await self.sleep(until: deadline)
        return nil
      }
      defer { group.cancelAll() }
      guard let first = try await group.next(), let success = first else {
        throw WaitError.deadlinePassed
      }
      return success
    }
  }

  /// Suspends the calling task until somebody wakes it, its deadline has come, or it is cancelled.
  /// `begin` is called with the wait once it can be woken.
  func park(
    _ what: String, until deadline: Instant, begin: (WaitID) -> Void = { _ in }
  ) async -> Wake {
    checkIsolated()
    let engine = engine
    engine.lastName = Task.name ?? "a task without a name"
    guard let id = engine.reserve(what, name: engine.lastName) else {
      preconditionFailure("more waits than LoopOptions.waitsMax, \(engine.options.waitsMax)")
    }
    return await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        engine.park(id, continuation, until: deadline)
        // The handler may have run before the wait stood.
        if Task.isCancelled { engine.wake(id, .cancelled) } else { begin(id) }
      }
    } onCancel: {
      engine.post(.cancel(id))
    }
  }

  // MARK: Callbacks

  /// Calls `body` on the loop's thread, after what is waiting there already. Any thread. `body` must not
  /// block; a slow one is told by its `name`.
  public func call(name: String, _ body: @escaping @Sendable () -> Void) {
    engine.post(.call(name: name, body))
  }

  /// Calls `body` on the loop's thread when `deadline` has come, rounded up to the millisecond. Loop's
  /// thread. The call that is returned can be cancelled.
  @discardableResult
  public func call(
    at deadline: Instant, name: String, _ body: @escaping @Sendable () -> Void
  ) -> ScheduledCall {
    checkIsolated()
    guard let id = engine.reserve("call", name: name) else {
      preconditionFailure("more waits than LoopOptions.waitsMax, \(engine.options.waitsMax)")
    }
    engine.schedule(id, at: deadline, body)
    return ScheduledCall(loop: self, id: id)
  }

  // MARK: Executor

  /// Takes the next piece of a task. Any thread; called by Swift's concurrency runtime.
  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    if engine.isOnThread { engine.ready.append(job) } else { engine.post(.job(job)) }
  }

  /// The pieces of its tasks run on its own thread.
  public func asUnownedTaskExecutor() -> UnownedTaskExecutor {
    UnownedTaskExecutor(ordinary: self)
  }

  /// The loop as an actor's executor.
  public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
    UnownedSerialExecutor(ordinary: self)
  }

  /// Whether the calling thread is the one that runs the loop.
  public func isIsolatingCurrentContext() -> Bool? { engine.isOnThread }

  /// Traps unless the calling thread is the one that runs the loop.
  public func checkIsolated() {
    precondition(engine.isOnThread, "not on the thread of \(name): use spawn or call")
  }
}

/// A call that will be made. Loop's thread.
public struct ScheduledCall {
  let loop: Loop
  let id: WaitID

  /// Makes sure that the call is not made. Harmless when it was.
  public func cancel() {
    loop.checkIsolated()
    loop.engine.discard(id)
  }
}

/// The loop that a thread runs, in the thread's own storage.
enum CurrentLoop {
  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    let result = pthread_key_create(&key, nil)
    precondition(result == 0, "no room for thread-specific data")
    return key
  }()

  static var value: Unmanaged<Loop>? {
    get { pthread_getspecific(key).map { Unmanaged.fromOpaque($0) } }
    set { pthread_setspecific(key, newValue?.toOpaque()) }
  }
}
