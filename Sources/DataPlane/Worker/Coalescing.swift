// SPDX-License-Identifier: Apache-2.0
// Coalescing: when a worker lets bytes gather before it looks again.
//
// In bulk, being woken is what costs: with every wake-up a worker moves what has come since the last
// one, the faster it is the less that is, and each small step wakes the receiver as well. A worker
// that leaves the kernel alone for a moment moves several times as much at once, for two thirds of
// the processor time and at a higher rate. (Network cards do the same with their interrupts:
// ethtool(8), *rx-usecs*.)
//
// A message, however, must not wait. So a worker does this only when it has moved bulk, has nothing
// left to do, and no exchange of small messages was under way lately; what is under way is delayed by
// no more than a fraction of its own pace.

import Reactor

/// One worker's decision, turn by turn.
struct Coalescing {
  /// How long it sleeps when it does.
  private let nanoseconds: UInt64
  /// Bulk is what was moved last.
  private var isBulk = false
  private var quietUntil: Instant

  /// How many times the sleep an exchange must have been silent. An answer that comes later than
  /// that is delayed by less than this fraction.
  private static var silencesPerSleep: UInt64 { 5 }

  /// Sleeps for `nanoseconds`, 0: never.
  init(nanoseconds: UInt64, now: Instant) {
    self.nanoseconds = nanoseconds
    quietUntil = now
  }

  /// Bytes were moved in one direction.
  mutating func note(bytes: UInt64, isBulk: Bool, at now: Instant) {
    guard bytes > 0 else { return }
    if isBulk { self.isBulk = true } else { noteExchange(at: now) }
  }

  /// Something happened for which somebody waits.
  mutating func noteExchange(at now: Instant) {
    isBulk = false
    quietUntil = now.advanced(by: Coalescing.silencesPerSleep * nanoseconds)
  }

  /// How long to sleep when there is nothing to do.
  func sleepNanoseconds(at now: Instant) -> UInt64 {
    isBulk && now >= quietUntil ? nanoseconds : 0
  }
}
