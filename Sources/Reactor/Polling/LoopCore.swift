// SPDX-License-Identifier: Apache-2.0
// One turn of a loop, the same for everything that runs on one: wait, hand out events, let timers
// fire, take messages, finish what is left. Who receives them is a protocol, so that a worker of the
// proxy and a loop that runs tasks share the order of things, and its subtleties, but no closure
// and no allocation lies between the kernel's report and its receiver.

/// What a loop owns and receives. One thread uses it, the loop's own.
public protocol LoopCore: AnyObject {
  /// The kernel this loop runs on.
  associatedtype K: Kernel

  /// The kernel this loop runs on.
  var kernel: K { get }
  /// Where its descriptors are registered.
  var poller: Poller<K> { borrowing get }
  /// The time at which the current turn began. Read it instead of the clock.
  var now: Instant { get set }

  /// When the loop must go on even if nothing happens; `distantFuture`: never; not after `now`: at
  /// once, because work is left over from the last turn.
  func nextDeadline() -> Instant
  /// Whether the loop may sleep: no message is waiting, and whoever leaves one will ring.
  func prepareToSleep() -> Bool
  /// For how long the loop, if it finds nothing to do now, leaves the kernel alone before it looks
  /// again, so that more has come by then; 0: not at all.
  func coalescingNanoseconds() -> UInt64
  /// The loop had nothing to do, and has waited.
  func noteWaited()
  /// A registered descriptor has changed.
  func receive(_ readiness: Readiness, for token: Token)
  /// Deadlines that have come are to be met, and messages to be taken. Called once a turn, last.
  func finishTurn()
}

extension LoopCore {
  /// Whatever comes is handled at once.
  @inlinable
  public func coalescingNanoseconds() -> UInt64 { 0 }

  /// Nothing follows from that.
  @inlinable
  public func noteWaited() {}

  /// Waits and handles what has come. Blocks up to the next deadline.
  @inlinable
  public func turn() {
    var deadline = nextDeadline()
    if deadline > now, !prepareToSleep() { deadline = now }
    let (count, hasWaited) = waitForEvents(until: deadline)
    now = kernel.now()
    if hasWaited { noteWaited() }
    for index in 0..<count {
      let (token, readiness) = poller.event(index)
      receive(readiness, for: token)
    }
    finishTurn()
  }

  /// Being woken costs more than what one event brings. So where more is to come, the loop looks
  /// whether anything has, and if not, sleeps before it blocks.
  @inlinable
  func waitForEvents(until deadline: Instant) -> (count: Int, hasWaited: Bool) {
    guard deadline > now else {
      return (poller.waitForEvents(until: now, now: now), false)
    }
    let nanoseconds = coalescingNanoseconds()
    if nanoseconds > 0 {
      let count = poller.waitForEvents(until: now, now: now)
      if count > 0 { return (count, false) }
      kernel.sleep(nanoseconds: min(nanoseconds, deadline.nanoseconds(since: now)))
    }
    return (poller.waitForEvents(until: deadline, now: now), true)
  }
}
