// SPDX-License-Identifier: Apache-2.0
// Signals by number and name, and how a program says, before its first thread, that it will read them.

import CLinux
import Glibc

/// A signal of signal(7).
public struct SignalNumber: RawRepresentable, Hashable, Sendable {
  /// The number that kill(2) takes.
  public let rawValue: Int32

  /// Any number; those that the kernel does not know are refused where they are used.
  public init(rawValue: Int32) {
    self.rawValue = rawValue
  }

  /// `SIGHUP`: the terminal is gone; for daemons, by custom, "read your configuration again".
  public static let hangUp = SignalNumber(rawValue: SIGHUP)
  /// `SIGINT`: Ctrl-C.
  public static let interrupt = SignalNumber(rawValue: SIGINT)
  /// `SIGQUIT`: Ctrl-\.
  public static let quit = SignalNumber(rawValue: SIGQUIT)
  /// `SIGUSR1`.
  public static let user1 = SignalNumber(rawValue: SIGUSR1)
  /// `SIGUSR2`.
  public static let user2 = SignalNumber(rawValue: SIGUSR2)
  /// `SIGTERM`: end, in good order.
  public static let terminate = SignalNumber(rawValue: SIGTERM)
  /// `SIGCHLD`: a child process has ended or stopped.
  public static let child = SignalNumber(rawValue: SIGCHLD)
  /// `SIGWINCH`: the terminal has another size.
  public static let windowChange = SignalNumber(rawValue: SIGWINCH)

  /// Blocks signals for the calling thread and all threads that it starts from now on, so that they do
  /// nothing until they are read from `Loop.signals`. Call it before the first thread: one that was
  /// started earlier would be interrupted by them, or end the process.
  ///
  /// Child processes inherit this, too, through exec(2): give them their signals back.
  public static func block(_ signals: [SignalNumber]) {
    let numbers = signals.map(\.rawValue)
    let result = clinux_block_signals(numbers, CInt(numbers.count))
    precondition(result == 0, "blocking signals")
  }

  /// Whether the calling thread blocks the signal.
  var isBlocked: Bool {
    var mask = sigset_t()
    pthread_sigmask(SIG_BLOCK, nil, &mask)
    return sigismember(&mask, rawValue) == 1
  }
}

extension SignalNumber: CustomStringConvertible {
  /// The name of signal(7), `signal 42` for those without one here.
  public var description: String {
    switch self {
    case .hangUp: "SIGHUP"
    case .interrupt: "SIGINT"
    case .quit: "SIGQUIT"
    case .user1: "SIGUSR1"
    case .user2: "SIGUSR2"
    case .terminate: "SIGTERM"
    case .child: "SIGCHLD"
    case .windowChange: "SIGWINCH"
    default: "signal \(rawValue)"
    }
  }
}
