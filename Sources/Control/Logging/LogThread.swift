// SPDX-License-Identifier: Apache-2.0
// A thread that writes to one descriptor, which may block for as long as it likes: a pipe whose
// reader has stopped, a disk that hangs. Nobody waits for it but the end of the program, and that
// only for a moment.

import CLinux
import Glibc
import Reactor
import Synchronization

/// A thread with a bell that repeats one step until it is told to stop.
final class LogThread: Sendable {
  /// What a step leaves to do.
  enum Rest {
    /// Look again after a pause, though nobody may have rung.
    case soon
    /// Wait until somebody rings.
    case untilRung
    /// Wait until somebody rings, but no longer than this.
    case untilRungWithin(nanoseconds: UInt64)
  }

  /// How long a step's source may collect before it is looked at again.
  private static let pauseMilliseconds: CInt = 25
  /// How long the end of the program waits for what is still to be written.
  private static let patienceMilliseconds: CInt = 2000

  private let bell: Descriptor
  private let ended: Descriptor
  private let isStopping = Atomic<Bool>(false)

  /// Throws when the kernel has no descriptors for it.
  init() throws(Errno) {
    bell = Descriptor(owning: try LinuxKernel().makeBell())
    ended = Descriptor(owning: try LinuxKernel().makeBell())
  }

  /// Ends a wait of the thread. Any thread; does not block.
  func ring() {
    LinuxKernel().ring(bell.rawValue)
  }

  /// Starts the thread. `step` does what there is to do and is told whether it is for the last time.
  /// Throws when the kernel gives no thread.
  func start(
    name: String, _ step: @escaping @Sendable (_ isLast: Bool) -> Rest
  ) throws(Errno) {
    let thread = try LoopThread(name: name) { self.run(step) }
    thread.detach()
  }

  private func run(_ step: (Bool) -> Rest) {
    while !isStopping.load(ordering: .acquiring) {
      switch step(false) {
      case .soon: wait(bell.rawValue, LogThread.pauseMilliseconds)
      case .untilRung: wait(bell.rawValue, -1)
      case .untilRungWithin(let nanoseconds):
        wait(bell.rawValue, CInt(clamping: nanoseconds / 1_000_000 + 1))
      }
      LinuxKernel().silence(bell.rawValue)
    }
    _ = step(true)
    LinuxKernel().ring(ended.rawValue)
  }

  /// Writes what is left and ends the thread. Blocks, but not for longer than about two seconds: a
  /// reader that has stopped must not keep the program from ending. Returns whether all was written.
  func stop() -> Bool {
    isStopping.store(true, ordering: .releasing)
    ring()
    return wait(ended.rawValue, LogThread.patienceMilliseconds)
  }

  /// Waits for a bell. Returns whether it has rung.
  @discardableResult
  private func wait(_ descriptor: CInt, _ milliseconds: CInt) -> Bool {
    var item = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&item, 1, milliseconds) == 1
  }
}
