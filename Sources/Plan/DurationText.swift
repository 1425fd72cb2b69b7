// SPDX-License-Identifier: Apache-2.0
// Durations as the configuration writes them. Here, since both who reads the file and who logs what
// it said must write them alike.

private let units: [(name: String, microseconds: Int64)] = [
  ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000), ("us", 1),
]

extension Duration {
  /// The duration in the largest unit that it is a whole number of: `20s`, `90m`; parts of a
  /// microsecond are left out.
  public var configurationText: String {
    let (seconds, attoseconds) = components
    let microseconds = seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    guard microseconds != 0 else { return "0s" }
    for unit in units where microseconds % unit.microseconds == 0 {
      return "\(microseconds / unit.microseconds)\(unit.name)"
    }
    return "\(microseconds)us"
  }
}
