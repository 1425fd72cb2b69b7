// SPDX-License-Identifier: Apache-2.0
// A server that says what it is told to, step by step, whatever protocol that is.

import Addressing
import EventLoop
import Reactor

/// A server on the current loop, that does the same with every connection.
final class TalkingServer: @unchecked Sendable {
  // SAFETY: made and used on one loop's thread.

  enum Step {
    /// Sends bytes.
    case send([UInt8])
    /// Reads exactly these bytes; others are kept in `surprises`.
    case read([UInt8])
    /// Reads so many bytes and keeps them in `heard`.
    case readAny(Int)
    /// Reads a line and keeps it.
    case readLine
    /// Answers with what `answer` makes of what was kept last.
    case answer(@Sendable ([UInt8]) -> [UInt8])
    /// Sends back whatever comes.
    case echo
    /// Sends these bytes until nobody takes them.
    case flood([UInt8])
    /// Waits until this has happened.
    case wait(Event)
    /// Ends its side.
    case finish
    case reset
  }

  let address: SocketAddress
  /// What was read by `readAny` and `readLine`, in order.
  private(set) var heard: [[UInt8]] = []
  /// What was read instead of what `read` expects.
  private(set) var surprises: [[UInt8]] = []
  /// How connections have ended: nil in good order.
  private(set) var ends: [StreamError?] = []
  private(set) var acceptedCount = 0
  private let steps: [Step]
  private let isSlow: Bool

  /// Serves until the loop ends. `isSlow`: byte by byte.
  init(_ steps: [Step], isSlow: Bool = false) throws {
    let listener = try StreamListener(at: .v4(.loopback, port: 0))
    address = listener.address
    self.steps = steps
    self.isSlow = isSlow
    Loop.current?.spawn(name: "server") { [self] in
      for try await stream in listener.connections {
        acceptedCount += 1
        Loop.current?.spawn(name: "connection") { [self] in await serve(stream) }
      }
    }
  }

  private func serve(_ stream: EventLoop.Stream) async {
    do throws(StreamError) {
      for step in steps { try await take(step, stream) }
      while try await !stream.read().isEmpty {}
      ends.append(nil)
    } catch {
      ends.append(error)
    }
    stream.abort()
  }

  private func take(_ step: Step, _ stream: EventLoop.Stream) async throws(StreamError) {
    switch step {
    case .send(let bytes): try await send(bytes, stream)
    case .read(let bytes):
      let found = try await stream.read(exactly: bytes.count)
      if found != bytes { surprises.append(found) }
    case .readAny(let count): heard.append(try await stream.read(exactly: count))
    case .readLine: heard.append(try await stream.read(through: [10], max: 10_000))
    case .answer(let answer): try await send(answer(heard.last ?? []), stream)
    case .echo:
      while true {
        let bytes = try await stream.read()
        guard !bytes.isEmpty else { throw .endOfStream }
        try stream.write(bytes)
      }
    case .flood(let bytes):
      let many = Array(repeating: bytes, count: max(1, 4096 / max(1, bytes.count))).flatMap { $0 }
      while true {
        try stream.write(many)
        try await stream.drain()
        _ = try? await Loop.current?.yield()
      }
    case .wait(let event):
      do throws(WaitError) {
        try await event.wait()
      } catch {
        throw .cancelled
      }
    case .finish: try await stream.finishWriting()
    case .reset: stream.abort()
    }
  }

  private func send(_ bytes: [UInt8], _ stream: EventLoop.Stream) async throws(StreamError) {
    guard isSlow else { return try stream.write(bytes) }
    for byte in bytes {
      try stream.write([byte])
      _ = try? await Loop.current?.yield()
    }
  }
}

extension TalkingServer.Step {
  static func send(_ text: String) -> TalkingServer.Step { .send(Array(text.utf8)) }
  static func read(_ text: String) -> TalkingServer.Step { .read(Array(text.utf8)) }
}
