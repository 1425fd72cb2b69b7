// SPDX-License-Identifier: Apache-2.0
// Large tables that are sized for the worst case and mostly stay empty: address space, of which only
// the pages that are touched take memory, as long as nobody initialises the others either.

import Glibc
import SystemPackage

/// The length of a table is kept in front of it; what follows is aligned to a cache line.
private let headerBytes = 64

/// Memory of at least `bytes`, all zero, of which the kernel provides only the pages that are
/// touched. What is not touched is not even promised (`MAP_NORESERVE`), so that a table larger than
/// the machine does not fail where the kernel counts promises (`vm.overcommit_memory` 0). Throws when
/// there is not so much address space (`ulimit -v`), or when the kernel counts all the same
/// (`vm.overcommit_memory` 2). Release it with `freeZeroedMemory`.
public func zeroedMemory(_ bytes: Int) throws(Errno) -> UnsafeMutableRawPointer {
  precondition(bytes >= 0)
  let (length, overflow) = bytes.addingReportingOverflow(headerBytes)
  guard !overflow else { throw .noMemory }
  let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
  guard let start = mmap(nil, length, PROT_READ | PROT_WRITE, flags, -1, 0), start != MAP_FAILED
  else { throw Errno(rawValue: errno) }
  start.storeBytes(of: length, as: Int.self)
  return start + headerBytes
}

/// Releases what `zeroedMemory` gave.
public func freeZeroedMemory(_ memory: UnsafeMutableRawPointer) {
  let start = memory - headerBytes
  let result = munmap(start, start.load(as: Int.self))
  precondition(result == 0, "releasing a table: \(Errno(rawValue: errno))")
}
