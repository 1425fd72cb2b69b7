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
  private(set) var slots: [[UInt8]] = []
  var isReadOpen = true
  var isWriteOpen = true

  init(bytes: Int) {
    slotsMax = max(1, bytes / FakePipe.pageBytes)
  }

  var isFull: Bool { slots.count >= slotsMax }

  /// Moves from a socket, in fragments of at most `fragmentBytes`.
  func fill(from stream: FakeStream, bytesMax: Int, fragmentBytes: Int) -> Transfer {
    guard isReadOpen else { return .failed(.brokenPipe) }
    guard !isFull else { return .wouldBlock }
    var moved = 0
    while moved < bytesMax, !isFull {
      let wanted = min(fragmentBytes, FakePipe.pageBytes, bytesMax - moved)
      // What is found behind bytes that have moved is left for the next call.
      if moved > 0, stream.receiveQueue.isEmpty { break }
      let (transfer, bytes) = stream.splice(bytesMax: wanted, withChance: moved == 0)
      guard case .moved(let count) = transfer else { return moved > 0 ? .moved(moved) : transfer }
      slots.append(bytes)
      moved += count
    }
    return .moved(moved)
  }

  /// Moves into a socket.
  func empty(into stream: FakeStream, bytesMax: Int) -> Transfer {
    guard !slots.isEmpty else { return isWriteOpen ? .wouldBlock : .endOfStream }
    var moved = 0
    while moved < bytesMax, let first = slots.first {
      let offered = first.prefix(bytesMax - moved)
      let transfer = stream.send(offered, withChance: moved == 0)
      guard case .moved(let count) = transfer else { return moved > 0 ? .moved(moved) : transfer }
      moved += count
      if count == first.count { slots.removeFirst() } else { slots[0].removeFirst(count) }
      if count < offered.count { break }
    }
    return .moved(moved)
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
