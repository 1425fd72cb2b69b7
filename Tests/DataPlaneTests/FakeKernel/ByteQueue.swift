// SPDX-License-Identifier: Apache-2.0
// A queue of bytes: appended at one end, taken from the other, each byte copied a constant number of
// times. (Removing the first elements of an array moves all that follow, every time.)

/// Bytes in their order.
struct ByteQueue {
  private var bytes: [UInt8] = []
  /// How many of `bytes` were taken already.
  private var taken = 0

  var count: Int { bytes.count - taken }
  var isEmpty: Bool { count == 0 }

  mutating func append(_ source: UnsafeRawBufferPointer) {
    bytes.append(contentsOf: source)
  }

  /// Takes the first `count` bytes and copies them to the start of `destination`.
  mutating func take(_ count: Int, into destination: UnsafeMutableRawBufferPointer) {
    precondition(count <= self.count && count <= destination.count)
    bytes.withUnsafeBytes { source in
      destination.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[taken..<taken + count]))
    }
    drop(count)
  }

  /// Takes the first `count` bytes and appends them to another queue.
  mutating func take(_ count: Int, into other: inout ByteQueue) {
    precondition(count <= self.count)
    bytes.withUnsafeBytes { source in
      other.append(UnsafeRawBufferPointer(rebasing: source[taken..<taken + count]))
    }
    drop(count)
  }

  mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
    taken = 0
  }

  /// Shows the first `count` bytes.
  func withFirst<Result>(_ count: Int, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[taken..<taken + count])) }
  }

  /// Takes the first `count` bytes.
  mutating func drop(_ count: Int) {
    precondition(count <= self.count)
    taken += count
    if taken == bytes.count {
      removeAll()
    } else if taken > 4096, taken > bytes.count / 2 {
      bytes.removeFirst(taken)
      taken = 0
    }
  }
}
