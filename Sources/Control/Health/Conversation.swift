// SPDX-License-Identifier: Apache-2.0
// The connection of one check, as the kinds of checks use it: every wait ends with the check's
// deadline, and what is read in all has a bound, however the server cuts it.

import EventLoop
import Reactor

/// What is said over the connection of one check.
struct Conversation {
  /// How much is read at once.
  private static let readBytesMax = 16 << 10
  /// For how long a server that was told goodbye is waited for.
  private static let farewellPatience = Duration.seconds(1)

  private let stream: Stream
  /// When it must be over.
  let deadline: Instant
  /// How much is read in all.
  let bytesMax: Int
  /// How much of that is left.
  private(set) var bytesLeft: Int

  /// Uses a connection until a deadline.
  init(_ stream: Stream, bytesMax: Int, until deadline: Instant) {
    self.stream = stream
    self.bytesMax = bytesMax
    self.deadline = deadline
    bytesLeft = bytesMax
  }

  /// Sends bytes, without waiting: whoever does not take a check's few bytes does not answer either.
  func send(_ bytes: [UInt8]) throws(CheckStop) {
    do throws(StreamError) {
      try stream.write(bytes)
    } catch {
      throw .stream(error)
    }
  }

  /// Receives what is there, at least a byte; none at the end. Throws when the bound was reached before.
  mutating func receive() async throws(CheckStop) -> [UInt8] {
    guard bytesLeft > 0 else { throw .failed(.tooLong(bytesMax: bytesMax)) }
    do throws(StreamError) {
      let bytes = try await stream.read(
        max: min(bytesLeft, Conversation.readBytesMax), until: deadline)
      bytesLeft -= bytes.count
      return bytes
    } catch {
      throw .stream(error)
    }
  }

  /// Receives so many bytes.
  mutating func receive(exactly count: Int) async throws(CheckStop) -> [UInt8] {
    assert(count >= 0)
    guard count <= bytesLeft else { throw .failed(.tooLong(bytesMax: bytesMax)) }
    bytesLeft -= count
    do throws(StreamError) {
      return try await stream.read(exactly: count, until: deadline)
    } catch {
      throw .stream(error)
    }
  }

  /// Receives a line, without its end, which is `\n` or `\r\n`.
  mutating func receiveLine() async throws(CheckStop) -> [UInt8] {
    guard bytesLeft > 0 else { throw .failed(.tooLong(bytesMax: bytesMax)) }
    var line: [UInt8]
    do throws(StreamError) {
      line = try await stream.read(
        through: [UInt8(ascii: "\n")], max: bytesLeft, until: deadline)
    } catch {
      throw error == .tooLong ? .failed(.tooLong(bytesMax: bytesMax)) : .stream(error)
    }
    bytesLeft -= line.count
    line.removeLast()
    if line.last == UInt8(ascii: "\r") { line.removeLast() }
    return line
  }

  /// Says goodbye and waits, for a short while, until the server ends the connection: so it has nothing to
  /// complain about, and the port that stays behind for a minute is nobody's, as the reset that follows
  /// comes from the side that was not the first. What comes meanwhile is thrown away. What goes wrong makes
  /// no difference: there is a verdict already.
  mutating func leave(_ farewell: [UInt8]) async {
    guard let loop = Loop.current else { return }
    let patience = Conversation.farewellPatience.wholeNanoseconds
    let end = min(deadline, loop.now.advanced(by: patience))
    do throws(StreamError) {
      try stream.write(farewell)
      try await readToEnd(until: end)
    } catch {}
  }

  /// Ends this side in good order and waits for the other one as `leave` does. For servers that know no
  /// goodbye at this point, and would log a reset. The port stays on this side.
  mutating func hangUp() async {
    guard let loop = Loop.current else { return }
    let patience = Conversation.farewellPatience.wholeNanoseconds
    let end = min(deadline, loop.now.advanced(by: patience))
    do throws(StreamError) {
      try await stream.finishWriting(until: end)
      try await readToEnd(until: end)
    } catch {}
  }

  private mutating func readToEnd(until end: Instant) async throws(StreamError) {
    var left = bytesMax
    while left > 0 {
      let count = try await stream.read(
        max: min(left, Conversation.readBytesMax), until: end
      ).count
      guard count > 0 else { return }
      left -= count
    }
  }
}
