// SPDX-License-Identifier: Apache-2.0
// What a loop does in a turn: take events, let timers fire, take what other threads have left, run jobs.
// Waits are known by a slot and a generation that is never used twice, so that a wake that comes too
// late, from another thread or from the same turn, finds nobody.

import CLinux
import Glibc
import Reactor
import Synchronization

/// Why a parked task runs again. A value, for continuations and cancellation handlers erase typed errors.
enum Wake: Sendable {
  case ready, deadlinePassed, cancelled

  /// Throws unless what was waited for has come.
  func check() throws(WaitError) {
    switch self {
    case .ready: return
    case .cancelled: throw .cancelled
    case .deadlinePassed: throw .deadlinePassed
    }
  }
}

/// Which wait: a slot, and how often it had been used before.
struct WaitID: Hashable, Sendable {
  let slot: UInt32
  let generation: UInt32
}

/// What other threads leave for a loop.
enum LoopMessage: @unchecked Sendable {
  // SAFETY: a job may be run by any thread, once; it is made for that.
  case job(UnownedJob)
  case cancel(WaitID)
  case wake(WaitID)
  case call(name: String, @Sendable () -> Void)
  case drop(Token)
  case stop
}

/// The part of a loop that only its own thread touches, but for the inbox and the registry.
final class LoopEngine: LoopCore, @unchecked Sendable {
  // SAFETY: `post`, `isOnThread` and the registry are for any thread and synchronise themselves; all
  // else is used by the thread that runs the loop alone, which `Loop.checkIsolated` makes sure of.
  private struct Wait {
    enum Waiter {
      case nobody
      case task(UnsafeContinuation<Wake, Never>)
      case call(@Sendable () -> Void)
    }

    var generation: UInt32 = 0
    var isReserved = false
    var waiter = Waiter.nobody
    var what = ""
    var name = ""
  }

  /// How often a job may read or accept without waiting.
  private static let operationsPerJob = 64
  /// How often the end waits for what calls have called meanwhile: a call may call itself for ever.
  private static let lastRoundsMax = 64

  let kernel = LinuxKernel()
  let options: LoopOptions
  let poller: Poller<LinuxKernel>
  var now: Instant
  let registry = TaskRegistry()
  private let inbox: Inbox<LoopMessage>
  private let bell: Bell<LinuxKernel>

  /// Where descriptors are read into before it is known how much there is. Its contents last until
  /// the next read.
  let scratch: UnsafeMutableRawBufferPointer
  /// Streams that were closed and still deliver what was written to them.
  var lingering = 0
  /// What the running job may still do without waiting before it should let others run.
  private var operationsLeft = 0

  /// Pieces of tasks that can run.
  var ready: [UnownedJob] = []
  private var running: [UnownedJob] = []
  private var runningOffset = 0
  private var messages: [LoopMessage] = []
  private var waits: [Wait] = []
  private var freeSlots: [UInt32] = []
  /// Tasks that let others run, until the next turn.
  private var yielded: [WaitID] = []
  private var yieldedInTurn: [WaitID] = []
  private var timers: TimerWheel
  private var watches: WatchTable
  /// Whose step this is, as far as is known: the task that parked or ended last, the callback that runs.
  var lastName = ""
  var isStopping = false
  private(set) var lag = LagHistogram()
  private let slowNanoseconds: UInt64
  /// The pthread that runs the loop, 0 while none does.
  private let thread = Atomic<UInt>(0)
  /// Held while the loop begins to run, and by who uses it while it does not.
  private let idle = Lock(())

  init(_ options: LoopOptions) throws(Errno) {
    precondition(options.jobsPerTurn > 0)
    precondition(options.waitsMax > 0)
    self.options = options
    now = kernel.now()
    slowNanoseconds = options.slowThreshold.wholeNanoseconds
    let poller = try Poller(
      kernel: kernel, eventsMax: 256, spinNanoseconds: options.spin.wholeNanoseconds)
    let bell = try Bell(kernel)
    try poller.add(
      bell.descriptor, for: .readable, token: Token(.bell, index: 0, generation: 0))
    self.poller = poller
    self.bell = bell
    inbox = Inbox(messagesMax: .max) { bell.ring() }
    timers = try TimerWheel(capacity: options.waitsMax, now: now)
    watches = WatchTable(capacity: options.descriptorsMax)
    // Last: nobody would free it if something threw.
    scratch = .allocate(byteCount: 64 << 10, alignment: 16)
  }

  deinit {
    scratch.deallocate()
  }

