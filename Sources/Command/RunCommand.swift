// SPDX-License-Identifier: Apache-2.0
// Running the proxy: configuration, logs, proxy, in this order, each only when the one before is
// sound.

import ArgumentParser
import Control

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run the proxy until a signal ends it.",
    discussion: """
      Stays in the foreground. Access records go to standard output, everything else to standard \
      error, unless the file says otherwise. SIGTERM or SIGINT drains: no new sessions, and those \
      that are open may finish for as long as `shutdown: drain` says. A second signal ends at once. \
      SIGUSR1 opens the access log's file again, for whoever has renamed it.
      """)

  @OptionGroup var file: ConfigurationOption

  func run() throws {
    openMissingStandardStreams()
    let plan = try loadPlanOrExit(file.source)
    do {
      // Before the first thread, which would otherwise be killed by the signals.
      let signals = try ProxySignals()
      let manager = ServiceNotifier.take()
      let log = try EventLog(plan.log)
      defer { log.stop() }
      guard let proxy = try Proxy(plan, log: log, signals: signals, manager: manager) else {
        return
      }
      try proxy.run()
    } catch {
      for line in "\(error)".split(separator: "\n") { printError("sluice: \(line)\n") }
      throw ExitCode.cannotStart
    }
  }
}
