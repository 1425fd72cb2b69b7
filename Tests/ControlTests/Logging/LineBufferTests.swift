// SPDX-License-Identifier: Apache-2.0
// Numbers, escapes and points in time as text.

import Foundation
import Testing

@testable import Control

/// The text that `build` puts together.
private func text(_ build: (inout LineBuffer) -> Void) -> String {
  var line = LineBuffer()
  build(&line)
  return String(decoding: line.bytes, as: UTF8.self)
}

@Suite("Line buffer")
struct LineBufferTests {
  @Test("Numbers are decimal", arguments: [0, 7, 10, 99, 100, 1_234_567_890, UInt64.max])
  func numbers(number: UInt64) {
    #expect(text { $0.append(number) } == "\(number)")
  }

  @Test("Numbers of a fixed length have leading zeros, and lose what is before")
  func digits() {
    #expect(text { $0.append(7, digits: 3) } == "007")
    #expect(text { $0.append(0, digits: 1) } == "0")
    #expect(text { $0.append(1234, digits: 2) } == "34")
  }

  @Test("Nanoseconds are told as milliseconds, rounded down to microseconds")
  func milliseconds() {
    #expect(text { $0.append(milliseconds: 0) } == "0.000")
    #expect(text { $0.append(milliseconds: 999) } == "0.000")
    #expect(text { $0.append(milliseconds: 412_999) } == "0.412")
    #expect(text { $0.append(milliseconds: 1_530_118_000) } == "1530.118")
  }

  @Test("Any text is a JSON string when escaped")
  func escapes() throws {
    let all = String(String.UnicodeScalarView((0...0x2FF).compactMap(Unicode.Scalar.init))) + "é😀"
    let json = "[\"" + text { $0.append(escaped: all.utf8) } + "\"]"
    let parsed = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String]
    #expect(parsed == [all])
  }

  @Test(
    "A value is quoted where it would otherwise not end where it ends",
    arguments: [
      ("plain", "plain"), ("10.0.0.1:80", "10.0.0.1:80"), ("", "\"\""), ("a b", "\"a b\""),
      ("a\"b", "\"a\\\"b\""), ("a\nb", "\"a\\u000ab\""), ("é", "é"), ("a\\b", "\"a\\\\b\""),
    ])
  func values(value: String, written: String) {
    #expect(text { $0.append(value: value.utf8) } == written)
  }
}

@Suite("Timestamp")
struct TimestampTests {
  @Test(
    "Points in time are told as RFC 3339 does, in UTC",
    arguments: [
      (0, "1970-01-01T00:00:00.000Z"),
      (951_782_400_000, "2000-02-29T00:00:00.000Z"),
      (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
      (1_795_342_504_270, "2026-11-22T10:15:04.270Z"),
      (4_107_542_400_001, "2100-03-01T00:00:00.001Z"),
    ] as [(UInt64, String)])
  func known(milliseconds: UInt64, written: String) {
    var timestamp = Timestamp()
    #expect(
      text { timestamp.append(nanosecondsSince1970: milliseconds * 1_000_000, to: &$0) } == written)
  }

  @Test("One after another, also backwards, each is told right")
  func sequence() {
    var timestamp = Timestamp()
    let line = text { line in
      for time: UInt64 in [59_999, 60_000, 59_500] {
        timestamp.append(nanosecondsSince1970: time * 1_000_000, to: &line)
        line.append(" ")
      }
    }
    #expect(
      line == "1970-01-01T00:00:59.999Z 1970-01-01T00:01:00.000Z 1970-01-01T00:00:59.500Z ")
  }

  @Test("What happened longer ago than the clock goes back happened at its beginning")
  func longAgo() {
    var timestamp = Timestamp()
    #expect(
      text { timestamp.append(nanosecondsAgo: .max, to: &$0) } == "1970-01-01T00:00:00.000Z")
  }
}
