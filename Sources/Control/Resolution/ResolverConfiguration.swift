// SPDX-License-Identifier: Apache-2.0
// The name servers of this machine, as /etc/resolv.conf has them when somebody asks. Look-ups that begin
// together, as all of a start do, share one reading: however many there are, one file is read once, by
// one thread of its own, and a folder that hangs holds that thread and no other.

import DNS
import EventLoop
import Glibc
import Reactor

/// A file that says who is asked for names. Loop's thread.
final class ResolverConfiguration: @unchecked Sendable {
  // SAFETY: used by the tasks of one loop alone.

  /// One time of reading, and those who wait for it.
  private final class Reading: @unchecked Sendable {
    // SAFETY: as above.
    let isOver = Event()
    var result: Result<NameServers, any Error>?
  }

  private let pool: BlockingPool
  private let path: String
  /// The one that is under way.
  private var reading: Reading?

  /// A file that is read on a thread of a pool, which nothing else should be in the way of.
  init(pool: BlockingPool, path: String = "/etc/resolv.conf") {
    self.pool = pool
    self.path = path
  }

  /// Whom to ask now; the server of this machine where the file is not there. Joins a reading that is under
  /// way. Throws `WaitError` when the task is cancelled or `deadline` comes first.
  func nameServers(until deadline: Instant) async throws -> NameServers {
    let reading = self.reading ?? begin()
    try await reading.isOver.wait(until: deadline)
    guard let result = reading.result else { preconditionFailure("a reading without a result") }
    return try result.get()
  }

  /// The task is nobody's, so that whoever gives up keeps it from nobody else.
  private func begin() -> Reading {
    guard let loop = Loop.current else { preconditionFailure("not on a loop") }
    let reading = Reading()
    self.reading = reading
    let (pool, path) = (pool, path)
    loop.spawn(name: "read \(path)") { [self] in
      do {
        let text = try await pool.run { smallText(of: path) }
        reading.result = .success(NameServers(resolverConfiguration: text))
      } catch {
        reading.result = .failure(error)
      }
      self.reading = nil
      reading.isOver.set()
    }
    return reading
  }
}

/// The first kilobytes of a file; empty when it cannot be read. Blocks.
private func smallText(of path: String) -> String {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor != -1 else { return "" }
  defer { close(descriptor) }
  var bytes = [UInt8](repeating: 0, count: 16 << 10)
  var length = 0
  while length < bytes.count {
    let count = bytes.withUnsafeMutableBytes {
      read(descriptor, $0.baseAddress?.advanced(by: length), $0.count - length)
    }
    if count == -1, errno == EINTR { continue }
    guard count > 0 else { break }
    length += count
  }
  return String(decoding: bytes[..<length], as: UTF8.self)
}
