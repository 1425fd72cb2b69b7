// SPDX-License-Identifier: Apache-2.0
// The generator's published sequence (prng.di.unimi.it, splitmix64.c).

import Balancing
import Testing

@Suite struct SplitMix64Tests {
  @Test func itFollowsTheKnownSequence() {
    var random = SplitMix64(seed: 1_234_567)
    let known: [UInt64] = [
      6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
    ]
    #expect(known.map { _ in random.next() } == known)
  }

  @Test func numbersStayBelowTheirBound() {
    var random = SplitMix64(seed: 3)
    var seen: Set<UInt64> = []
    for _ in 0..<1000 { seen.insert(random.next(below: 5)) }
    #expect(seen == [0, 1, 2, 3, 4])
  }
}
