// SPDX-License-Identifier: Apache-2.0
// Signals as something to read: blocked in every thread, taken from a descriptor by one, so that no
// code ever runs in the middle of other code.

import CLinux
import Glibc
import Reactor

/// The signals that this program acts upon.
enum ProxySignal: Int32, CaseIterable, CustomStringConvertible {
  case terminate = 15
  case interrupt = 2
  case hangUp = 1
  case user1 = 10

  /// The name of signal(7).
  var description: String {
    switch self {
    case .terminate: "SIGTERM"
    case .interrupt: "SIGINT"
    case .hangUp: "SIGHUP"
    case .user1: "SIGUSR1"
    }
  }
}

/// Delivers signals through a descriptor (signalfd(2)).
struct SignalSource: ~Copyable {
  private let descriptor: Descriptor

  /// The descriptor that becomes readable when a signal has come.
  var rawValue: CInt { descriptor.rawValue }

  /// Blocks the signals for this thread and all that it starts from now on, so call it before the
  /// first one; and ignores SIGPIPE, since splice(2) has no way to ask for EPIPE alone.
  init() throws(Errno) {
    let numbers = ProxySignal.allCases.map(\.rawValue)
    clinux_block_signals(numbers, CInt(numbers.count))
    clinux_ignore_signal(SIGPIPE)
    let result = clinux_signalfd(numbers, CInt(numbers.count))
    guard result >= 0 else { throw Errno(rawValue: -result) }
    descriptor = Descriptor(owning: result)
  }

  /// The next signal that has come, `nil` if there is none.
  func next() -> ProxySignal? {
    SignalSource.next(from: rawValue)
  }

  /// The same, for whoever has only the number of the descriptor.
  static func next(from descriptor: CInt) -> ProxySignal? {
    let result = clinux_read_signal(descriptor)
    return result > 0 ? ProxySignal(rawValue: result) : nil
  }
}
