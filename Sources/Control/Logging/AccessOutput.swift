// SPDX-License-Identifier: Apache-2.0
// Where access records go, and how a file is opened again after somebody has renamed it. Only between
// two writes of whole lines is one output exchanged for another, so no line is torn or written twice;
// and the new one is open before the old one is let go, so none is lost when there is no new one.

import Glibc
import Plan
import Reactor

/// The descriptor behind the access log. One thread may use it at a time.
final class AccessOutput {
  /// Why a file cannot be written to.
  struct Refusal: Error {
    let path: String
    let cause: String
  }

  /// What came of opening the file again.
  enum Reopening: Equatable {
    /// Lines go to the file that the path names now.
    case reopened(path: String)
    /// The path names the file that lines go to already.
    case unchanged(path: String)
    /// There is no file to open: a standard stream, a pipe or a device.
    case noFile
    /// Lines go where they went.
    case refused(path: String, cause: String)
  }

  private(set) var writer: LineWriter
  private let path: String?
  private var file: Descriptor?

  /// What the plan asks for, `nil` if it wants no records.
  static func open(_ destination: LogPlan.Destination) throws(Refusal) -> AccessOutput? {
    switch destination {
    case .off: nil
    case .standardOutput: AccessOutput(standard: STDOUT_FILENO)
    case .standardError: AccessOutput(standard: STDERR_FILENO)
    case .file(let path): AccessOutput(path, try openFile(path))
    }
  }

  private init(standard descriptor: CInt) {
    path = nil
    file = nil
    writer = LineWriter(descriptor)
  }

  private init(_ path: String, _ file: consuming Descriptor) {
    self.path = path
    writer = LineWriter(file.rawValue)
    self.file = consume file
  }

  /// Opens the file anew by its path. Blocks for as long as the disk takes.
  func reopen() -> Reopening {
    guard let path, let old = identity(writer.descriptor), old.isRegular else { return .noFile }
    do throws(Refusal) {
      let new = try AccessOutput.openFile(path)
      // Here a line may have been cut by a full disk, and the writer knows.
      guard identity(new.rawValue) != old else { return .unchanged(path: path) }
      writer = LineWriter(new.rawValue)
      file = consume new
      return .reopened(path: path)
    } catch {
      return .refused(path: path, cause: error.cause)
    }
  }

  /// Opens a file to append to, or a pipe that somebody reads: without O_NONBLOCK this would wait for
  /// ever for the reader of a pipe that has none, deaf to signals.
  private static func openFile(_ path: String) throws(Refusal) -> Descriptor {
    let flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK
    let descriptor = Glibc.open(path, flags, 0o640)
    guard descriptor != -1 else {
      let code = errno
      var status = stat()
      let isPipe = stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFIFO
      throw Refusal(
        path: path,
        cause: code == ENXIO && isPipe
          ? "nobody reads this pipe; start its reader first" : "\(Errno(rawValue: code))")
    }
    // The log's thread may wait as long as it takes.
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
    return Descriptor(owning: descriptor)
  }
}

/// Which file is behind a descriptor.
private struct FileIdentity: Equatable {
  let device: dev_t
  let number: ino_t
  let isRegular: Bool
}

private func identity(_ descriptor: CInt) -> FileIdentity? {
  var status = stat()
  guard fstat(descriptor, &status) == 0 else { return nil }
  return FileIdentity(
    device: status.st_dev, number: status.st_ino, isRegular: status.st_mode & S_IFMT == S_IFREG)
}
