// SPDX-License-Identifier: Apache-2.0
// Endpoints that a test has in its hand: a server with a thread per connection, a port that refuses,
// and one that never answers.

import Addressing
import CLinux
import Foundation
import Glibc
import Reactor

/// A bound socket and its address as text.
private func bindSocket(_ text: String) throws -> (descriptor: Int32, address: String) {
  guard let address = SocketAddress(text) else { throw ScenarioFailure("no address: \(text)") }
  let kernelAddress = KernelAddress(address)
  let descriptor = socket(kernelAddress.family, streamType, 0)
  guard kernelAddress.withSockaddr({ bind(descriptor, $0, $1) }) == 0 else {
    throw ScenarioFailure("cannot bind \(text): \(String(cString: strerror(errno)))")
  }
  return (descriptor, boundAddress(descriptor)?.description ?? text)
}

/// Whether this machine has the IPv6 loopback address.
let hasIPv6: Bool = {
  do throws(ListeningSocket.Failure) {
    _ = try ListeningSocket(at: .v6(.loopback, port: 0), backlog: 1, options: StreamOptions())
    return true
  } catch {
    return false
  }
}()

/// A server on loopback that gives every connection to a function, on a thread of its own.
final class Server {
  let address: String
  private let descriptor: Int32
  private let accepted = Counter()

  /// How many connections it has accepted so far.
  var acceptedCount: Int { accepted.value }

  /// Listens and serves. The connection is closed when `serve` returns.
  init(
    at text: String = "127.0.0.1:0", _ serve: @escaping @Sendable (Connection) throws -> Void
  ) throws {
    (descriptor, address) = try bindSocket(text)
    listen(descriptor, 128)
    let descriptor = descriptor
    let accepted = accepted
    Thread.detachNewThread {
      while true {
        var item = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        _ = poll(&item, 1, -1)
        let number = clinux_accept(descriptor, nil, nil)
        if number == -EAGAIN || number == -ECONNABORTED { continue }
        guard number >= 0 else { break }
        accepted.add()
        let connection = Connection(accepted: number)
        Thread.detachNewThread {
          try? serve(connection)
          connection.close()
        }
      }
      close(descriptor)
    }
  }

  deinit {
    // Wakes the thread, which closes the descriptor: nobody else may get its number before that.
    shutdown(descriptor, Int32(SHUT_RDWR))
  }

  /// A server that says its name and closes when the client has.
  static func named(_ name: String, at address: String = "127.0.0.1:0") throws -> Server {
    try Server(at: address) { connection in
      try connection.send(name)
      connection.finish()
      _ = try connection.receiveAll()
    }
  }

  /// A server that sends nothing and closes only when the connection has failed.
  static func silentAfterEnd() throws -> Server {
    try Server { connection in
      _ = try connection.receiveAll()
      connection.waitForFailure()
    }
  }
}

/// A number that several threads count up.
final class Counter: Sendable {
  private let count = Lock(0)

  var value: Int { count.withLock { $0 } }

  func add() {
    count.withLock { $0 += 1 }
  }
}

/// A port that is taken and where nobody listens: connecting is refused.
final class RefusingPort {
  let address: String
  private let descriptor: Int32

  init(_ text: String = "127.0.0.1:0") throws {
    (descriptor, address) = try bindSocket(text)
  }

  deinit {
    close(descriptor)
  }
}

/// A bound and listening socket that nobody accepts from: to hand over, or to be in the way.
final class BoundSocket {
  let address: String
  let descriptor: Int32

  init(_ text: String = "127.0.0.1:0", backlog: Int32 = 16) throws {
    (descriptor, address) = try bindSocket(text)
    listen(descriptor, backlog)
  }

  deinit {
    close(descriptor)
  }
}

/// A port whose queue is full: connecting gets no answer.
final class UnansweringPort {
  private let socket: BoundSocket
  private var fillers: [Int32] = []

  var address: String { socket.address }

  init() throws {
    socket = try BoundSocket(backlog: 0)
    guard let parsed = SocketAddress(socket.address) else { throw ScenarioFailure("no address") }
    let address = KernelAddress(parsed)
    for _ in 0..<4 {
      let filler = Glibc.socket(
        address.family, streamType | Int32(SOCK_NONBLOCK.rawValue), 0)
      _ = address.withSockaddr { connect(filler, $0, $1) }
      fillers.append(filler)
    }
  }

  deinit {
    for filler in fillers { close(filler) }
  }
}

/// Waits until something has become true on another thread. Returns whether it has.
func eventually(_ condition: () -> Bool) -> Bool {
  let end = Date(timeIntervalSinceNow: patience)
  while !condition() {
    guard Date() < end else { return false }
    // Nobody rings for this: look again in a moment.
    _ = poll(nil, 0, 5)
  }
  return true
}
