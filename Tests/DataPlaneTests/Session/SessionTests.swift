// SPDX-License-Identifier: Apache-2.0
// A session's budget of memory.

import Testing

@testable import DataPlane

@Suite struct SessionTests {
  @Test func aSessionTakesNoMoreThanFourCacheLines() {
    // With its timer and its link in the slab, an idle session stays below 256 bytes.
    #expect(MemoryLayout<Session>.stride <= 240)
  }
}
