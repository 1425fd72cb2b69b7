// SPDX-License-Identifier: Apache-2.0
// How long endpoints are left out, and how many of them: by example, and on random walks.

import Testing

@testable import Balancing

private let second: UInt64 = 1_000_000_000

private func detector(
  eject: UInt64 = 10, max: UInt64 = 60, share: Int = 50
) -> OutlierDetector {
  OutlierDetector(
    ejectNanoseconds: eject * second, ejectNanosecondsMax: max * second, sharePercent: share)
}

@Suite struct OutlierDetectorTests {
  @Test func eachEjectionLastsLongerThanTheOneBefore() {
    let detector = detector()
    var history = OutlierHistory()
    var now = 100 * second
    var lengths: [UInt64] = []
    for _ in 0..<9 {
      let end = detector.eject(&history, at: now)
      #expect(history.isEjected)
      #expect(history.ejectedAt == now)
      lengths.append((end - now) / second)
      // Back, and it fails at once.
      now = end
      detector.release(&history, at: now)
      #expect(!history.isEjected)
    }
    #expect(lengths == [10, 20, 30, 40, 50, 60, 60, 60, 60])
  }

  @Test func repetitionsAreForgottenAfterAsMuchGoodTime() {
    let detector = detector()
    var history = OutlierHistory()
    var now: UInt64 = 0
    for _ in 0..<3 {
      now = detector.eject(&history, at: now)
      detector.release(&history, at: now)
    }
    #expect(history.repetitions == 3)
    // The third took 30 s, the second 20 s: after 49 s, only the third is forgotten.
    now += 49 * second
    var twice = history
    #expect(detector.eject(&twice, at: now) == now + 30 * second)
    var once = history
    #expect(detector.eject(&once, at: now + second) == now + 21 * second)
    var never = history
    #expect(detector.eject(&never, at: now + 11 * second) == now + 21 * second)
    #expect(never.repetitions == 1)
  }

  @Test func aLongQuietTimeForgetsAll() {
    let detector = detector(eject: 1, max: 86_400)
    var history = OutlierHistory()
    var now: UInt64 = 0
    for _ in 0..<5000 {
      now = detector.eject(&history, at: now)
      detector.release(&history, at: now)
    }
    #expect(history.repetitions == 5000)
    #expect(detector.eject(&history, at: now + 20_000_000 * second) - now == 20_000_001 * second)
    #expect(history.repetitions == 1)
  }

  @Test func whatEndsEarlyCountsNoLess() {
    let detector = detector()
    var history = OutlierHistory()
    _ = detector.eject(&history, at: second)
    detector.release(&history, at: 2 * second)
    #expect(detector.eject(&history, at: 3 * second) == 23 * second)
  }

  @Test func theEndOfTimeIsNoOverflow() {
    let detector = OutlierDetector(
      ejectNanoseconds: .max / 2, ejectNanosecondsMax: .max, sharePercent: 1)
    var history = OutlierHistory()
    #expect(detector.eject(&history, at: .max - 1) == .max)
    detector.release(&history, at: .max - 1)
    #expect(detector.eject(&history, at: .max - 1) == .max)
    detector.release(&history, at: .max - 1)
    #expect(detector.eject(&history, at: .max) == .max)
  }

  @Test(arguments: [
    (1, 100, 0), (2, 1, 1), (2, 50, 1), (3, 50, 1), (3, 67, 2), (4, 50, 2), (10, 9, 1), (10, 30, 3),
    (5, 100, 5), (0, 50, 0),
  ])
  func aShareIsRoundedDownButOneMayAlwaysGo(_ endpoints: Int, _ share: Int, _ expected: Int) {
    #expect(detector(share: share).ejectedMax(of: endpoints) == expected)
  }

  @Test func whoIsNeededIsNotEjected() {
    let all = detector(share: 100)
    #expect(all.mayEject(OutlierTally(endpoints: 3, up: 2, ejected: 1)))
    #expect(!all.mayEject(OutlierTally(endpoints: 3, up: 1, ejected: 2)))
    // The others are down.
    #expect(!all.mayEject(OutlierTally(endpoints: 3, up: 1, ejected: 0)))
    #expect(!all.mayEject(OutlierTally(endpoints: 3, up: 2, ejected: 1, needed: 2)))
    #expect(all.mayEject(OutlierTally(endpoints: 3, up: 3, ejected: 0, needed: 2)))
    let half = detector(share: 50)
    #expect(!half.mayEject(OutlierTally(endpoints: 4, up: 2, ejected: 2)))
    #expect(half.mayEject(OutlierTally(endpoints: 4, up: 2, ejected: 1)))
  }

  /// An upstream whose endpoints fail, come back and wait at random.
  @Test(arguments: 0..<200 as Range<UInt64>)
  func onRandomWalksTheBoundsHold(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let eject = 1 + random.next(below: 20)
    let detector = detector(
      eject: eject, max: eject + random.next(below: 100), share: 1 + Int(random.next(below: 100)))
    let count = 1 + Int(random.next(below: 12))
    let needed = 1 + Int(random.next(below: 3))
    var histories = Array(repeating: OutlierHistory(), count: count)
    var outFor = Array(repeating: UInt64(0), count: count)
    var now: UInt64 = 0
    for _ in 0..<500 {
      let number = Int(random.next(below: UInt64(count)))
      let ejected = histories.count(where: \.isEjected)
      let tally = OutlierTally(
        endpoints: count, up: count - ejected, ejected: ejected, needed: needed)
      if !histories[number].isEjected, detector.mayEject(tally) {
        let before = histories[number].repetitions
        let end = detector.eject(&histories[number], at: now)
        let length = end - now
        #expect(length >= detector.ejectNanoseconds && length <= detector.ejectNanosecondsMax)
        #expect(histories[number].repetitions <= before + 1)
        #expect(
          length == detector.nanoseconds(ofRepetition: histories[number].repetitions),
          "seed \(seed)")
        outFor[number] += length
      }
      now += random.next(below: 30) * second
      for position in histories.indices {
        guard let end = histories[position].ejectedUntil, end <= now else { continue }
        detector.release(&histories[position], at: end)
      }
      let out = histories.count(where: \.isEjected)
      #expect(out <= detector.ejectedMax(of: count), "seed \(seed)")
      #expect(out == 0 || count - out >= needed, "seed \(seed)")
    }
  }

  /// What fails each time that it is back, whatever it did in between, is out for half of the time at
  /// least, once it has done so for long.
  @Test(arguments: 0..<50 as Range<UInt64>)
  func whoFailsAgainSoonIsOutForHalfOfTheTime(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let detector = detector(eject: 10, max: 10_000)
    var history = OutlierHistory()
    var (now, out): (UInt64, UInt64) = (0, 0)
    for _ in 0..<1000 {
      let end = detector.eject(&history, at: now)
      out += end - now
      detector.release(&history, at: end)
      // Good for less than the last one took: nothing is forgotten that was not paid for.
      now = end + random.next(below: end - now)
    }
    #expect(out >= (now - out), "seed \(seed)")
    #expect(history.repetitions > 1, "seed \(seed)")
  }
}
