// SPDX-License-Identifier: Apache-2.0
// A session's budget of memory.

import Testing

@testable import DataPlane

@Suite struct SessionTests {
  @Test func aSessionTakesNoMoreThanFourCacheLines() {
    #expect(MemoryLayout<Session>.stride <= 256)
  }
}
