// SPDX-License-Identifier: Apache-2.0
// What ends a loop's wait from another thread: an eventfd(2) with an owner, so that it stays open as long
// as anybody can ring it.

/// A descriptor that any thread can make readable, and the loop that watches it unreadable again.
public final class Bell<K: Kernel>: Sendable {
  private let kernel: K
  /// What the loop watches, as `Interest.readable`. Closed with the bell.
  public let descriptor: CInt

  /// A bell that does not ring. Throws when the kernel has no descriptor for it.
  public init(_ kernel: K) throws(Errno) {
    self.kernel = kernel
    descriptor = try kernel.makeBell()
  }

  deinit {
    kernel.close(descriptor)
  }

  /// Makes the descriptor readable. Any thread.
  public func ring() {
    kernel.ring(descriptor)
  }

  /// Makes it unreadable again. The loop that watches it.
  public func silence() {
    kernel.silence(descriptor)
  }
}
