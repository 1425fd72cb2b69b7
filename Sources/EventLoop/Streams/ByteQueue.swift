// SPDX-License-Identifier: Apache-2.0
// Bytes that wait, to be read or to be sent: appended at the end, taken from the front. An empty queue
// holds no memory, so that an idle stream costs none.

import Glibc

/// A queue of bytes in one piece of memory.
struct ByteQueue {
  private var storage: [UInt8] = []
  /// What lies before it was taken.
  private var start = 0

  var count: Int { storage.count - start }
  var isEmpty: Bool { storage.count == start }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    // Moving what is left costs no more than taking what was before it did.
    if start > storage.count / 2 {
      storage.removeSubrange(..<start)
      start = 0
    }
    storage.append(contentsOf: bytes)
  }

  /// Drops the first bytes.
  mutating func drop(_ count: Int) {
    precondition(count <= self.count)
    start += count
    if start == storage.count { removeAll() }
  }

  /// Takes the first bytes.
  mutating func take(_ count: Int) -> [UInt8] {
    precondition(count <= self.count)
    if start == 0, count == storage.count {
      defer { removeAll() }
      return storage
    }
    let bytes = Array(storage[start..<start + count])
    drop(count)
    return bytes
  }

  mutating func removeAll() {
    storage = []
    start = 0
  }

  func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
    storage.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[start...])) }
  }

  /// How many bytes there are up to and with the first `delimiter` whose first byte is not before
  /// `offset`; `nil` if there is none.
  func count(through delimiter: [UInt8], from offset: Int) -> Int? {
    precondition(!delimiter.isEmpty)
    return withBytes { bytes in
      delimiter.withUnsafeBytes { delimiter in
        guard let base = bytes.baseAddress, let wanted = delimiter.baseAddress else { return nil }
        var position = offset
        while position + delimiter.count <= bytes.count {
          let room = bytes.count - delimiter.count + 1 - position
          guard let found = memchr(base + position, CInt(delimiter[0]), room) else { return nil }
          position = UnsafeRawPointer(found) - base
          if memcmp(base + position, wanted, delimiter.count) == 0 {
            return position + delimiter.count
          }
          position += 1
        }
        return nil
      }
    }
  }
}
