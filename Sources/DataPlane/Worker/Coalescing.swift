// SPDX-License-Identifier: Apache-2.0
// Coalescing: when a worker lets bytes gather before it looks again, and how much bulk it moves at once.
//
// In bulk, being woken is what costs: with every wake-up a worker moves what has come since the last
// one, the faster it is the less that is, and each small step wakes the receiver as well. A worker
// that leaves the kernel alone for a moment moves several times as much at once, for less processor
// time and at a higher rate. (Network cards do the same with their interrupts: ethtool(8),
// *rx-usecs*.) Two things must not suffer:
//   - A message must not wait. So a worker sleeps only when it has moved bulk, has nothing left to do,
//     and no exchange of small messages was under way lately.
//   - A stream must not starve: one whose window is small stops until it is served again. So the
//     sleep is in proportion to what was moved, and only what is faster than any small window allows
//     gathers for long: below two gigabytes a second a worker sleeps for less than the time after
//     which bytes would come anyway.
// For the same reason bulk is moved in small pieces while there are exchanges: a message that comes in the
// middle of a turn waits until all bulk sessions have had theirs.

import Reactor

/// One worker's decision, turn by turn.
struct Coalescing {
  /// How long it sleeps at most.
  private let nanosecondsMax: UInt64
  /// Bulk that was moved since the worker last had nothing to do; 0 after an exchange.
  private var bulkBytes: UInt64 = 0
  private var quietUntil: Instant
  /// Until when a message may come at any moment.
  private var mixedUntil: Instant

  /// How many times the longest sleep an exchange must have been silent. An answer that comes later
  /// than that is delayed by less than this fraction.
  private static var silencesPerSleep: UInt64 { 5 }
  /// How long after an exchange another one is expected.
  private static var mixedNanoseconds: UInt64 { 5_000_000 }
  /// Which part of a turn's bytes bulk may move while there are exchanges.
  private static var mixedShare: Int { 8 }
  /// Two gigabytes a second.
  private static var bytesPerNanosecond: UInt64 { 2 }
  /// Shorter than the kernel's own tolerance (timerslack, prctl(2)) it would not come out.
  private static var nanosecondsMin: UInt64 { 50_000 }

  /// Sleeps for at most `nanosecondsMax`, 0: never.
  init(nanosecondsMax: UInt64, now: Instant) {
    self.nanosecondsMax = nanosecondsMax
    quietUntil = now
    mixedUntil = now
  }

  /// Bytes were moved in one direction.
  mutating func note(bytes: UInt64, isBulk: Bool, at now: Instant) {
    guard bytes > 0 else { return }
    guard isBulk else { return noteExchange(at: now) }
    bulkBytes &+= bytes
  }

  /// Something happened for which somebody waits.
  mutating func noteExchange(at now: Instant) {
    bulkBytes = 0
    quietUntil = now.advanced(by: Coalescing.silencesPerSleep * nanosecondsMax)
    mixedUntil = now.advanced(by: Coalescing.mixedNanoseconds)
  }

  /// How much of `bytes`, the most that a direction may move in a turn, it may move now.
  func turnBytes(of bytes: Int, at now: Instant) -> Int {
    now < mixedUntil ? max(1, bytes / Coalescing.mixedShare) : bytes
  }

  /// How long to sleep, 0: not at all, if there is nothing to do now.
  func sleepNanoseconds(at now: Instant) -> UInt64 {
    guard now >= quietUntil else { return 0 }
    let nanoseconds = min(bulkBytes / Coalescing.bytesPerNanosecond, nanosecondsMax)
    return nanoseconds < Coalescing.nanosecondsMin ? 0 : nanoseconds
  }

  /// There was nothing to do.
  mutating func noteNothing() {
    bulkBytes = 0
  }
}
