// SPDX-License-Identifier: Apache-2.0
// A descriptor that a loop watches, and the tasks that wait for it: at most one for reading and one for
// writing. It is registered once, edge-triggered, for both directions, and what the kernel has reported
// is remembered here: system calls take it away again when they find nothing (EAGAIN). So a task that
// finds something at once never waits, and one that waits costs no further call to epoll.
//
// A watch owns its descriptor. Whoever waits while it is closed is woken and finds it closed. The loop
// holds every watch until it is closed, so that bytes that are still to be sent outlive the stream they
// were written to.

import CLinux
import Reactor

/// A registered descriptor. The thread of its loop uses it, but for `token` and `drop`.
class Watch: @unchecked Sendable {
  // SAFETY: constants, and state that only the loop's thread touches, which those who use it check.
  let loop: Loop
  /// The number, valid while `isOpen`.
  let descriptor: CInt
  /// Where the loop finds it; set once, by registering.
  private(set) var token = Token(.descriptor, index: 0, generation: 0)

  private(set) var isOpen = false
  /// Reading may find something.
  final var isReadable = false
  /// Writing may find room.
  final var isWritable = false
  /// The peer will send no more, or the socket has failed: an end waits behind what can be read.
  private(set) final var isHungUp = false
  /// A short read does not prove that there is no more: one stops at urgent data.
  private(set) final var hasUrgentData = false
  /// Who waits for it to become readable, and for `writeWait`, writable.
  private(set) final var readWait: WaitID?
  private(set) final var writeWait: WaitID?

  /// What it is, for the listing.
  var what: String { "descriptor" }

  /// Registers an open descriptor. From then on it is the watch's own; when this throws, it is still the
  /// caller's. On the loop's thread, or before the loop runs.
  init(watching descriptor: CInt, on loop: Loop) throws(Errno) {
    loop.engine.checkIsolatedOrIdle()
    self.loop = loop
    self.descriptor = descriptor
    token = try loop.engine.add(self)
    isOpen = true
  }

  // MARK: Events

  /// Remembers what the kernel reports and wakes who waits for it.
  final func receive(_ readiness: Readiness) {
    assert(isOpen)
    // A hang-up or an error is found by reading, and by writing, too.
    if !readiness.isDisjoint(with: [.readHangUp, .hangUp, .error]) { isHungUp = true }
    if readiness.contains(.urgent) { hasUrgentData = true }
    if !readiness.isDisjoint(with: [.writable, .hangUp, .error]) {
      isWritable = true
      becameWritable()
    }
    // Sending what was buffered may have been the last thing to do.
    guard isOpen else { return }
    if !readiness.isDisjoint(with: [.readable, .readHangUp, .hangUp, .error]) {
      isReadable = true
      becameReadable()
    }
  }

  /// Called when there may be something to read. Wakes who waits for it.
  func becameReadable() {
    wakeReader()
  }

  /// Called when there may be room to write. Wakes who waits for it.
  func becameWritable() {
    wakeWriter()
  }

  final func wakeReader() {
    if let id = readWait { loop.engine.wake(id, .ready) }
  }

  final func wakeWriter() {
    if let id = writeWait { loop.engine.wake(id, .ready) }
  }

  // MARK: Waits

  /// Suspends the calling task until the descriptor is readable or closed, or the wait ends otherwise.
  /// `what` is for the listing.
  final func waitReadable(_ what: String, until deadline: Instant) async -> Wake {
    precondition(readWait == nil, "two tasks read at once: \(self.what)")
    let wake = await loop.park(what, until: deadline) { readWait = $0 }
    readWait = nil
    return wake
  }

  /// Lets everything else that is ready run, for a task that has had its share of this turn.
  final func waitForTurn() async -> Wake {
    await loop.park("turn", until: .distantFuture) { loop.engine.wakeNextTurn($0) }
  }

  /// Suspends the calling task until `wakeWriter`, or the wait ends otherwise.
  final func waitWritable(_ what: String, until deadline: Instant) async -> Wake {
    precondition(writeWait == nil, "two tasks write at once: \(self.what)")
    let wake = await loop.park(what, until: deadline) { writeWait = $0 }
    writeWait = nil
    return wake
  }

  // MARK: The end

  /// Closes the descriptor, by a reset if the peer must see that this is no orderly end, and wakes who
  /// waits for it. Harmless when it is closed.
  func close(byReset isReset: Bool = false) {
    guard isOpen else { return }
    isOpen = false
    loop.engine.remove(self)
    closeDescriptor(byReset: isReset)
    wakeReader()
    wakeWriter()
  }

  /// Lets the descriptor itself go.
  func closeDescriptor(byReset isReset: Bool) {
    let kernel = loop.engine.kernel
    if isReset { kernel.reset(descriptor) } else { kernel.close(descriptor) }
  }

  /// Nobody holds what was made with this watch any more. Any thread.
  final func drop() {
    let engine = loop.engine
    if engine.isOnThread { return wasDropped() }
    // A loop that does not run may never do again: nobody would take the message.
    if !engine.whileIdle({ wasDropped() }) { engine.post(.drop(token)) }
  }

  /// The owner is gone without having closed.
  func wasDropped() {
    close()
  }
}
