// SPDX-License-Identifier: Apache-2.0
// A session's budget of memory.

import Testing

@testable import DataPlane

@Suite struct SessionTests {
  @Test func aSessionTakesNoMoreThanFourCacheLines() {
    // With its timer and its link in the slab, an idle session takes no more than 256 bytes.
    #expect(MemoryLayout<Session>.stride <= 232)
  }

  @Test func whatEachTurnLooksAtStandsInTheFirstTwoCacheLines() throws {
    #expect(MemoryLayout<Connection>.stride == 16)
    #expect(MemoryLayout<Flow>.stride == 32)
    // Beside two of each stand the last move (8 bytes), the route (4), the state (1) and the flags (2).
    let hotBytes = 2 * MemoryLayout<Connection>.stride + 2 * MemoryLayout<Flow>.stride + 15
    #expect(hotBytes <= 128)
  }
}
