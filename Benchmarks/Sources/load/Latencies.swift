// A histogram of durations in steps of about 1.6 %: recording is a shift and an addition, so that
// it costs the load nothing and keeps no list of samples.

import Glibc

/// Nanoseconds of a clock that only goes forward.
func now() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Counts durations by their size.
struct Latencies {
  private static let stepBits = 6
  private static let steps = 1 << stepBits
  private var counts = [UInt64](repeating: 0, count: (64 - stepBits + 1) * steps)
  private(set) var total: UInt64 = 0

  mutating func record(_ nanoseconds: UInt64) {
    counts[Self.index(of: nanoseconds)] += 1
    total += 1
  }

  /// The duration in microseconds that this share of all stays below.
  func microseconds(percentile: Double) -> Double {
    let wanted = UInt64((Double(total) * percentile / 100).rounded(.up))
    var seen: UInt64 = 0
    for (index, count) in counts.enumerated() where count > 0 {
      seen += count
      if seen >= wanted { return Double(Self.value(at: index)) / 1000 }
    }
    return 0
  }

  /// Values below `steps` stand for themselves; above, the highest bits count.
  private static func index(of value: UInt64) -> Int {
    let width = UInt64.bitWidth - value.leadingZeroBitCount
    guard width > stepBits else { return Int(value) }
    let shift = width - stepBits - 1
    return (shift + 1) * steps + Int(value >> UInt64(shift)) - steps
  }

  private static func value(at index: Int) -> UInt64 {
    guard index >= steps else { return UInt64(index) }
    let shift = UInt64(index / steps - 1)
    return UInt64(index % steps + steps) << shift
  }
}
