// SPDX-License-Identifier: Apache-2.0
// Durations as the configuration writes them.

import Plan
import Testing

@Suite("Duration text")
struct DurationTextTests {
  @Test(
    "The largest unit that it is a whole number of",
    arguments: [
      (.zero, "0s"), (.microseconds(1), "1us"), (.milliseconds(1500), "1500ms"),
      (.seconds(20), "20s"), (.seconds(90), "90s"), (.seconds(5400), "90m"),
      (.seconds(86_400), "24h"),
    ] as [(Duration, String)])
  func units(duration: Duration, text: String) {
    #expect(duration.configurationText == text)
  }
}
