// SPDX-License-Identifier: Apache-2.0
// A row of numbers that one thread writes and any thread reads.

import Synchronization

/// Words that begin at 0. A thread that reads a word sees everything that its writer did before writing it.
final class SharedWords: Sendable {
  let count: Int
  // SAFETY: allocated by `init`, freed by `deinit`; every access in between is atomic.
  private nonisolated(unsafe) let words: UnsafeMutablePointer<Atomic<UInt32>>

  init(count: Int) {
    precondition(count > 0)
    self.count = count
    words = .allocate(capacity: count)
    for word in 0..<count { (words + word).initialize(to: Atomic(0)) }
  }

  deinit {
    words.deallocate()
  }

  subscript(position: Int) -> UInt32 {
    get {
      assert(position >= 0 && position < count)
      return words[position].load(ordering: .acquiring)
    }
    set {
      assert(position >= 0 && position < count)
      words[position].store(newValue, ordering: .releasing)
    }
  }
}