  // MARK: The thread

  /// Whether the calling thread is the one that runs the loop. Any thread.
  var isOnThread: Bool { thread.load(ordering: .relaxed) == pthread_self() }

  /// Traps unless the calling thread runs the loop, or nobody does.
  func checkIsolatedOrIdle() {
    precondition(
      isOnThread || thread.load(ordering: .relaxed) == 0,
      "not on the thread of \(options.name): use spawn or call")
  }

  func begin() {
    let isFirst = idle.withLock { _ in
      thread.compareExchange(
        expected: 0, desired: pthread_self(), ordering: .acquiringAndReleasing
      ).exchanged
    }
    precondition(isFirst, "the loop \(options.name) runs already")
    isStopping = false
    registry.reopen()
  }

  func end() {
    thread.store(0, ordering: .releasing)
  }

  /// Calls `body` if no thread runs the loop, and lets none begin meanwhile. Returns whether it did.
  /// Any thread but the loop's.
  func whileIdle(_ body: () -> Void) -> Bool {
    idle.withLock { _ in
      guard thread.load(ordering: .acquiring) == 0 else { return false }
      body()
      return true
    }
  }

  /// Any thread.
  func post(_ message: LoopMessage) {
    let isTaken = inbox.post(message)
    assert(isTaken, "the inbox has no bound and is never closed")
  }

  // MARK: The turn

  func runUntilStopped() {
    while !isStopping { turn() }
    registry.cancelAll()
    // What was called before the end is called; what was closed is delivered, each stream for as long
    // as its linger lasts; what is still open then is dropped.
    var rounds = 0
    while true {
      while registry.hasTasks || hasWork || lingering > 0 { turn() }
      // The last turn may have left messages, and these new tasks.
      guard rounds < LoopEngine.lastRoundsMax, !inbox.prepareToSleep() else { break }
      rounds += 1
      turn()
    }
    for watch in watches.all { watch.wasDropped() }
  }

  private var hasWork: Bool {
    !ready.isEmpty || runningOffset < running.count || !yielded.isEmpty
  }

  func nextDeadline() -> Instant {
    hasWork ? now : timers.nextDeadline() ?? .distantFuture
  }

  func prepareToSleep() -> Bool {
    inbox.prepareToSleep()
  }

  func receive(_ readiness: Readiness, for token: Token) {
    if token.kind == .bell {
      bell.silence()
    } else {
      // What an earlier event of this batch has closed is not found.
      watches.find(token)?.receive(readiness)
    }
  }

  func finishTurn() {
    let began = now
    var since = began
    while let slot = timers.popDue(at: now) {
      let id = WaitID(slot: UInt32(slot), generation: waits[slot].generation)
      let name = waits[slot].name
      if case .call(let body) = waits[slot].waiter {
        release(id)
        body()
        since = noteStep(name, since: since)
      } else {
        wake(id, .deadlinePassed)
      }
    }
    swap(&yielded, &yieldedInTurn)
    for id in yieldedInTurn { wake(id, .ready) }
    yieldedInTurn.removeAll(keepingCapacity: true)
    inbox.drain(into: &messages)
    for message in messages {
      switch message {
      case .job(let job): ready.append(job)
      case .cancel(let id): wake(id, .cancelled)
      case .wake(let id): wake(id, .ready)
      case .call(let name, let body):
        body()
        since = noteStep(name, since: since)
      case .drop(let token): watches.find(token)?.wasDropped()
      case .stop: isStopping = true
      }
    }
    messages.removeAll(keepingCapacity: true)
    since = runJobs(since: since)
    lag.record(since.nanoseconds(since: began))
  }

  private func runJobs(since: Instant) -> Instant {
    var since = since
    var left = options.jobsPerTurn
    while left > 0 {
      if runningOffset == running.count {
        running.removeAll(keepingCapacity: true)
        runningOffset = 0
        // What becomes ready from here on waits for the next turn.
        guard left == options.jobsPerTurn, !ready.isEmpty else { break }
        swap(&running, &ready)
      }
      let job = running[runningOffset]
      runningOffset += 1
      left -= 1
      operationsLeft = LoopEngine.operationsPerJob
      job.runSynchronously(on: executor)
      since = noteStep(nil, since: since)
    }
    return since
  }

  /// Counts an operation that needs no wait. Returns false when the running job has done so many that its
  /// task should suspend: a peer that sends without end must not keep the thread from everything else.
  func spend() -> Bool {
    guard operationsLeft > 0 else { return false }
    operationsLeft -= 1
    return true
  }

