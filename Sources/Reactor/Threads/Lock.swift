// SPDX-License-Identifier: Apache-2.0
// A value behind a pthread mutex. `Synchronization.Mutex` would do, but the thread sanitizer does
// not understand it and reports races in correct code; this one it understands.

import Glibc

/// A value that one thread at a time may use. Hold it briefly: never across a system call that can
/// block.
public struct Lock<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
  // SAFETY: the value is reached only between lock and unlock; both live as long as this owner.
  @usableFromInline let mutex: UnsafeMutablePointer<pthread_mutex_t>
  @usableFromInline let value: UnsafeMutablePointer<Value>

  /// Puts a value behind a lock.
  public init(_ value: consuming Value) {
    mutex = .allocate(capacity: 1)
    self.value = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    self.value.initialize(to: value)
  }

  deinit {
    value.deinitialize(count: 1)
    value.deallocate()
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  /// Calls `body` with the value while no other thread has it. Not recursive.
  @inlinable
  public borrowing func withLock<R: ~Copyable, E: Error>(
    _ body: (inout Value) throws(E) -> R
  ) throws(E) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body(&value.pointee)
  }
}
