// SPDX-License-Identifier: Apache-2.0
// The range of ports that this machine chooses for connections of its own.

import Glibc
import Testing

@testable import Reactor

@Suite struct EphemeralPortsTests {
  @Test(
    arguments: [
      ("32768\t60999\n", 32768...60999), ("1024 65535", 1024...65535),
      (" 5000\n5000 ", 5000...5000),
    ] as [(String, ClosedRange<UInt16>)])
  func twoNumbersAreARange(_ text: String, _ range: ClosedRange<UInt16>) {
    #expect(EphemeralPorts.parse(text) == range)
  }

  @Test(arguments: [
    "", "\n", "32768", "32768 60999 1", "60999 32768", "-1 5", "1 65536", "1-5 7", "low high",
  ])
  func anythingElseIsNone(_ text: String) {
    #expect(EphemeralPorts.parse(text) == nil)
  }

  @Test func theRangeOfThisMachineCanBeRead() throws {
    let text = "/proc/sys/net/ipv4/ip_local_port_range"
    guard access(text, R_OK) == 0 else { return #expect(EphemeralPorts.read() == nil) }
    let range = try #require(EphemeralPorts.read())
    #expect(EphemeralPorts.current == range)
  }

  @Test func aFileThatIsMissingOrSaysSomethingElseHasNone() {
    #expect(EphemeralPorts.read(path: "/proc/self/no-such-file") == nil)
    #expect(EphemeralPorts.read(path: "/proc/self/status") == nil)
    #expect(EphemeralPorts.read(path: "/proc/self") == nil)
    #expect(EphemeralPorts.read(path: "/dev/null") == nil)
  }

  @Test func unlessAnAdministratorHasChangedItTheRangeIsThatOfTheKernel() {
    #expect(EphemeralPorts.standard == 32768...60999)
  }
}
