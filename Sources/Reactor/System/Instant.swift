// SPDX-License-Identifier: Apache-2.0
// Time on the loop: a point of CLOCK_MONOTONIC in eight bytes. `ContinuousClock.Instant` takes
// sixteen and follows CLOCK_BOOTTIME, so that a machine waking from sleep would find every deadline
// passed at once.

/// A point in time of the kernel's monotonic clock (clock_gettime(2), `CLOCK_MONOTONIC`).
public struct Instant: Comparable, Hashable, Sendable {
  /// Nanoseconds since some unspecified point in the past, usually the start of the machine.
  public var nanoseconds: UInt64

  /// Makes an instant from the clock's nanoseconds.
  @inlinable
  public init(nanoseconds: UInt64) {
    self.nanoseconds = nanoseconds
  }

  /// Later than everything: "no deadline".
  public static let distantFuture = Instant(nanoseconds: .max)

  /// Which of two points comes first.
  @inlinable
  public static func < (left: Instant, right: Instant) -> Bool {
    left.nanoseconds < right.nanoseconds
  }

  /// The point `nanoseconds` later; `distantFuture` if that is beyond what can be told.
  @inlinable
  public func advanced(by nanoseconds: UInt64) -> Instant {
    let (sum, overflow) = self.nanoseconds.addingReportingOverflow(nanoseconds)
    return overflow ? .distantFuture : Instant(nanoseconds: sum)
  }

  /// Nanoseconds from an earlier point to this one; 0 if that point is not earlier.
  @inlinable
  public func nanoseconds(since earlier: Instant) -> UInt64 {
    nanoseconds > earlier.nanoseconds ? nanoseconds &- earlier.nanoseconds : 0
  }
}

extension Duration {
  /// The whole duration in nanoseconds, clamped to 0...`UInt64.max`.
  public var wholeNanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    let (scaled, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    guard !overflow else { return .max }
    let (sum, carry) = scaled.addingReportingOverflow(UInt64(attoseconds / 1_000_000_000))
    return carry ? .max : sum
  }
}
