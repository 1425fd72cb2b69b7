// SPDX-License-Identifier: Apache-2.0
// How the open-files limit is shared out: sessions need two descriptors, pipes two, the program a
// few of its own. What is handed out here is there; running out is then a fault of the machine.

import DNS
import Plan
import Reactor

/// How many sessions, pipes and workers this process can have.
struct ResourceBudget: Equatable {
  /// What bounds the number of sessions.
  enum Bound: String {
    /// The configuration says so.
    case configuration = "max_sessions"
    /// The open-files limit has no room for more.
    case openFiles = "open_files"
    /// The open-files limit is so high that it says nothing (`SessionsMax.autoMax`).
    case auto
  }

  /// What the process uses apart from sessions, pipes, listeners and workers: standard streams,
  /// logs, signals, the control loop, and room for a library that opens a file.
  private static let ownDescriptors = 32
  /// Of the limit, the share that health checks get at most: each endpoint's may be under way at once,
  /// and a check that finds no descriptor is only made later.
  private static let checksShareMax = 8
  /// An epoll instance, a bell and a ring of records.
  private static let descriptorsPerWorker = 3
  /// Enough for bulk beside hundreds of sessions whose receivers have stopped. Of pipes of 1 MiB an
  /// unprivileged user gets 64 (pipe-user-pages-soft), then smaller ones; the pool notices.
  private static let pipesMax = 256

  let workers: Int
  let sessionsMax: Int
  let sessionsMaxFrom: Bound
  /// For all workers together.
  let pipes: Int
  let openFilesMax: Int
  /// What the configuration asked for and the limit has no room for.
  let refusedSessionsMax: Int?

  /// Shares out `openFilesMax` descriptors; `nil` when there is no room for a single session.
  init?(
    _ plan: ProxyPlan, openFilesMax: Int, processors: AvailableProcessors
  ) {
    workers = plan.workerCount(on: processors)
    self.openFilesMax = openFilesMax
    let listeners = plan.routes.reduce(0) { $0 + $1.listen.count }
    let hasBuiltins = !plan.builtinServices.isEmpty
    let fixed =
      ResourceBudget.ownDescriptors + listeners + workers * ResourceBudget.descriptorsPerWorker
      + (hasBuiltins ? 2 + plan.builtinServices.count : 0)
      + min(plan.checkedEndpoints, openFilesMax / ResourceBudget.checksShareMax)
      + plan.lookUpDescriptors
      // A listener, and as many connections as are served or turned away at once.
      + (plan.admin.map { 1 + 2 * $0.connectionsMax } ?? 0)
    switch plan.relay.pipes {
    case .auto: pipes = min(ResourceBudget.pipesMax, openFilesMax / 40)
    case .count(let count): pipes = min(count, openFilesMax / 4)
    }
    // A builtin endpoint has its end of the connection in this process, too.
    let descriptorsPerSession = hasBuiltins ? 3 : 2
    let possible = (openFilesMax - fixed - 2 * pipes) / descriptorsPerSession
    guard possible > 0 else { return nil }
    switch plan.sessionsMax {
    case .auto:
      sessionsMax = min(possible, SessionsMax.autoMax)
      sessionsMaxFrom = possible > SessionsMax.autoMax ? .auto : .openFiles
      refusedSessionsMax = nil
    case .count(let count):
      sessionsMax = min(count, possible)
      sessionsMaxFrom = count > possible ? .openFiles : .configuration
      refusedSessionsMax = count > sessionsMax ? count : nil
    }
  }
}

extension ResourceBudget {
  /// Why there is no budget, and what to do.
  static func refusal(
    _ plan: ProxyPlan, openFilesMax: Int, processors: AvailableProcessors
  ) -> String {
    let workers = plan.workerCount(on: processors)
    let setting =
      switch plan.workers {
      case .auto: "workers: auto, which is \(workers) here"
      case .count: "workers: \(workers)"
      }
    return "the open-files limit of \(openFilesMax) has no room for a single session beside "
      + "\(workers * descriptorsPerWorker) descriptors for the workers (\(setting)) and those for "
      + "listeners and logs; raise it (ulimit -n, LimitNOFILE=) or ask for fewer workers"
  }
}

extension ProxyPlan {
  /// How many workers there are to be.
  fileprivate func workerCount(on processors: AvailableProcessors) -> Int {
    switch workers {
    case .auto: processors.whole
    case .count(let count): count
    }
  }

  /// How many endpoints of the file are checked. A name may stand for several.
  fileprivate var checkedEndpoints: Int {
    upstreams.reduce(0) { $0 + ($1.check == nil ? 0 : $1.endpoints.count) }
  }

  /// What asking name servers takes at most: as many look-ups are under way at once.
  fileprivate var lookUpDescriptors: Int {
    let asked = questions.keys.reduce(0) { count, question in
      // Nobody knows how many servers a service has.
      count
        + (question.kind == .service ? DNSClient.lookUpsMax : question.source == .system ? 0 : 1)
    }
    return min(asked, DNSClient.lookUpsMax) * DNSClient.descriptorsPerLookUp
  }

  /// The builtin services that some upstream uses.
  var builtinServices: [BuiltinService] {
    var used: Set<BuiltinService> = []
    for upstream in upstreams {
      for endpoint in upstream.endpoints {
        if case .builtin(let service) = endpoint.address { used.insert(service) }
      }
    }
    return BuiltinService.allCases.filter(used.contains)
  }
}
