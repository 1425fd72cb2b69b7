// SPDX-License-Identifier: Apache-2.0
// Faults that break the contract of the kernel once in a schedule. They stand for faults of the program
// under test: a program that loses a wake-up behaves as if the kernel had never reported it. The verdict
// of random schedules must find each kind (ScheduleFaultTests.swift).

/// One injected fault, or none.
final class FakeFaults {
  /// What is broken.
  enum Kind: String, CaseIterable {
    /// One event of epoll, or one ring of an inbox's bell, is swallowed.
    case lostWakeup = "lost-wakeup"
    /// One orderly end is replaced by a reset: shutdown or close.
    case reset = "reset"
    /// The clock that one worker reads jumps ahead, so that its timers fire early.
    case earlyTimer = "early-timer"
  }

  let kind: Kind?
  /// How many chances pass before the fault happens.
  private var chancesLeft: Int
  private(set) var hasHappened = false
  /// The worker whose clock jumps, and by how much.
  private let victim: Int
  private let jumpNanoseconds: UInt64

  /// No fault.
  static var none: FakeFaults { FakeFaults(nil, after: 0, victim: 0, jumpNanoseconds: 0) }

  init(_ kind: Kind?, after chances: Int, victim: Int, jumpNanoseconds: UInt64) {
    self.kind = kind
    chancesLeft = chances
    self.victim = victim
    self.jumpNanoseconds = jumpNanoseconds
  }

  private func happensNow() -> Bool {
    guard !hasHappened else { return false }
    chancesLeft -= 1
    hasHappened = chancesLeft < 0
    return hasHappened
  }

  func swallowsWakeup() -> Bool { kind == .lostWakeup && happensNow() }

  func resetsInsteadOfEnding() -> Bool { kind == .reset && happensNow() }

  /// How far the clock of a worker is ahead.
  func clockError(of worker: Int) -> UInt64 {
    guard kind == .earlyTimer, worker == victim else { return 0 }
    return hasHappened || happensNow() ? jumpNanoseconds : 0
  }
}
