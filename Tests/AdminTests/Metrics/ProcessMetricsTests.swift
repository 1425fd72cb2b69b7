// SPDX-License-Identifier: Apache-2.0
// What the kernel says of a process: the fields of /proc, and this very process.

import Glibc
import Testing

@testable import Admin

@Suite struct ProcessMetricsTests {
  @Test func fieldsAreFoundBehindAnyName() {
    let fields = (3...52).map { "\($0)" }.joined(separator: " ")
    #expect(ProcessMetrics.startTicks("7 (sluice) \(fields)\n") == 22)
    #expect(ProcessMetrics.startTicks("7 (a ) b) (c) \(fields)\n") == 22)
    #expect(ProcessMetrics.startTicks("7 (sluice) 3 4") == nil)
    #expect(ProcessMetrics.startTicks("") == nil)
    #expect(ProcessMetrics.residentPages("10 20 30\n") == 20)
    #expect(ProcessMetrics.residentPages("10") == nil)
  }

  @Test func thisProcessHasAllOfThem() throws {
    let metrics = ProcessMetrics.current()
    #expect(ProcessMetrics.current().startTime == metrics.startTime)
    let now = Double(time(nil))
    let start = try #require(metrics.startTime)
    #expect(start > now - 86_400 && start <= now + 1)
    #expect(try #require(metrics.processorSeconds) > 0)
    #expect(try #require(metrics.residentBytes) > 1 << 20)
    let open = try #require(metrics.openDescriptors)
    #expect(open >= 1)
    if let most = metrics.descriptorsMax { #expect(open <= most) }
    #expect(metrics.families.allSatisfy { $0.samples.count <= 1 })
  }
}
