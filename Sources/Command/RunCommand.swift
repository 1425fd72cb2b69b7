// SPDX-License-Identifier: Apache-2.0
// Running the proxy: configuration, logs, proxy, in this order, each only when the one before is
// sound.

import Admin
import ArgumentParser
import Configuration
import Control
import Plan
import Reactor

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run the proxy until a signal ends it.",
    discussion: """
      Stays in the foreground. Access records go to standard output, everything else to standard \
      error, unless the file says otherwise. SIGTERM or SIGINT drains: no new sessions, and those \
      that are open may finish for as long as `shutdown: drain` says. A second signal ends at once. \
      SIGHUP reads the file again and takes up what has changed; a file with errors changes nothing. \
      SIGUSR1 opens the access log's file again, for whoever has renamed it.
      """)

  @OptionGroup var file: ConfigurationOption

  func run() throws {
    openMissingStandardStreams()
    let plan = try loadPlanOrExit(file.source)
    do {
      // Before the first thread, which would otherwise be killed by the signals.
      Proxy.takeSignals()
      let manager = ServiceNotifier.take()
      let log = try EventLog(plan.log)
      defer { log.stop() }
      try Proxy.run(plan, source: PlanSource(file.source), log: log, manager: manager) {
        plan, control throws(StartFailure) in
        try adminService(plan, control)
      }
    } catch {
      for line in "\(error)".split(separator: "\n") { printError("sluice: \(line)\n") }
      throw ExitCode.cannotStart
    }
  }
}

/// The admin interface of a proxy.
private func adminService(
  _ plan: AdminPlan, _ control: ProxyControl
) throws(StartFailure) -> StatusService {
  do throws(ListeningSocket.Failure) {
    let server = try AdminServer(
      plan, source: AdminSource(control, version: productVersion))
    return StatusService(address: "\(server.address)") { await server.run() }
  } catch {
    throw StartFailure("admin: cannot listen at \(plan.listen): \(error)")
  }
}

extension PlanSource {
  /// The file that a configuration came from; standard input cannot be read a second time.
  fileprivate init(_ source: ConfigurationSource) {
    var read: (@Sendable () -> PlanReading)?
    if case .file = source {
      read = {
        let decoded = loadPlan(source)
        return PlanReading(
          plan: decoded.plan, problems: problems(decoded.diagnostics, decoded.omittedCount))
      }
    }
    self.init(name: source.description, read: read) { path, upstream in
      let decoded = loadEndpoints(path: path, for: upstream)
      return EndpointsReading(
        endpoints: decoded.endpoints,
        problems: problems(decoded.diagnostics, decoded.omittedCount))
    }
  }
}

/// What is wrong with a file, each in a line.
private func problems(_ diagnostics: [Diagnostic], _ omittedCount: Int) -> [String] {
  diagnostics.map(\.summary) + (omittedCount > 0 ? ["… and \(omittedCount) more"] : [])
}
