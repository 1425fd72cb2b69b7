// SPDX-License-Identifier: Apache-2.0
// Up at once, down slowly, also without measurements.

import Balancing
import Testing

@Suite struct PeakAverageTests {
  private let second: UInt64 = 1_000_000_000

  private func seconds(_ average: PeakAverage, _ now: UInt64) -> Float {
    average.seconds(at: now, decayNanoseconds: 10 * second) ?? -1
  }

  private func note(_ average: inout PeakAverage, _ milliseconds: UInt64, at now: UInt64) {
    average = average.adding(
      nanoseconds: milliseconds * 1_000_000, at: now, decayNanoseconds: 10 * second)
  }

  @Test func aPeakCountsAtOnceAndIsForgottenSlowly() {
    var average = PeakAverage.none
    #expect(average.seconds(at: 0, decayNanoseconds: second) == nil)
    note(&average, 10, at: 0)
    #expect(abs(seconds(average, 0) - 0.010) < 0.0001)
    note(&average, 100, at: second)
    #expect(abs(seconds(average, second) - 0.100) < 0.001)
    // Idle: to a third after `decay`.
    #expect(abs(seconds(average, 11 * second) - 0.0368) < 0.0005)
    // Measured: towards what is measured.
    note(&average, 10, at: 11 * second)
    #expect(abs(seconds(average, 11 * second) - 0.0431) < 0.0005)
    for step in 12..<100 { note(&average, 10, at: UInt64(step) * second) }
    #expect(abs(seconds(average, 99 * second) - 0.010) < 0.001)
  }

  @Test func aMomentBeforeTheLastOneIsTheSameMoment() {
    var average = PeakAverage.none
    note(&average, 10, at: 5 * second)
    #expect(abs(seconds(average, 4 * second) - 0.010) < 0.0001)
    note(&average, 0, at: 4 * second)
    #expect(abs(seconds(average, 4 * second) - 0.010) < 0.0001)
  }
}

@Suite struct SlowStartTests {
  @Test func theShareGrowsOnAStraightLine() {
    let shares = [0, 1, 5, 10, 19, 20, 1000].map {
      SlowStart.share(elapsedNanoseconds: $0 * 1_000_000_000, windowNanoseconds: 20_000_000_000)
    }
    #expect(shares == [1, 12, 64, 128, 243, 256, 256])
    #expect(SlowStart.share(elapsedNanoseconds: 0, windowNanoseconds: 0) == 256)
    #expect(SlowStart.share(elapsedNanoseconds: .max - 1, windowNanoseconds: .max) == 255)
  }
}
