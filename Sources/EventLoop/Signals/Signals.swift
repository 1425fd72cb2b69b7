// SPDX-License-Identifier: Apache-2.0
// Signals as something to read (signalfd(2)): they arrive as elements of a sequence, between other
// steps of the loop, and no code ever runs in the middle of other code.

import CLinux
import Reactor

/// Signals that come, one after another. Ends when the task that waits is cancelled, which the loop's
/// stop does, too, and when it is closed. One task at a time may iterate. Loop's thread.
///
/// The kernel keeps one of each kind: a signal that comes while one like it was not yet read is not
/// told twice. Where two of these ask for the same signal, either may get it.
public final class Signals: AsyncSequence, Sendable {
  /// A signal that has come.
  public typealias Element = SignalNumber
  /// Nothing can fail.
  public typealias Failure = Never

  private let watch: SignalWatch

  init(_ signals: [SignalNumber], on loop: Loop) throws(Errno) {
    for signal in signals {
      precondition(
        signal.isBlocked,
        "\(signal) is not blocked: call SignalNumber.block before the first thread")
    }
    let numbers = signals.map(\.rawValue)
    let result = clinux_signalfd(numbers, CInt(numbers.count))
    guard result >= 0 else { throw Errno(rawValue: -result) }
    watch = try SignalWatch(owning: Descriptor(owning: result), on: loop)
  }

  deinit {
    watch.drop()
  }

  /// Ends the sequence, also for a task that waits. The signals stay blocked.
  public func close() {
    watch.loop.checkIsolated()
    watch.close()
  }

  /// Starts to iterate.
  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(signals: self)
  }

  /// Takes one signal after another.
  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let signals: Signals

    /// Waits for the next signal; `nil` when the task is cancelled or the sequence closed.
    public func next() async -> SignalNumber? {
      await signals.watch.next()
    }

    /// The same; the isolation must be the loop's.
    public func next(isolation actor: isolated (any Actor)?) async -> SignalNumber? {
      await signals.watch.next()
    }
  }
}

private final class SignalWatch: Watch, @unchecked Sendable {
  // SAFETY: as its base class.
  override var what: String { "signals" }

  init(owning descriptor: consuming Descriptor, on loop: Loop) throws(Errno) {
    try super.init(watching: descriptor.rawValue, on: loop)
    _ = descriptor.release()
  }

  func next() async -> SignalNumber? {
    loop.checkIsolated()
    while isOpen {
      if isReadable {
        let result = clinux_read_signal(descriptor)
        if result > 0 { return SignalNumber(rawValue: result) }
        isReadable = false
      }
      guard await waitReadable("signal", until: .distantFuture) == .ready else { return nil }
    }
    return nil
  }
}

extension Loop {
  /// The signals that come from now on, and those that have come since they were blocked. All must be
  /// blocked (`SignalNumber.block`); this traps otherwise. Loop's thread. Throws when the kernel has no
  /// descriptor, or `LoopOptions.descriptorsMax` is reached.
  public func signals(_ signals: [SignalNumber]) throws(Errno) -> Signals {
    checkIsolated()
    return try Signals(signals, on: self)
  }
}
