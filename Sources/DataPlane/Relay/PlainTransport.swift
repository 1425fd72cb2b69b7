// SPDX-License-Identifier: Apache-2.0
// How bytes move between a connection and this program: what the relay asks of a transport. A plain one is
// socket calls, and splice(2) where both connections of a session are plain.
//
// The relay relies on four things, which another transport must keep: it says by itself whether it can read
// and write now (one that must write in order to read says so here, not by epoll's events); bytes that it
// holds count as readable; `sendEnd` may be called again until it is done; and an error is reported once,
// behind all bytes that came before it.

import Reactor

/// Plain sockets.
struct PlainTransport<K: Kernel> {
  let kernel: K

  /// Whether reading may find something.
  func mayRead(_ connection: borrowing Connection) -> Bool { connection.flags.contains(.readable) }

  /// Whether writing may find room.
  func mayWrite(_ connection: borrowing Connection) -> Bool {
    connection.flags.contains(.writable)
  }

  func read(
    _ connection: borrowing Connection, into buffer: UnsafeMutableRawBufferPointer
  ) -> Transfer {
    kernel.receive(connection.socket.rawValue, into: buffer)
  }

  func write(_ connection: borrowing Connection, _ bytes: UnsafeRawBufferPointer) -> Transfer {
    kernel.send(connection.socket.rawValue, bytes)
  }

  func splice(_ connection: borrowing Connection, into pipe: Pipe, bytesMax: Int) -> Transfer {
    kernel.splice(from: connection.socket.rawValue, to: pipe.writeEnd, bytesMax: bytesMax)
  }

  func splice(_ pipe: Pipe, into connection: borrowing Connection, bytesMax: Int) -> Transfer {
    kernel.splice(from: pipe.readEnd, to: connection.socket.rawValue, bytesMax: bytesMax)
  }

  /// Sends the end of the stream. Returns false if the connection was gone already.
  func sendEnd(_ connection: borrowing Connection) -> Bool {
    kernel.shutdownWrite(connection.socket.rawValue)
  }
}