  private var executor: UnownedTaskExecutor {
    guard let loop = Loop.current else { preconditionFailure("a turn without a loop") }
    return loop.asUnownedTaskExecutor()
  }

  /// One callback or job has run; `nil`: the task that has told its name meanwhile.
  private func noteStep(_ name: String?, since: Instant) -> Instant {
    let after = kernel.now()
    let nanoseconds = after.nanoseconds(since: since)
    if nanoseconds >= slowNanoseconds {
      options.onSlow(
        SlowStep(
          loop: options.name, name: name ?? lastName, duration: .nanoseconds(nanoseconds)))
    }
    return after
  }

  // MARK: Waits

  /// A place for a wait; `nil` when there are too many.
  func reserve(_ what: String, name: String) -> WaitID? {
    let slot: UInt32
    if let free = freeSlots.popLast() {
      slot = free
    } else {
      guard waits.count < options.waitsMax else { return nil }
      slot = UInt32(waits.count)
      waits.append(Wait())
    }
    waits[Int(slot)].isReserved = true
    waits[Int(slot)].what = what
    waits[Int(slot)].name = name
    return WaitID(slot: slot, generation: waits[Int(slot)].generation)
  }

  func park(_ id: WaitID, _ continuation: UnsafeContinuation<Wake, Never>, until deadline: Instant)
  {
    waits[Int(id.slot)].waiter = .task(continuation)
    if deadline != .distantFuture { timers.schedule(Int(id.slot), at: deadline) }
  }

  func schedule(_ id: WaitID, at deadline: Instant, _ body: @escaping @Sendable () -> Void) {
    waits[Int(id.slot)].waiter = .call(body)
    timers.schedule(Int(id.slot), at: deadline)
  }

  /// Lets the task of a wait run again; nothing if that wait is over.
  func wake(_ id: WaitID, _ why: Wake) {
    guard isCurrent(id), case .task(let continuation) = waits[Int(id.slot)].waiter else { return }
    release(id)
    continuation.resume(returning: why)
  }

  /// Wakes a task in the next turn. Not at once: a continuation that is resumed while it is being made
  /// goes on in the same job, and nothing else would run.
  func wakeNextTurn(_ id: WaitID) {
    yielded.append(id)
  }

  /// Forgets a call; nothing if it was made.
  func discard(_ id: WaitID) {
    guard isCurrent(id), case .call(let body) = waits[Int(id.slot)].waiter else { return }
    release(id)
    // What the body has captured may end with it, and may do so by coming back here: not before the
    // wait is released.
    withExtendedLifetime(body) {}
  }

  private func isCurrent(_ id: WaitID) -> Bool {
    Int(id.slot) < waits.count && waits[Int(id.slot)].generation == id.generation
  }

  private func release(_ id: WaitID) {
    let slot = Int(id.slot)
    timers.cancel(slot)
    waits[slot].waiter = .nobody
    waits[slot].isReserved = false
    waits[slot].name = ""
    waits[slot].generation &+= 1
    freeSlots.append(id.slot)
  }

  // MARK: Descriptors

  /// Watches a descriptor, edge-triggered and for both directions. Throws when there are too many, or the
  /// kernel refuses.
  func add(_ watch: Watch) throws(Errno) -> Token {
    guard !watches.isFull else { throw .tooManyOpenFiles }
    let token = watches.insert(watch)
    do throws(Errno) {
      try poller.add(watch.descriptor, for: .stream, token: token)
    } catch {
      watches.remove(token)
      throw error
    }
    return token
  }

  /// Whether no more descriptors can be watched.
  var isFull: Bool { watches.isFull }

  /// Forgets a watch, whose descriptor the caller closes.
  func remove(_ watch: Watch) {
    watches.remove(watch.token)
  }

  // MARK: Diagnostics

  /// What is registered, and who waits for it.
  var descriptors: [LoopListing.Descriptor] {
    watches.all.map { watch in
      LoopListing.Descriptor(
        number: watch.descriptor, what: watch.what,
        reader: watch.readWait.map { waits[Int($0.slot)].name },
        writer: watch.writeWait.map { waits[Int($0.slot)].name })
    }
  }

  /// What tasks wait for, and which calls are to come.
  var waiting: [LoopListing.Wait] {
    waits.indices.filter { waits[$0].isReserved }.map {
      LoopListing.Wait(
        name: waits[$0].name, what: waits[$0].what, deadline: timers.deadline(of: $0))
    }
  }
}
