// SPDX-License-Identifier: Apache-2.0
// What the processors' quota says.

import Testing

@testable import Reactor

@Suite struct ResourcesTests {
  @Test(arguments: [("150000 100000\n", 1500), ("max 100000", nil), ("", nil), ("x y", nil)])
  func quotasAreRead(_ text: String, _ thousandths: Int?) {
    #expect(AvailableProcessors.quotaThousandths(cpuMax: text) == thousandths)
  }

  @Test func aQuotaIsRoundedDownButNotToNothing() {
    #expect(AvailableProcessors(affinity: 8, quotaThousandths: 2900).whole == 2)
    #expect(AvailableProcessors(affinity: 8, quotaThousandths: 500).whole == 1)
    #expect(AvailableProcessors(affinity: 2, quotaThousandths: 9000).whole == 2)
    #expect(AvailableProcessors(affinity: 3, quotaThousandths: nil).whole == 3)
  }
}
