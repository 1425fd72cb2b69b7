// SPDX-License-Identifier: Apache-2.0
// Reads a file whole, but never more of it than the limit: a 100 MB file, or a pipe without end,
// costs no more than the largest file that is accepted. Plain system calls, because this runs once
// at the start, before any loop, and needs the kernel's own word on what went wrong.

import Glibc

/// The bytes of a file, at most `bytesMax` of them; blocks while it reads.
func readFile(_ path: String, bytesMax: Int) throws(SyntaxFailure) -> [UInt8] {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor != -1 else { throw unreadable(errno) }
  defer { _ = close(descriptor) }
  return try readAll(descriptor, bytesMax: bytesMax)
}

/// The bytes of a regular file, at most `bytesMax` of them. What is no regular file is refused: a pipe
/// would be waited for. Blocks while it reads; a file on a network may take its time.
func readRegularFile(_ path: String, bytesMax: Int) throws(SyntaxFailure) -> [UInt8] {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
  guard descriptor != -1 else { throw unreadable(errno, path) }
  defer { _ = close(descriptor) }
  var status = stat()
  guard fstat(descriptor, &status) != -1 else { throw unreadable(errno, path) }
  guard status.st_mode & S_IFMT == S_IFREG else {
    throw SyntaxFailure(
      range: SourceRange(at: .start), message: "cannot read \(path): it is no regular file")
  }
  return try readAll(descriptor, bytesMax: bytesMax)
}

/// What a descriptor gives until its end, at most `bytesMax` bytes; blocks while it reads.
func readAll(_ descriptor: Int32, bytesMax: Int) throws(SyntaxFailure) -> [UInt8] {
  var status = stat()
  guard fstat(descriptor, &status) != -1 else { throw unreadable(errno) }
  if status.st_mode & S_IFMT == S_IFDIR { throw unreadable(EISDIR) }
  if status.st_mode & S_IFMT == S_IFREG, status.st_size > bytesMax {
    throw SourceText.tooLarge(Int(status.st_size), bytesMax: bytesMax)
  }

  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 64 << 10)
  while true {
    let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
    if count == -1 {
      if errno == EINTR { continue }
      throw unreadable(errno)
    }
    if count == 0 { return bytes }
    bytes.append(contentsOf: chunk[..<count])
    guard bytes.count <= bytesMax else { throw SourceText.tooLarge(nil, bytesMax: bytesMax) }
  }
}

private func unreadable(_ code: Int32, _ path: String? = nil) -> SyntaxFailure {
  let reason = strerror(code).map { String(cString: $0) } ?? "error \(code)"
  var hints: [String] = []
  if code == ENOENT, path == nil { hints = ["say where it is with `--config FILE`"] }
  return SyntaxFailure(
    range: SourceRange(at: .start),
    message: "cannot read \(path ?? "the configuration"): \(reason)",
    hints: hints)
}
