// SPDX-License-Identifier: Apache-2.0
// A named thread that is joined. Loops run on threads of their own, never on those of Swift's
// global executor: they block in epoll_wait.

import CLinux
import Glibc
import SystemPackage

/// A thread that runs one function.
public struct LoopThread: ~Copyable, @unchecked Sendable {
  // SAFETY: a pthread_t is a number that any thread may join.
  private let thread: pthread_t

  private final class Start {
    let name: String
    let body: () -> Void

    init(name: String, body: @escaping () -> Void) {
      self.name = name
      self.body = body
    }
  }

  /// Starts a thread. The name is shown by ps(1) and top(1), cut to 15 bytes (pthread_setname_np(3)).
  /// Signals are handled by whoever blocked them before: the new thread inherits the mask.
  ///
  /// Throws when the kernel gives no thread: a limit of processes is reached (RLIMIT_NPROC, the
  /// control group's pids.max), or there is no memory for the stack.
  public init(name: String, _ body: sending @escaping () -> Void) throws(Errno) {
    let start = Unmanaged.passRetained(Start(name: String(name.prefix(15)), body: body))
    var thread = pthread_t()
    let result = pthread_create(
      &thread, nil,
      { argument in
        let start = Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
        clinux_name_thread(start.name)
        start.body()
        return nil
      }, start.toOpaque())
    guard result == 0 else {
      start.release()
      throw Errno(rawValue: result)
    }
    self.thread = thread
  }

  /// Waits until the function has returned. Blocks.
  public consuming func join() {
    pthread_join(thread, nil)
  }

  /// Lets the thread go: nobody will wait for it.
  public consuming func detach() {
    pthread_detach(thread)
  }
}
