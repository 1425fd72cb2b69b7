// SPDX-License-Identifier: Apache-2.0
// A server for health checks, on the loop of the test, that behaves as it is told from one connection to
// the next.

import Addressing
import EventLoop
import Plan
import Reactor

@testable import Control

/// A server on the current loop. Serves until it is closed or the loop ends.
final class CheckedServer: @unchecked Sendable {
  // SAFETY: made and used on one loop's thread.

  /// What it does with a connection.
  enum Behaviour {
    /// Reads a request up to its empty line, writes these pieces, a turn apart, and finishes.
    case answer([String])
    /// Accepts and keeps the connection without a word.
    case silence
    /// Resets it.
    case reset
  }

  let address: SocketAddress
  var behaviour: Behaviour
  /// What it does with one connection after another, over and over; empty: always `behaviour`.
  var script: [Behaviour] = []
  /// How many connections were accepted.
  private(set) var acceptedCount = 0
  /// When, each of them.
  private(set) var acceptedAt: [Instant] = []
  /// The requests that were read.
  private(set) var requests: [String] = []
  /// Where the connections came from.
  private(set) var clients: [SocketAddress?] = []
  /// How reading from connections that were kept has ended.
  private(set) var ends: [StreamError?] = []
  private let listener: StreamListener

  /// Listens on a port of the loopback address, or at a unix socket's abstract name.
  init(_ behaviour: Behaviour = .silence, isUnix: Bool = false) throws {
    let tag = String(UInt64.random(in: .min ... .max), radix: 36)
    let listener = try StreamListener(
      at: isUnix ? .abstract(name: "sluice-test-\(tag)") : .v4(.loopback, port: 0))
    self.listener = listener
    self.behaviour = behaviour
    address = listener.address
    Loop.current?.spawn(name: "server") { [self] in
      for try await stream in listener.connections {
        let next = script.isEmpty ? self.behaviour : script[acceptedCount % script.count]
        acceptedCount += 1
        acceptedAt.append(Loop.current?.now ?? .distantFuture)
        clients.append(stream.peerAddress)
        Loop.current?.spawn(name: "connection") { [self] in await serve(stream, next) }
      }
    }
  }

  /// Refuses connections from now on.
  func close() {
    listener.close()
  }

  private func serve(_ stream: Stream, _ behaviour: Behaviour) async {
    switch behaviour {
    case .reset: stream.abort()
    case .silence: await keep(stream)
    case .answer(let pieces):
      do throws(StreamError) {
        let head = try await stream.read(through: Array("\r\n\r\n".utf8), max: 10_000)
        requests.append(String(decoding: head, as: UTF8.self))
        for piece in pieces {
          try stream.write(Array(piece.utf8))
          _ = try? await Loop.current?.sleep(for: .milliseconds(1))
        }
        try await stream.finishWriting()
      } catch {}
      await keep(stream)
    }
  }

  private func keep(_ stream: Stream) async {
    do throws(StreamError) {
      while try await !stream.read().isEmpty {}
      ends.append(nil)
    } catch {
      ends.append(error)
    }
    stream.abort()
  }
}

/// Waits on the current loop until something has become true, at most for half a minute. Returns whether
/// it has.
func soon(_ condition: () -> Bool) async throws -> Bool {
  guard let loop = Loop.current else { return condition() }
  let deadline = loop.now.advanced(by: 30_000_000_000)
  while !condition() {
    guard loop.now < deadline else { return false }
    try await loop.sleep(for: .milliseconds(1))
  }
  return true
}

/// An address of a unix socket that nobody listens at.
func vacantAddress() -> SocketAddress {
  .abstract(name: "sluice-vacant-\(String(UInt64.random(in: .min ... .max), radix: 36))")
}

/// A subject at an address.
func sampleSubject(
  _ check: HealthCheckPlan, at address: SocketAddress, upstream: String = "u", ordinal: Int = 0,
  name: String = "e", source: [IPAddress] = []
) -> HealthSubject {
  HealthSubject(
    id: HealthSubject.ID(upstream: upstream, address: address, host: nil, ordinal: ordinal),
    name: name, source: source, check: check)
}
