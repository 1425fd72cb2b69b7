// SPDX-License-Identifier: Apache-2.0
// One end of a connection, blocking, with a time-out on every call: what a client does is then
// written in the order in which it does it.

import Addressing
import CLinux
import Foundation
import Glibc
import Reactor

/// A connected stream socket, of a client or of a server.
final class Connection: @unchecked Sendable {
  // SAFETY: the kernel serialises calls; `isOpen` is touched by the owner alone.
  let descriptor: Int32
  private var isOpen = true
  private var wasResetEarly = false

  /// Connects to `address`, a text such as `127.0.0.1:80` or `unix:/path`. Bytes may be `receive`d
  /// into a smaller buffer of the kernel.
  init(_ address: String, receiveBuffer: Int32? = nil) throws {
    guard let socketAddress = SocketAddress(address) else {
      throw ScenarioFailure("no address: \(address)")
    }
    let target = KernelAddress(socketAddress)
    descriptor = socket(target.family, streamType, 0)
    if let receiveBuffer {
      _ = clinux_set_option(descriptor, SOL_SOCKET, SO_RCVBUF, receiveBuffer)
    }
    setTimeouts()
    guard target.withSockaddr({ connect(descriptor, $0, $1) }) == 0 else {
      // Accepted, and reset before connect(2) had returned: the same reset, seen early.
      if errno == ECONNRESET {
        wasResetEarly = true
        return
      }
      throw ScenarioFailure("cannot connect to \(address): \(String(cString: strerror(errno)))")
    }
  }

  /// Takes over a connection that was accepted.
  init(accepted descriptor: Int32) {
    self.descriptor = descriptor
    _ = fcntl(descriptor, F_SETFL, 0)
    setTimeouts()
  }

  deinit {
    close()
  }

  private func setTimeouts() {
    var time = timeval(tv_sec: Int(patience), tv_usec: 0)
    let size = socklen_t(MemoryLayout<timeval>.size)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, size)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, size)
  }

  func close() {
    if isOpen { Glibc.close(descriptor) }
    isOpen = false
  }

  /// Closes so that the other side sees a reset.
  func reset() {
    var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
    setsockopt(
      descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    close()
  }

  /// Sends all of `bytes`.
  func send(_ bytes: [UInt8]) throws {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { throw ScenarioFailure("send: \(String(cString: strerror(errno)))") }
      sent += count
    }
  }

  /// Sends one byte as urgent data.
  func sendUrgent(_ byte: UInt8) throws {
    var byte = byte
    guard Glibc.send(descriptor, &byte, 1, Int32(MSG_OOB | MSG_NOSIGNAL)) == 1
    else { throw ScenarioFailure("send: \(String(cString: strerror(errno)))") }
  }

  func send(_ text: String) throws {
    try send(Array(text.utf8))
  }

  /// Finishes sending: the other side sees the end of the stream.
  func finish() {
    shutdown(descriptor, Int32(SHUT_WR))
  }

  /// Receives exactly `count` bytes as text.
  func receive(_ count: Int) throws -> String {
    var bytes: [UInt8] = []
    while bytes.count < count {
      let some = try receiveSome(count - bytes.count)
      if some.isEmpty { throw ScenarioFailure("the stream ended after \(bytes.count) bytes") }
      bytes += some
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Receives until the end of the stream. Throws when it does not end in order.
  func receiveAll() throws -> [UInt8] {
    var bytes: [UInt8] = []
    while true {
      let some = try receiveSome(1 << 16)
      if some.isEmpty { return bytes }
      bytes += some
    }
  }

  /// The rest of the stream as text.
  func rest() throws -> String {
    String(decoding: try receiveAll(), as: UTF8.self)
  }

  /// Whether the stream ends with a reset; what comes before that is passed over.
  func isReset() throws -> Bool {
    if wasResetEarly { return true }
    do {
      _ = try receiveAll()
      return false
    } catch is ResetByPeer {
      return true
    }
  }

  /// What the other side answers to `text` and the end of the stream behind it.
  func ask(_ text: String) throws -> String {
    try send(text)
    finish()
    return try rest()
  }

  /// What the other side sends while `bytes` and the end of the stream are sent to it.
  func exchange(_ bytes: [UInt8]) throws -> [UInt8] {
    Thread.detachNewThread {
      // What goes wrong here shows in what comes back.
      try? self.send(bytes)
      self.finish()
    }
    return try receiveAll()
  }

  /// What the other side sends back for `text`, while both can still send.
  func echo(_ text: String) throws -> String {
    try send(text)
    return try receive(text.utf8.count)
  }

  /// Waits until there is something to receive, at most for so long: time in which this side is
  /// silent.
  func waitForInput(milliseconds: Int32) {
    var item = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    _ = poll(&item, 1, milliseconds)
  }

  /// Waits until the connection has failed.
  func waitForFailure() {
    // No events are asked for: POLLERR and POLLHUP come unasked.
    var item = pollfd(fd: descriptor, events: 0, revents: 0)
    _ = poll(&item, 1, Int32(patience * 1000))
  }

  /// The IP address of the other side.
  func peerHost() -> String {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    _ = withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getpeername(descriptor, $0, &length)
      }
    }
    return PeerAddress(storage).socketAddress?.ip?.description ?? ""
  }

  private struct ResetByPeer: Error {}

  /// Receives up to `count` bytes, none at the end of the stream.
  private func receiveSome(_ count: Int) throws -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: count)
    let received = recv(descriptor, &buffer, count, 0)
    guard received >= 0 else {
      if errno == ECONNRESET { throw ResetByPeer() }
      throw ScenarioFailure("receive: \(String(cString: strerror(errno)))")
    }
    return Array(buffer[..<received])
  }
}

/// A stream socket that no process started by another test inherits.
let streamType = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
