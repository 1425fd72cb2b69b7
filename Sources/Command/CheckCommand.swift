// SPDX-License-Identifier: Apache-2.0
// Reading a configuration for the command line: all that is wrong is told at once on standard error,
// and the exit code says that it was the configuration (sysexits.h, EX_CONFIG).

import ArgumentParser
import Configuration
import Control
import Glibc
import Plan

extension ExitCode {
  /// The configuration is wrong (EX_CONFIG).
  static let wrongConfiguration = ExitCode(78)
  /// Something that the program needs is not there (EX_UNAVAILABLE).
  static let cannotStart = ExitCode(69)
}

/// Prints to standard error.
func printError(_ text: String) {
  var rest = Array(text.utf8)[...]
  while !rest.isEmpty {
    let count = rest.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    if count > 0 {
      rest = rest.dropFirst(count)
    } else if errno != EINTR {
      return
    }
  }
}

/// The plan of a configuration, after its warnings were printed. Ends the program when there is
/// none.
func loadPlanOrExit(_ source: ConfigurationSource) throws -> ProxyPlan {
  let decoded = loadPlan(source)
  printError(decoded.report)
  guard let plan = decoded.plan else { throw ExitCode.wrongConfiguration }
  return plan
}

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Check a configuration file without running it.",
    discussion: """
      Prints every error and warning with its place in the file. Exits with 0 when the file can be \
      run, with 78 when it cannot. The files that `endpoints_file` names are read, too. Nothing listens \
      or connects, and no name is looked up. Bounds are compared with the open-files limit of this shell.
      """)

  @OptionGroup var file: ConfigurationOption

  func run() throws {
    let plan = try loadPlanOrExit(file.source)
    for warning in limitWarnings(of: plan) { printError("\(file.source): warning: \(warning)\n") }
    let endpoints = plan.upstreams.reduce(0) { $0 + $1.endpoints.count }
    func count(_ number: Int, _ noun: String) -> String {
      "\(number) \(noun)\(number == 1 ? "" : "s")"
    }
    print(
      "\(file.source): OK:", count(plan.routes.count, "route") + ",",
      count(plan.upstreams.count, "upstream") + ",", count(endpoints, "endpoint"))
  }
}

struct SchemaCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schema",
    abstract: "Print the JSON Schema of the configuration file.",
    discussion: """
      Editors with a YAML language server complete and check the file with it: put \
      `# yaml-language-server: $schema=sluice.schema.json` in its first line.
      """)

  func run() {
    print(jsonSchema(), terminator: "")
  }
}
