// SPDX-License-Identifier: Apache-2.0
// Asking a running proxy for its health: for HEALTHCHECK lines and scripts, in images that hold nothing
// but this program. The exit code is the answer, what is printed is for people.

import Addressing
import Admin
import ArgumentParser
import Configuration
import EventLoop

extension ExitCode {
  /// The proxy says no.
  static let notReady = ExitCode(1)
}

struct ProbeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "probe",
    abstract: "Ask a running proxy whether it is ready.",
    discussion: """
      Asks where `admin: listen` of the configuration file says, or at --admin. Exits with 0 when the \
      proxy is ready, with 1 when it is not, with the reasons on standard output, and with 69 when it \
      cannot be asked.
      """)

  @OptionGroup var file: ConfigurationOption

  @Option(
    help: ArgumentHelp(
      "Where the admin interface listens, like 127.0.0.1:9901 or unix:/run/sluice/admin.sock; "
        + "without it, the configuration file says.", valueName: "address"))
  var admin: SocketAddress?

  @Option(help: ArgumentHelp("How long to wait for the answer.", valueName: "duration"))
  var timeout = ProbeTimeout(duration: .seconds(2))

  @Flag(help: "Ask whether the proxy lives, not whether it is ready for clients.")
  var live = false

  @Flag(
    help: ArgumentHelp(
      "Answer yes where the configuration names no admin interface that could be asked: it has "
        + "none, is wrong, or was changed since the proxy has read it."))
  var ifConfigured = false

  func validate() throws {
    if admin != nil && (file.isGiven || ifConfigured) {
      throw ValidationError("--admin says where to ask; a configuration file is not read then.")
    }
  }

  func run() throws {
    guard let address = try address() else {
      print("there is no admin interface to ask")
      return
    }
    let probe = AdminProbe(address, live ? .isAlive : .isReady)
    let duration = timeout.duration
    let outcome: AdminProbe.Outcome
    do {
      let loop = try Loop()
      outcome = try loop.run {
        await probe.ask(until: loop.now.advanced(by: duration.wholeNanoseconds))
      }
    } catch {
      outcome = .unanswered("asking needs an event loop, and there is none: \(error)")
    }
    switch outcome {
    case .yes(let text):
      print(text, terminator: "")
    case .no(let text):
      print(text, terminator: "")
      throw ExitCode.notReady
    case .nobody(let words) where ifConfigured:
      // The address of an admin interface changes with a restart alone, the file before that.
      print("there is no admin interface to ask: \(words)")
    case .nobody(let words), .unanswered(let words):
      printError("sluice: \(words)\n")
      throw ExitCode.cannotStart
    }
  }

  /// Where to ask; `nil` where nobody can be asked and need not.
  private func address() throws -> SocketAddress? {
    if let admin { return admin }
    let decoded = loadPlan(file.source)
    guard let whole = decoded.plan else {
      // A proxy that was told to take up a wrong file goes on as before.
      if ifConfigured { return nil }
      printError(decoded.report)
      throw ExitCode.wrongConfiguration
    }
    guard let plan = whole.admin else {
      if ifConfigured { return nil }
      printError(
        "sluice: \(file.source) has no admin interface to ask; add `admin: {listen: "
          + "\"127.0.0.1:9901\"}`, or say where with --admin\n")
      throw ExitCode.cannotStart
    }
    if plan.listen.port == 0 {
      printError(
        "sluice: \(file.source) lets the kernel choose the port of `admin: listen`; say where with "
          + "--admin, or choose a port\n")
      throw ExitCode.cannotStart
    }
    return plan.listen
  }
}

extension SocketAddress: ExpressibleByArgument {
  /// An address on the command line, written as in the configuration.
  public init?(argument: String) {
    self.init(argument)
  }
}

/// A duration on the command line, written as in the configuration; not zero.
struct ProbeTimeout: ExpressibleByArgument {
  let duration: Duration

  var defaultValueDescription: String { duration.configurationText }

  init(duration: Duration) {
    self.duration = duration
  }

  init?(argument: String) {
    guard let duration = Duration(configurationText: argument), duration > .zero else { return nil }
    self.duration = duration
  }
}
