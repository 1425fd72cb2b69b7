// SPDX-License-Identifier: Apache-2.0
// What tests of streams begin with: two ends of a connection, and ways to wait.

import Addressing
import EventLoop
import Glibc
import Reactor
import Testing

/// Two ends of a TCP connection on this machine.
struct Connected {
  let client: Stream
  let server: Stream

  init() async throws {
    let listener = try StreamListener(at: .v4(.loopback, port: 0))
    client = try await Stream.connect(to: listener.address)
    server = try await listener.accept()
    listener.close()
  }
}

extension Loop {
  /// An instant so soon that a test can wait for it.
  var soon: Instant { now.advanced(by: 5_000_000) }

  /// Lets others run until a condition holds. Throws when that takes much too long.
  func waitUntil(_ condition: () throws -> Bool) async throws {
    let end = now.advanced(by: 30_000_000_000)
    while try !condition() {
      guard now < end else { throw WaitError.deadlinePassed }
      try await sleep(for: .milliseconds(1))
    }
  }

  /// Lets others run until the task of that name waits.
  func waitUntil(_ name: String, waitsFor what: String) async throws {
    try await waitUntil { listing.waits.contains { $0.name == name && $0.what == what } }
  }
}

/// Bytes that tell when one is missing or two are swapped.
func pattern(_ count: Int) -> [UInt8] {
  // A prime: pieces of any usual size begin differently.
  let block = (0..<min(count, 4093)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count)
  while bytes.count < count { bytes += block.prefix(count - bytes.count) }
  return bytes
}

/// Random numbers that are the same for the same seed (SplitMix64: Steele, Lea and Flood, 2014).
struct Numbers: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
