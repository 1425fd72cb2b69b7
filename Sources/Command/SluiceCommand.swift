// SPDX-License-Identifier: Apache-2.0
// The command line. Nothing here is asynchronous: an async main would start Swift's global executor
// and its threads, and this program's threads are its own.

import ArgumentParser

/// `sluice`: the root of the command line.
public struct SluiceCommand: ParsableCommand {
  /// What `--help` says, and the subcommands.
  public static let configuration = CommandConfiguration(
    commandName: "sluice",
    abstract: "A TCP proxy and load balancer.",
    discussion: """
      One YAML file says which ports it listens on and which endpoints answer:

        routes:
          redis: {listen: ":6379", to: ["10.0.0.1:6379", "10.0.0.2:6379"]}

      Check it with `sluice check`, run it with `sluice run`, and point clients at the proxy's \
      port. SIGTERM or SIGINT lets sessions finish (`shutdown: drain`), a second one ends at once.

      Exit codes: 0 ended as told, 64 wrong usage, 69 cannot start, 78 wrong configuration.
      """,
    version: productVersion,
    subcommands: [RunCommand.self, CheckCommand.self, SchemaCommand.self, VersionCommand.self])

  /// Made by the parser.
  public init() {}
}

/// The version of this program.
public let productVersion = "0.1.0"

/// The option that names the configuration file.
struct ConfigurationOption: ParsableArguments {
  @Option(
    name: [.customShort("c", allowingJoined: true), .customLong("config")],
    help: ArgumentHelp("The configuration file.", valueName: "file"))
  var path = "config.yaml"
}

struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Print the version.")

  func run() {
    print("sluice \(productVersion)")
  }
}
