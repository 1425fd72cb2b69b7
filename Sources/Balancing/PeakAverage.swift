// SPDX-License-Identifier: Apache-2.0
// A moving average that goes up with a peak at once and comes down slowly (peak EWMA), in one word, so that
// threads share it without a lock: a time in seconds and the moment it is of.

import Glibc

/// An average in a word; 0 is one that nothing was measured for. A value.
public struct PeakAverage: Hashable, Sendable {
  /// The word: seconds as a `Float` in the upper half, the moment in units of about a millisecond in the
  /// lower. Moments go round after some fifty days, which makes an average that was still for so long young
  /// again.
  public let rawValue: UInt64

  /// Nothing was measured.
  public static let none = PeakAverage(rawValue: 0)

  /// Takes a word as it is.
  public init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  private init(seconds: Float, at moment: UInt32) {
    // Never the word that means nothing.
    rawValue = UInt64(max(seconds, 1e-9).bitPattern) << 32 | UInt64(moment)
  }

  private static func moment(_ nanoseconds: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: nanoseconds >> 20)
  }

  /// How much of a measurement is left after so long.
  private func remainder(at moment: UInt32, decayNanoseconds: UInt64) -> Float {
    // What another thread measured just now may be later than this thread's time.
    let age = Int32(bitPattern: moment &- UInt32(truncatingIfNeeded: rawValue))
    return expf(-max(0, Float(age)) * 1_048_576 / Float(max(1, decayNanoseconds)))
  }

  private var seconds: Float { Float(bitPattern: UInt32(rawValue >> 32)) }

  /// With a further measurement.
  public func adding(
    nanoseconds: UInt64, at now: UInt64, decayNanoseconds: UInt64
  ) -> PeakAverage {
    let sample = Float(nanoseconds) * 1e-9
    let moment = PeakAverage.moment(now)
    guard self != .none else { return PeakAverage(seconds: sample, at: moment) }
    let left = remainder(at: moment, decayNanoseconds: decayNanoseconds)
    let average = sample >= seconds ? sample : seconds * left + sample * (1 - left)
    return PeakAverage(seconds: average, at: moment)
  }

  /// The average in seconds, less with time when nothing is measured; `nil` when nothing ever was.
  public func seconds(at now: UInt64, decayNanoseconds: UInt64) -> Float? {
    guard self != .none else { return nil }
    return seconds
      * remainder(at: PeakAverage.moment(now), decayNanoseconds: decayNanoseconds)
  }
}
