// SPDX-License-Identifier: Apache-2.0
// What the processors' quota says.

import CLinux
import Glibc
import Testing

@testable import Reactor

@Suite struct ResourcesTests {
  @Test(arguments: [("150000 100000\n", 1500), ("max 100000", nil), ("", nil), ("x y", nil)])
  func quotasAreRead(_ text: String, _ thousandths: Int?) {
    #expect(AvailableProcessors.quotaThousandths(cpuMax: text) == thousandths)
  }

  @Test(arguments: [1, 1024, 1025, 8192] as [CInt])
  func theMaskGrowsUntilTheKernelsFitsIntoIt(_ kernelsOwn: CInt) {
    var asked: [CInt] = []
    let count = AvailableProcessors.affinityCount { possible in
      asked.append(possible)
      return possible < kernelsOwn ? -EINVAL : 96
    }
    #expect(count == 96)
    #expect(asked.last.map { $0 >= kernelsOwn } == true)
  }

  @Test(arguments: [-EINVAL, -EPERM, 0])
  func aKernelThatDoesNotTellIsNotAskedForEver(_ answer: CInt) {
    #expect(AvailableProcessors.affinityCount { _ in answer } == nil)
  }

  @Test func theRealMaskIsRead() {
    #expect((AvailableProcessors.affinityCount(clinux_cpu_count) ?? 0) > 0)
    #expect(clinux_cpu_count(0) == -EINVAL)
  }

  @Test func aQuotaIsRoundedDownButNotToNothing() {
    #expect(AvailableProcessors(affinity: 8, quotaThousandths: 2900).whole == 2)
    #expect(AvailableProcessors(affinity: 8, quotaThousandths: 500).whole == 1)
    #expect(AvailableProcessors(affinity: 2, quotaThousandths: 9000).whole == 2)
    #expect(AvailableProcessors(affinity: 3, quotaThousandths: nil).whole == 3)
  }
}
