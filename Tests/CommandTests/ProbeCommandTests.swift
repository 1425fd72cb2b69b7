// SPDX-License-Identifier: Apache-2.0
// What the command line of `sluice probe` takes for what.

import Addressing
import ArgumentParser
import Testing

@testable import Command

@Suite("Arguments of probe")
struct ProbeCommandTests {
  @Test("Two seconds, readiness, and the file say where")
  func standard() throws {
    let probe = try #require(SluiceCommand.parseAsRoot(["probe"]) as? ProbeCommand)
    #expect(probe.admin == nil)
    #expect(probe.file.source == .file(path: "config.yaml"))
    #expect(probe.timeout.duration == .seconds(2))
    #expect(!probe.live)
  }

  @Test("Everything can be said")
  func everything() throws {
    let probe = try #require(
      SluiceCommand.parseAsRoot(
        ["probe", "--admin", "[::1]:9901", "--timeout", "1m30s", "--live"]) as? ProbeCommand)
    #expect(probe.admin == .v6(.loopback, port: 9901))
    #expect(probe.timeout.duration == .seconds(90))
    #expect(probe.live)
  }

  @Test(
    "What makes no sense is wrong usage",
    arguments: [
      ["--admin", "localhost:9901"], ["--admin", "9901"], ["--timeout", "0s"],
      ["--timeout", "2"], ["--timeout", "-2s"], ["--timeout", "soon"],
      ["--admin", "127.0.0.1:1", "--config", "x.yaml"], ["--admin", "127.0.0.1:1", "x.yaml"],
      ["--admin", "127.0.0.1:1", "--if-configured"],
    ])
  func wrongUsage(arguments: [String]) {
    let error = #expect(throws: (any Error).self) {
      _ = try SluiceCommand.parseAsRoot(["probe"] + arguments)
    }
    #expect(error.map(SluiceCommand.exitCode) == .validationFailure)
  }
}
