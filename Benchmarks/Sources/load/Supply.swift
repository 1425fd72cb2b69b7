// Bytes to send without end: from the memory of the sender, which the kernel has to copy, as from any program; or
// from a file by sendfile(2), without copying, as a server of files does it. A sender that copies takes
// more of its core for a byte than a good proxy, and then it is what limits the rate.

import CLoad
import Glibc

/// Zeros, sent again and again.
struct Supply {
  /// Where they come from.
  enum Origin: String {
    case memory, file
  }

  private static let bytes = 262_144
  private let memory: UnsafeMutableRawPointer
  private var file: Int32?

  init(from origin: Origin) {
    memory = .allocate(byteCount: Supply.bytes, alignment: 4096)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: Supply.bytes)
    guard origin == .file else { return }
    // sendfile(2) has no flag like MSG_NOSIGNAL.
    signal(SIGPIPE, SIG_IGN)
    let file = requireCode(load_memory_file(), "memfd_create")
    guard write(file, memory, Supply.bytes) == Supply.bytes else { fail("no room for a file") }
    self.file = file
  }

  /// Sends as much as the socket takes, up to 256 KiB.
  func send(to socket: Int32) -> Transfer {
    guard let file else {
      return Transfer(Glibc.send(socket, memory, Supply.bytes, Int32(MSG_NOSIGNAL)))
    }
    var offset: off_t = 0
    return Transfer(sendfile(socket, file, &offset, Supply.bytes))
  }
}
