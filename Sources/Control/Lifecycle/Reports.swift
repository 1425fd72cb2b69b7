// SPDX-License-Identifier: Apache-2.0
// What workers tell, and what the service manager is told: that all is well only after every worker has
// answered a question from its inbox, which it comes to after it has served what was ready.

import DataPlane
import Logging
import Plan
import Reactor

extension ControlPlane {
  /// A worker has something to say.
  func receive(_ report: WorkerReport, of worker: Int) {
    switch report {
    case .using(let version, _):
      // The topology that came along is freed here, if this was the last reference to it.
      running?.note(worker: worker, isUsing: version)
    case .released:
      return
    case .listenRefused(let listener, let errno):
      logger.warning(
        "a listener cannot be watched; trying again",
        metadata: [
          "worker": "\(worker)", "cause": "\(errno)",
          "at": "\(running?.topology.listeners[listener.position].name ?? "-")",
        ])
    case .stoppedAccepting:
      workersAccepting -= 1
    case .finished:
      break  // One worker has no session left; whoever waits looks at all of them.
    case .alive:
      if rounds?.note(answerOf: worker, at: loop.now) == true { manager?.alive(logger: logger) }
    case .waiting(let upstream):
      attend(to: upstream)
    case .acceptPaused(let pause):
      logger.warning(
        "accepting pauses until sessions end",
        metadata: ["worker": "\(worker)", "cause": "\(words(pause))"])
    case .acceptResumed(let pause):
      logger.info(
        "accepting goes on", metadata: ["worker": "\(worker)", "cause": "\(words(pause))"])
    case .endpointFailing(let endpoint):
      noteFailing(endpoint)
    case .endpointServed(let endpoint, let since):
      noteServed(endpoint, since: since)
    }
    noteChange()
  }

  private func words(_ pause: AcceptPause) -> String {
    guard let topology = running?.topology else { return "\(pause)" }
    switch pause {
    case .sessionsMax:
      return "max_sessions (\(topology.sessionsMax)) is reached"
    case .routeSessionsMax(let index):
      let route = topology.routes[index.position]
      return "max_sessions (\(route.sessionsMax)) of route \(route.name) is reached"
    case .resources(let errno):
      return "\(errno)"
    }
  }

  // MARK: The service manager

  /// Tells the service manager that clients are served, and from then on that all is well.
  func tellReady() {
    guard let manager else { return }
    tellServing()
    loop.spawn(name: "service manager") { try await self.repeatToManager() }
    if let nanoseconds = manager.watchdogNanoseconds {
      loop.spawn(name: "watchdog") { try await self.beat(every: nanoseconds) }
    }
  }

  /// Tells the service manager that clients are served, also after a reload.
  func tellServing() {
    // Nobody serves any more who was told to end.
    guard let running, endSignal == nil else { return }
    manager?.ready(
      "serving; \(running.listeners.all.count) listeners, \(running.workerCount) workers",
      now: loop.now, logger: logger)
    noteChange()
  }

  /// Says again what the manager's queue had no room for.
  private func repeatToManager() async throws {
    while let manager, !isKilled {
      let deadline = manager.retryAt
      await wait(until: deadline) { manager.retryAt != deadline }
      try Task.checkCancellation()
      manager.retry(now: loop.now, logger: logger)
    }
  }

  /// Asks all workers now and then whether they live.
  private func beat(every nanoseconds: UInt64) async throws {
    while let running, stage != .ended {
      if rounds?.begin(at: loop.now) == true {
        running.tellAll(.answer)
      } else if let missing = rounds?.missing(after: nanoseconds, at: loop.now), !missing.isEmpty {
        let list = missing.map(String.init).joined(separator: ",")
        logger.warning("workers do not answer", metadata: ["workers": "\(list)"])
      }
      try await loop.sleep(for: .nanoseconds(Int64(clamping: nanoseconds)))
    }
  }

  // MARK: How fast they are

  /// Asks all workers and gives them until `deadline` to answer. Returns how long each took, in
  /// nanoseconds.
  func askWorkers(until deadline: Instant) async -> [UInt64?] {
    guard let running, stage != .ended else { return [] }
    if rounds?.begin(at: loop.now) == true { running.tellAll(.answer) }
    if deadline > loop.now { await wait(until: deadline) { self.rounds?.isOpen != true } }
    return rounds?.answerTimes(at: loop.now) ?? []
  }
}
