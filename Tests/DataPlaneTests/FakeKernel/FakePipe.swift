// SPDX-License-Identifier: Apache-2.0
// A pipe of the fake kernel: full by slots, each of which holds at most a page and is used up by
// whatever fragment was put into it, however small. So a pipe that is far from full by bytes may
// take nothing more (pipe(7); fs/splice.c).

import Reactor
import SystemPackage

/// What both ends of a pipe share.
final class FakePipe {
  static let pageBytes = 4096

  let slotsMax: Int
  private var bytes = ByteQueue()
  /// How many bytes each slot in use has left, and which slot is the first.
  private var slots: [Int] = []
  private var firstSlot = 0
  var isReadOpen = true
  var isWriteOpen = true

  init(bytes: Int) {
    slotsMax = max(1, bytes / FakePipe.pageBytes)
  }

  private var isFull: Bool { slots.count - firstSlot >= slotsMax }

  /// Moves from a socket, in fragments of at most `fragmentBytes`.
  func fill(from stream: FakeStream, bytesMax: Int, fragmentBytes: Int) -> Transfer {
    guard isReadOpen else { return .failed(.brokenPipe) }
    guard !isFull else { return .wouldBlock }
    let wanted = min(fragmentBytes, FakePipe.pageBytes)
    return withUnsafeTemporaryAllocation(byteCount: wanted, alignment: 1) { buffer in
      var moved = 0
      while moved < bytesMax, !isFull {
        // What is found behind bytes that have moved is left for the next call.
        if moved > 0, stream.receiveQueue.isEmpty { break }
        let fragment = UnsafeMutableRawBufferPointer(
          rebasing: buffer[..<min(wanted, bytesMax - moved)])
        let transfer = stream.receive(into: fragment, withChance: moved == 0, stopsAtMark: true)
        guard case .moved(let count) = transfer else { return moved > 0 ? .moved(moved) : transfer }
        bytes.append(UnsafeRawBufferPointer(rebasing: fragment[..<count]))
        slots.append(count)
        moved += count
      }
      return .moved(moved)
    }
  }

  /// Moves into a socket.
  func empty(into stream: FakeStream, bytesMax: Int) -> Transfer {
    guard !bytes.isEmpty else { return isWriteOpen ? .wouldBlock : .endOfStream }
    let transfer = bytes.withFirst(min(bytesMax, bytes.count)) { stream.send($0, withChance: true) }
    guard case .moved(let count) = transfer else { return transfer }
    bytes.drop(count)
    freeSlots(count)
    return transfer
  }

  private func freeSlots(_ count: Int) {
    var left = count
    while left > 0 {
      let taken = min(left, slots[firstSlot])
      left -= taken
      slots[firstSlot] -= taken
      if slots[firstSlot] == 0 { firstSlot += 1 }
    }
    guard firstSlot == slots.count else { return }
    slots.removeAll(keepingCapacity: true)
    firstSlot = 0
  }
}

/// One end of a pipe.
final class FakePipeEnd: FakeFile {
  let pipe: FakePipe
  let isReadEnd: Bool

  init(_ pipe: FakePipe, isReadEnd: Bool) {
    self.pipe = pipe
    self.isReadEnd = isReadEnd
  }

  override func close() {
    super.close()
    if isReadEnd { pipe.isReadOpen = false } else { pipe.isWriteOpen = false }
  }
}
