// SPDX-License-Identifier: Apache-2.0
// What an operator wants to read at the start: what listens where, to whom it leads, and
// which limits will be felt.

import Logging
import Plan

/// The lines of the log between the start and `ready`.
struct Announcement {
  /// How many endpoints of an upstream are named; there may be hundreds.
  private static let endpointsShown = 4

  let plan: ProxyPlan
  let listeners: [OpenListener]
  let budget: ResourceBudget
  let unusedDescriptors: [Int32]
  let missingSources: [MissingSource]

  /// Logs everything.
  func write(to logger: Logger) {
    Announcement.writeListeners(listeners, of: plan, to: logger)
    writeUnusedDescriptors(to: logger)
    Announcement.writeMissingSources(missingSources, to: logger)
    writeLimits(to: logger)
  }

  /// Says what listens where, and to whom that leads.
  static func writeListeners(
    _ listeners: [OpenListener], of plan: ProxyPlan, to logger: Logger
  ) {
    for listener in listeners {
      let route = plan.routes[listener.route]
      let upstream = plan[route.upstream]
      let endpoints = upstream.endpoints.map { "\($0.address)" }
      let shown = endpoints.prefix(Announcement.endpointsShown).joined(separator: ",")
      let more = endpoints.count > Announcement.endpointsShown ? ",… (\(endpoints.count))" : ""
      var metadata: Logger.Metadata = [
        "at": "\(listener.name)", "route": "\(route.name)", "to": "\(shown)\(more)",
      ]
      if upstream.name != route.name { metadata["upstream"] = "\(upstream.name)" }
      if let max = route.sessionsMax { metadata["sessions_max"] = "\(max)" }
      logger.info("listening", metadata: metadata)
    }
  }

  private func writeUnusedDescriptors(to logger: Logger) {
    for descriptor in unusedDescriptors {
      logger.warning(
        "a socket was handed over, and no route listens at it",
        metadata: ["listen": "fd:\(descriptor)"])
    }
  }

  /// Says which upstreams will not be connected from where they should be.
  static func writeMissingSources(_ missingSources: [MissingSource], to logger: Logger) {
    for missing in missingSources {
      logger.warning(
        "a source address cannot be used now",
        metadata: [
          "upstream": "\(missing.upstream)", "source": "\(missing.address)",
          "cause": "\(missing.cause)",
        ])
    }
  }

  /// Says which limits will be felt.
  private func writeLimits(to logger: Logger) {
    if let refused = budget.refusedSessionsMax {
      logger.warning(
        "max_sessions is above what the open-files limit has room for",
        metadata: [
          "max_sessions": "\(refused)", "possible": "\(budget.sessionsMax)",
          "open_files": "\(budget.openFilesMax)",
        ])
    }
    let keptBytes = budget.sessionsMax * 2 * plan.relay.bufferBytes
    logger.info(
      "limits",
      metadata: [
        "sessions_max": "\(budget.sessionsMax)",
        "sessions_max_from": "\(budget.sessionsMaxFrom.rawValue)",
        "open_files": "\(budget.openFilesMax)", "pipes": "\(budget.pipes)",
        "buffered_max": "\((keptBytes + (1 << 20) - 1) >> 20)MiB",
      ])
  }
}
