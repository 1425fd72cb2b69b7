// SPDX-License-Identifier: Apache-2.0
// The variables of sd_listen_fds(3), and everything that they may hold.

import Reactor
import Testing

@Suite("Socket activation")
struct SocketActivationTests {
  private func descriptors(_ environment: [String: String]) -> Range<Int32> {
    SocketActivation(processID: 42) { environment[$0] }.descriptors
  }

  @Test("Descriptors are counted from 3")
  func some() {
    #expect(descriptors(["LISTEN_PID": "42", "LISTEN_FDS": "2"]) == 3..<5)
  }

  @Test("What is meant for another process is not ours")
  func otherProcess() {
    #expect(descriptors(["LISTEN_PID": "43", "LISTEN_FDS": "2"]).isEmpty)
    #expect(descriptors(["LISTEN_FDS": "2"]).isEmpty)
  }

  @Test(
    "What is no sensible number means none",
    arguments: ["", "0", "-1", "x", "2x", " 2", "4097", "99999999999999999999"])
  func malformed(count: String) {
    #expect(descriptors(["LISTEN_PID": "42", "LISTEN_FDS": count]).isEmpty)
    #expect(descriptors(["LISTEN_PID": "\(count)", "LISTEN_FDS": "2"]).isEmpty)
  }

  @Test("Without the variables there are none")
  func absent() {
    #expect(descriptors([:]).isEmpty)
  }
}
