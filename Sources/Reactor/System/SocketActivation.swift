// SPDX-License-Identifier: Apache-2.0
// Listening sockets that a service manager has opened before this process started, after the
// protocol of sd_listen_fds(3): descriptors from 3 on, their number in LISTEN_FDS, meant for the
// process that LISTEN_PID names.

import Glibc

/// The descriptors that a service manager has handed to this process.
public struct SocketActivation: Equatable, Sendable {
  /// The first one by the protocol (`SD_LISTEN_FDS_START`).
  private static let first: CInt = 3
  /// More than this is no number of sockets but a slip.
  private static let countMax: CInt = 4096

  /// The descriptors, empty when none were handed over.
  public let descriptors: Range<CInt>

  /// Reads the protocol's variables. Absent or malformed ones, and those meant for another process,
  /// mean none.
  public init(processID: pid_t, environment: (String) -> String?) {
    guard let owner = environment("LISTEN_PID").flatMap({ pid_t($0) }), owner == processID,
      let count = environment("LISTEN_FDS").flatMap({ CInt($0) }),
      count > 0, count <= SocketActivation.countMax
    else {
      descriptors = SocketActivation.first..<SocketActivation.first
      return
    }
    descriptors = SocketActivation.first..<SocketActivation.first + count
  }

  /// Those of this process.
  public static func current() -> SocketActivation {
    SocketActivation(processID: getpid()) { name in getenv(name).map { String(cString: $0) } }
  }
}
