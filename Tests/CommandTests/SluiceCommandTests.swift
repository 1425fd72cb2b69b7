// SPDX-License-Identifier: Apache-2.0
// What the command line takes for what.

import ArgumentParser
import Testing

@testable import Command

@Suite("Arguments")
struct SluiceCommandTests {
  @Test("The configuration is config.yaml unless said otherwise")
  func defaultPath() throws {
    let command = try SluiceCommand.parseAsRoot(["run"])
    #expect((command as? RunCommand)?.file.source == .file(path: "config.yaml"))
  }

  @Test(
    "The configuration is named in any usual way",
    arguments: [["-c", "x"], ["-cx"], ["--config", "x"], ["--config=x"], ["x"]])
  func path(arguments: [String]) throws {
    let run = try SluiceCommand.parseAsRoot(["run"] + arguments)
    #expect((run as? RunCommand)?.file.source == .file(path: "x"))
    let check = try SluiceCommand.parseAsRoot(["check"] + arguments)
    #expect((check as? CheckCommand)?.file.source == .file(path: "x"))
  }

  @Test(
    "A hyphen is standard input",
    arguments: [["-c", "-"], ["-c-"], ["--config", "-"], ["--config=-"], ["-"]])
  func standardInput(arguments: [String]) throws {
    let check = try SluiceCommand.parseAsRoot(["check"] + arguments)
    #expect((check as? CheckCommand)?.file.source == .standardInput)
  }

  @Test(
    "What is no command, option or argument is wrong usage",
    arguments: [
      ["walk"], ["run", "a.yaml", "b.yaml"], ["run", "--config", "a.yaml", "b.yaml"],
      ["run", "--config"], ["--verbose"],
    ])
  func wrongUsage(arguments: [String]) {
    let error = #expect(throws: (any Error).self) {
      _ = try SluiceCommand.parseAsRoot(arguments)
    }
    #expect(error.map(SluiceCommand.exitCode) == .validationFailure)
  }

  @Test("What is nearly a subcommand is told which")
  func misspelt() {
    func said(_ arguments: String...) -> String? {
      SluiceCommand.subcommandSlip(arguments)?.message
    }
    #expect(said("chek", "x") == "Unexpected argument 'chek'. Did you mean 'check'?")
    #expect(said("rnu") == "Unexpected argument 'rnu'. Did you mean 'run'?")
    #expect(said("my.yaml") == "Unexpected argument 'my.yaml'. Did you mean 'run my.yaml'?")
    #expect(said("walk") == nil)
    #expect(said("run", "chek") == nil)
    #expect(said("help", "run") == nil)
    #expect(said("--hlep") == nil)
    #expect(said() == nil)
  }

  @Test("Wrong usage has the exit code of sysexits.h")
  func usageCode() {
    #expect(ExitCode.validationFailure.rawValue == 64)
    #expect(ExitCode.cannotStart.rawValue == 69)
    #expect(ExitCode.wrongConfiguration.rawValue == 78)
  }

  @Test("Help names every subcommand", arguments: ["run", "check", "probe", "schema", "version"])
  func help(subcommand: String) {
    #expect(SluiceCommand.helpMessage().contains("\n  \(subcommand) "))
  }
}
