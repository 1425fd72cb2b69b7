// SPDX-License-Identifier: Apache-2.0
// The command line. Nothing here is asynchronous: an async main would start Swift's global executor
// and its threads, and this program's threads are its own.

import ArgumentParser
import Configuration

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

      Exit codes: 0 ended as told, 1 not ready (probe), 64 wrong usage, 69 cannot start or be \
      asked, 78 wrong configuration.
      """,
    version: productVersion,
    subcommands: [
      RunCommand.self, CheckCommand.self, ProbeCommand.self, SchemaCommand.self,
      VersionCommand.self,
    ])

  /// Made by the parser.
  public init() {}

  /// Runs what the process was told to, and ends it when that has failed.
  public static func main() {
    let arguments = Array(CommandLine.arguments.dropFirst())
    if let slip = subcommandSlip(arguments) { exit(withError: slip) }
    main(arguments)
  }

  /// What to say about a first argument that is no subcommand; `nil` when the parser knows better.
  static func subcommandSlip(_ arguments: [String]) -> ValidationError? {
    let names = configuration.subcommands.compactMap { $0.configuration.commandName } + ["help"]
    guard let first = arguments.first, !first.hasPrefix("-"), !names.contains(first) else {
      return nil
    }
    let start = "Unexpected argument '\(first)'."
    if let near = suggestion(for: first, among: names) {
      return ValidationError("\(start) Did you mean '\(near)'?")
    }
    guard first.hasSuffix(".yaml") || first.hasSuffix(".yml") else { return nil }
    return ValidationError("\(start) Did you mean 'run \(first)'?")
  }
}

/// The version of this program.
public let productVersion = "0.1.0"

/// The configuration file, as an option or as an argument.
struct ConfigurationOption: ParsableArguments {
  private static let standard = "config.yaml"

  @Option(
    name: [.customShort("c", allowingJoined: true), .customLong("config")],
    help: ArgumentHelp(
      "The configuration file, or - for standard input. (default: \(standard))", valueName: "file"))
  private var option: String?

  @Argument(help: ArgumentHelp("The same, without --config.", valueName: "file"))
  private var argument: String?

  func validate() throws {
    if let option, let argument {
      throw ValidationError(
        "One configuration file is expected, two are given: '\(option)' and '\(argument)'.")
    }
  }

  /// Whether the command line names a file.
  var isGiven: Bool { option != nil || argument != nil }

  /// Where the configuration comes from.
  var source: ConfigurationSource {
    let path = option ?? argument ?? Self.standard
    return path == "-" ? .standardInput : .file(path: path)
  }
}

struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Print the version.")

  func run() {
    print("sluice \(productVersion)")
  }
}
