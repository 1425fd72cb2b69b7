// SPDX-License-Identifier: Apache-2.0
// Signals and their names.

import EventLoop
import Glibc
import Testing

@Suite struct SignalNumberTests {
  @Test(arguments: [
    (SignalNumber.terminate, "SIGTERM"), (.interrupt, "SIGINT"), (.hangUp, "SIGHUP"),
    (.quit, "SIGQUIT"), (.user1, "SIGUSR1"), (.user2, "SIGUSR2"), (.child, "SIGCHLD"),
    (.windowChange, "SIGWINCH"), (SignalNumber(rawValue: 42), "signal 42"),
  ])
  func theyHaveTheNamesOfTheManual(signal: SignalNumber, name: String) {
    #expect(signal.description == name)
  }
}
