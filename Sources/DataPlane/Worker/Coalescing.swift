// SPDX-License-Identifier: Apache-2.0
// Coalescing: when a worker lets bytes gather before it looks again, and how much bulk it moves at once.
//
// In bulk, wake-ups are the main cost. With each wake-up a worker moves the bytes that have come since the last
// one; the faster the worker, the fewer bytes, and each small step wakes the receiver as well. A worker
// that waits for a moment moves several times as much at once, for less processor time and at a higher
// rate. (Network cards do the same with their interrupts: ethtool(8), *rx-usecs*.) Two conditions apply:
//   - A message must not wait. So a worker sleeps only when it has moved bulk, has nothing left to do,
//     and has not seen an exchange of small messages lately.
//   - A stream must not starve: a stream with a small window stops until it is served again. So the
//     sleep is in proportion to the bytes moved, and only a stream that is faster than any small window
//     allows gathers for long: below two gigabytes a second a worker sleeps for less than the time after
//     which the next bytes would come anyway.
// A message that comes in the middle of a turn waits until all bulk sessions have had their part of it. So bulk is
// moved in small pieces while there are exchanges.

import Reactor

/// One worker's decision, turn by turn.
struct Coalescing {
  /// The longest sleep.
  private let nanosecondsMax: UInt64
  /// Bytes of bulk moved since the worker last had nothing to do; 0 after an exchange.
  private var bulkBytes: UInt64 = 0
  private var quietUntil: Instant
  /// Until when a message may come at any moment.
  private var mixedUntil: Instant

  /// The worker sleeps only after this many times the longest sleep without an exchange, so that an answer is
  /// delayed by a fifth of its time at most.
  private static var silencesPerSleep: UInt64 { 5 }
  /// How long after an exchange another one is expected.
  private static var mixedNanoseconds: UInt64 { 5_000_000 }
  /// While there are exchanges, bulk may move a turn's bytes divided by this.
  private static var mixedShare: Int { 8 }
  /// Two gigabytes a second.
  private static var bytesPerNanosecond: UInt64 { 2 }
  /// A shorter sleep is not possible, because of the kernel's own tolerance (timerslack, prctl(2)).
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

  /// Something happened that a peer waits for.
  mutating func noteExchange(at now: Instant) {
    bulkBytes = 0
    quietUntil = now.advanced(by: Coalescing.silencesPerSleep * nanosecondsMax)
    mixedUntil = now.advanced(by: Coalescing.mixedNanoseconds)
  }

  /// How many bytes a direction may move in this turn, where `bytes` is the bound of a turn.
  func turnBytes(of bytes: Int, at now: Instant) -> Int {
    now < mixedUntil ? max(1, bytes / Coalescing.mixedShare) : bytes
  }

  /// How long to sleep if there is nothing to do now; 0: not at all.
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
