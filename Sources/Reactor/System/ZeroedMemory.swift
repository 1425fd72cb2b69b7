// SPDX-License-Identifier: Apache-2.0
// Large tables that are sized for the worst case and mostly stay empty: pages that nobody has
// touched take no memory, as long as nobody initialises them either.

import Glibc

/// Memory of at least `bytes`, all zero, of which the kernel provides only the pages that are
/// touched. Traps when there is none. Release it with `freeZeroedMemory`.
public func zeroedMemory(_ bytes: Int) -> UnsafeMutableRawPointer {
  // calloc takes large blocks straight from the kernel and does not clear what is clear already.
  guard let memory = calloc(max(bytes, 1), 1) else {
    fatalError("no memory for a table of \(bytes) bytes")
  }
  return memory
}

/// Releases what `zeroedMemory` gave.
public func freeZeroedMemory(_ memory: UnsafeMutableRawPointer) {
  free(memory)
}
