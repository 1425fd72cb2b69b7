// SPDX-License-Identifier: Apache-2.0
// What a worker answers to those who ask.

import Testing

@testable import DataPlane

@Suite("Worker messages")
struct WorkerMessageTests {
  @Test("A worker that is asked says that it is alive, once per question")
  func alive() throws {
    let rig = try Rig()
    for _ in 0..<2 {
      rig.post(.answer)
      rig.settle()
    }
    let answers = rig.reports[0].all.count { if case .alive = $0 { true } else { false } }
    #expect(answers == 2)
    #expect(rig.tearDown().isEmpty)
  }
}
