// SPDX-License-Identifier: Apache-2.0
// One epoll instance, its event buffer, and the policy of waiting: block at once, or spin first.
//
// What the kernel's man page leaves between the lines, and this program relies on:
//   - An edge-triggered descriptor is reported when it is added, if it is ready then. So nothing has
//     to be tried before the first event.
//   - A read that returns less than asked has emptied a stream socket, and a write that takes less
//     than offered has filled it (epoll(7), *Questions and answers*): the next change is reported,
//     and the call that would say EAGAIN can be saved.
//   - A report carries all that is true at that moment: with "readable" comes "writable" again.
//   - Closing a descriptor removes it, unless a duplicate is open elsewhere; we never duplicate, so
//     closing is enough, and EPOLL_CTL_DEL is needed only for what stays open.
//   - A batch may hold an event for what an earlier event of that batch has closed: see `Token`.

import CLinux

/// An epoll instance and the events of its last wait. Not thread-safe: a loop owns it.
public struct Poller<K: Kernel>: ~Copyable {
  @usableFromInline let kernel: K
  @usableFromInline let poll: CInt
  @usableFromInline let events: UnsafeMutableBufferPointer<clinux_event>
  @usableFromInline let spinNanoseconds: UInt64
  @usableFromInline let owner: PollOwner<K>

  /// A new epoll instance that takes up to `eventsMax` events at once and polls without blocking for
  /// `spinNanoseconds` before it blocks.
  @inlinable
  public init(kernel: K, eventsMax: Int, spinNanoseconds: UInt64) throws(Errno) {
    precondition(eventsMax > 0)
    self.kernel = kernel
    self.spinNanoseconds = spinNanoseconds
    poll = try kernel.makePoll()
    events = .allocate(capacity: eventsMax)
    events.initialize(repeating: clinux_event())
    owner = PollOwner(kernel: kernel, poll: poll, events: events)
  }

  /// Adds a descriptor. It is removed by being closed, or by `remove`.
  @inlinable
  public borrowing func add(_ descriptor: CInt, for interest: Interest, token: Token)
    throws(Errno)
  {
    try kernel.register(descriptor, with: poll, for: interest, token: token)
  }

  /// Removes a descriptor that stays open.
  @inlinable
  public borrowing func remove(_ descriptor: CInt) {
    kernel.deregister(descriptor, from: poll)
  }

  /// Waits until there are events or `deadline` has come; with `deadline` not after `now` it only
  /// looks. Returns how many events came.
  ///
  /// Never inlined and named so that profiles can leave out the time in which nothing happens.
  @inlinable
  @inline(never)
  public borrowing func waitForEvents(until deadline: Instant, now: Instant) -> Int {
    guard deadline > now else {
      return kernel.wait(poll: poll, into: events, timeoutMilliseconds: 0)
    }
    // The clock is read anew: `now` is when the last turn began, and that one has taken its time.
    if spinNanoseconds > 0 {
      let spinEnd = min(kernel.now().advanced(by: spinNanoseconds), deadline)
      repeat {
        let count = kernel.wait(poll: poll, into: events, timeoutMilliseconds: 0)
        if count > 0 { return count }
      } while kernel.now() < spinEnd
    }
    guard deadline != .distantFuture else {
      return kernel.wait(poll: poll, into: events, timeoutMilliseconds: -1)
    }
    // Rounded up: woken a little late there is something to do, woken early there is not.
    let remaining = deadline.nanoseconds(since: kernel.now())
    let milliseconds = (remaining / 1_000_000) + (remaining % 1_000_000 == 0 ? 0 : 1)
    return kernel.wait(
      poll: poll, into: events, timeoutMilliseconds: CInt(clamping: milliseconds))
  }

  /// An event of the last wait. `index` must be below what that returned.
  @inlinable
  public borrowing func event(_ index: Int) -> (token: Token, readiness: Readiness) {
    let event = events[index]
    return (Token(rawValue: event.token), Readiness(rawValue: event.events))
  }
}

/// Lets go of what a poller holds. A class, because a deinit of the poller itself was not called
/// (Swift 6.3) where a class of another module holds a `Poller<LinuxKernel>`: the address sanitizer
/// saw each event buffer leak, and with it went the epoll instance.
@usableFromInline
final class PollOwner<K: Kernel> {
  private let kernel: K
  private let poll: CInt
  private let events: UnsafeMutableBufferPointer<clinux_event>

  @usableFromInline
  init(kernel: K, poll: CInt, events: UnsafeMutableBufferPointer<clinux_event>) {
    self.kernel = kernel
    self.poll = poll
    self.events = events
  }

  deinit {
    events.deallocate()
    kernel.close(poll)
  }
}
