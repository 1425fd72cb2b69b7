// IPv4 sockets, as far as a load generator needs them.

import CLoad
import Glibc

/// An IPv4 address with a port.
struct Address {
  private var storage = sockaddr_in()

  init(_ text: String) {
    let parts = text.split(separator: ":")
    guard parts.count == 2, let port = UInt16(parts[1]) else { fail("address \(text)?", code: 64) }
    storage.sin_family = sa_family_t(AF_INET)
    storage.sin_port = port.bigEndian
    guard inet_pton(AF_INET, String(parts[0]), &storage.sin_addr) == 1 else {
      fail("address \(text)?", code: 64)
    }
  }

  func withSocketAddress<Result>(
    _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
  ) -> Result {
    withUnsafePointer(to: storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }
}

private func newSocket() -> Int32 {
  let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
  return require(socket(AF_INET, type, 0), "socket")
}

private func switchOn(_ option: Int32, level: Int32, of descriptor: Int32) {
  var on: Int32 = 1
  let size = socklen_t(MemoryLayout<Int32>.size)
  require(setsockopt(descriptor, level, option, &on, size), "setsockopt")
}

/// A listening, non-blocking socket.
func listening(at address: Address) -> Int32 {
  let descriptor = newSocket()
  switchOn(SO_REUSEADDR, level: SOL_SOCKET, of: descriptor)
  require(address.withSocketAddress { bind(descriptor, $0, $1) }, "bind")
  require(listen(descriptor, 4096), "listen")
  setNonBlocking(descriptor)
  return descriptor
}

/// A connected, blocking socket. Over loopback a blocking connect comes back at once, and costs
/// fewer calls than a non-blocking one with its wait.
func connected(to address: Address) -> Int32 {
  let descriptor = newSocket()
  require(address.withSocketAddress { connect(descriptor, $0, $1) }, "connect")
  return descriptor
}

func setNonBlocking(_ descriptor: Int32) {
  let flags = require(fcntl(descriptor, F_GETFL, 0), "fcntl")
  require(fcntl(descriptor, F_SETFL, flags | O_NONBLOCK), "fcntl")
}

/// Small messages must leave at once, as every client of such a protocol has it.
func setNoDelay(_ descriptor: Int32) {
  switchOn(Int32(TCP_NODELAY), level: Int32(IPPROTO_TCP), of: descriptor)
}

/// What a call on a socket that may not block came to.
enum Transfer {
  case bytes(Int)
  case wouldBlock
  case ended

  init(_ result: Int) {
    if result > 0 {
      self = .bytes(result)
    } else if result == -1 && (errno == EAGAIN || errno == EINTR) {
      self = .wouldBlock
    } else {
      self = .ended
    }
  }
}
