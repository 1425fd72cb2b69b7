// SPDX-License-Identifier: Apache-2.0
// Text for logs, put together byte by byte: one array that keeps its memory, no String on the way.
// An access record costs the process what formatting it costs, so this is worth being plain.

import Glibc

/// Bytes of log lines that wait to be written.
struct LineBuffer {
  private(set) var bytes: [UInt8] = []

  var isEmpty: Bool { bytes.isEmpty }

  mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
  }

  mutating func append(_ text: StaticString) {
    bytes.append(
      contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  mutating func append(_ text: [UInt8]) {
    bytes.append(contentsOf: text)
  }

  mutating func append(_ number: UInt64) {
    var digits: [20 of UInt8] = .init(repeating: 0)
    var first = 20
    var rest = number
    repeat {
      first -= 1
      digits[first] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    } while rest > 0
    for index in first..<20 { bytes.append(digits[index]) }
  }

  /// A number with leading zeros.
  mutating func append(_ number: UInt64, digits: Int) {
    var unit: UInt64 = 1
    for _ in 1..<digits { unit *= 10 }
    while unit > 0 {
      bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: number / unit % 10))
      unit /= 10
    }
  }

  /// Nanoseconds as milliseconds with three decimals.
  mutating func append(milliseconds nanoseconds: UInt64) {
    let microseconds = nanoseconds / 1000
    append(microseconds / 1000)
    append(".")
    append(microseconds % 1000, digits: 3)
  }

  /// The text of a JSON string between its quotes (RFC 8259, section 7).
  mutating func append(escaped text: some Sequence<UInt8>) {
    for byte in text {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case 0..<0x20, 0x7F:
        append("\\u00")
        bytes.append(LineBuffer.hexadecimal(byte >> 4))
        bytes.append(LineBuffer.hexadecimal(byte & 15))
      default:
        bytes.append(byte)
      }
    }
  }

  /// The value of a `key=value` pair: in quotes where it would otherwise not end where it ends.
  mutating func append(value text: some Collection<UInt8>) {
    let isPlain =
      !text.isEmpty && !text.contains { $0 <= 0x20 || $0 == 0x22 || $0 == 0x5C || $0 == 0x7F }
    if isPlain {
      bytes.append(contentsOf: text)
    } else {
      append("\"")
      append(escaped: text)
      append("\"")
    }
  }

  private static func hexadecimal(_ digit: UInt8) -> UInt8 {
    digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
  }
}

/// Points of the wall clock in the form of RFC 3339, UTC, with milliseconds. The date and time of day are
/// worked out once a second.
struct Timestamp {
  private var second = Int.min
  private var prefix: [UInt8] = []

  /// Appends the wall-clock time `nanosecondsAgo` before now.
  mutating func append(nanosecondsAgo: UInt64, to line: inout LineBuffer) {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    let now = UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    append(nanosecondsSince1970: now - min(now, nanosecondsAgo), to: &line)
  }

  /// Appends a point of the wall clock.
  mutating func append(nanosecondsSince1970 time: UInt64, to line: inout LineBuffer) {
    let seconds = Int(time / 1_000_000_000)
    if seconds != second { renew(seconds) }
    line.append(prefix)
    line.append(time / 1_000_000 % 1000, digits: 3)
    line.append("Z")
  }

  private mutating func renew(_ seconds: Int) {
    var time = time_t(seconds)
    var parts = tm()
    gmtime_r(&time, &parts)
    var text = LineBuffer()
    text.append(UInt64(parts.tm_year + 1900), digits: 4)
    text.append("-")
    text.append(UInt64(parts.tm_mon + 1), digits: 2)
    text.append("-")
    text.append(UInt64(parts.tm_mday), digits: 2)
    text.append("T")
    text.append(UInt64(parts.tm_hour), digits: 2)
    text.append(":")
    text.append(UInt64(parts.tm_min), digits: 2)
    text.append(":")
    text.append(UInt64(parts.tm_sec), digits: 2)
    text.append(".")
    second = seconds
    prefix = text.bytes
  }
}
