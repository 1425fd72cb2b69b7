// SPDX-License-Identifier: Apache-2.0
// Lines to a descriptor. A disk may be full in the middle of a line and have room again later: what
// is written then must not go on where the line was cut.

import Glibc
import Reactor

/// Writes lines. One thread may use it.
final class LineWriter {
  /// write(2), or what a test puts in its place: returns a count, or -1 with errno set.
  typealias Write = (_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Int

  private static let newline = UInt8(ascii: "\n")

  let descriptor: CInt
  private let write: Write
  /// Whether the last byte that was written is not the end of a line.
  private var isTorn = false

  /// Writes to a descriptor that stays the caller's.
  init(
    _ descriptor: CInt, write: @escaping Write = { Glibc.write($0, $1.baseAddress, $1.count) }
  ) {
    self.descriptor = descriptor
    self.write = write
  }

  /// Writes whole lines. Blocks. Returns how many of them were not written, and what the kernel
  /// answered then.
  func writeLines(_ lines: [UInt8]) -> (lost: Int, error: Errno?) {
    assert(lines.last == LineWriter.newline)
    var error: Errno?
    if isTorn { error = writeAll([LineWriter.newline]).error }
    guard error == nil else { return (count(lines[...]), error) }
    isTorn = false
    let written: Int
    (written, error) = writeAll(lines)
    guard error != nil else { return (0, nil) }
    isTorn = written > 0 && lines[written - 1] != LineWriter.newline
    return (count(lines[written...]), error)
  }

  private func count(_ lines: ArraySlice<UInt8>) -> Int {
    lines.count { $0 == LineWriter.newline }
  }

  /// Writes until everything is written or the kernel refuses.
  private func writeAll(_ bytes: [UInt8]) -> (count: Int, error: Errno?) {
    var offset = 0
    while offset < bytes.count {
      let count = bytes.withUnsafeBytes {
        write(descriptor, UnsafeRawBufferPointer(rebasing: $0[offset...]))
      }
      if count >= 0 {
        offset += count
        continue
      }
      switch errno {
      case EINTR: continue
      case EAGAIN:
        // Somebody else has set the descriptor to non-blocking; this thread may wait.
        var item = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = poll(&item, 1, -1)
      default: return (offset, Errno(rawValue: errno))
      }
    }
    return (offset, nil)
  }
}
