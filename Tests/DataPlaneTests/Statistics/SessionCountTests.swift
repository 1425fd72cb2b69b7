// SPDX-License-Identifier: Apache-2.0
// A count whose bound may change under it.

import Testing

@testable import DataPlane

@Suite struct SessionCountTests {
  @Test func theBoundIsWhateverIsAskedFor() {
    let count = SessionCount()
    #expect(count.take(below: 2))
    #expect(count.take(below: 2))
    #expect(!count.take(below: 2))
    #expect(count.value == 2)
    #expect(count.take(below: 3))
    #expect(!count.take(below: 1))
    #expect(count.value == 3)
    for _ in 0..<3 { count.giveBack() }
    #expect(!count.take(below: 0))
    #expect(count.take(below: 1))
  }
}
