// SPDX-License-Identifier: Apache-2.0
// Short ways to decode text in a test, without the environment of the test process, and a random
// number generator with a seed, so that what failed once can be made to fail again.

import Plan

@testable import Configuration

/// Decodes text that stands for `config.yaml`.
func decode(_ text: String, _ environment: [String: String] = [:]) -> DecodedPlan {
  decodePlan(Array(text.utf8), fileName: "config.yaml") { environment[$0] }
}

/// The report on a file that has one route and some more text.
func report(_ text: String, _ environment: [String: String] = [:]) -> String {
  decode(text, environment).report
}

/// The messages alone.
func messages(_ text: String, _ environment: [String: String] = [:]) -> [String] {
  decode(text, environment).diagnostics.map(\.message)
}

/// A file in which one route has these settings.
func routeFile(_ settings: String) -> String {
  "routes:\n  r:\n    listen: \":1\"\n    to: \"10.0.0.1:1\"\n    \(settings)\n"
}

/// A file in which only `listen` matters.
func listenFile(_ listen: String) -> String {
  "routes: \n  r:\n    listen: \(listen)\n    to: \"10.0.0.1:1\"\n"
}

/// SplitMix64: small, and the same on every machine.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
