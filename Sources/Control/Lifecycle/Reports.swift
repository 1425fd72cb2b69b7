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
    case .stoppedAccepting:
      workersAccepting -= 1
    case .finished:
      break  // One worker has no session left; whoever waits looks at all of them.
    case .alive:
      if heartbeat?.note(answerOf: worker) == true { manager?.alive(logger: logger) }
    case .acceptPaused(let pause):
      logger.warning(
        "accepting pauses until sessions end",
        metadata: ["worker": "\(worker)", "cause": "\(words(pause))"])
    case .acceptResumed(let pause):
      logger.info(
        "accepting goes on", metadata: ["worker": "\(worker)", "cause": "\(words(pause))"])
    }
    noteChange()
  }

  private func words(_ pause: AcceptPause) -> String {
    guard let topology = running?.topology else { return "\(pause)" }
    switch pause {
    case .sessionsMax:
      return "max_sessions (\(topology.sessions.max)) is reached"
    case .routeSessionsMax(let index):
      let route = topology.routes[index.position]
      return "max_sessions (\(route.sessions.max)) of route \(route.name) is reached"
    case .resources(let errno):
      return "\(errno)"
    }
  }

  // MARK: The service manager

  /// Tells the service manager that clients are served, and from then on that all is well.
  func tellReady() {
    guard let manager, let running else { return }
    manager.ready(
      "serving; \(running.listeners.all.count) listeners, \(running.workerCount) workers",
      now: loop.now, logger: logger)
    loop.spawn(name: "service manager") { try await self.repeatToManager() }
    if let nanoseconds = manager.watchdogNanoseconds {
      loop.spawn(name: "watchdog") { try await self.beat(every: nanoseconds) }
    }
  }

  /// Says again what the manager's queue had no room for.
  private func repeatToManager() async throws {
    while let manager {
      await wait(until: manager.retryAt) { manager.retryAt <= self.loop.now }
      try Task.checkCancellation()
      manager.retry(now: loop.now, logger: logger)
    }
  }

  /// Asks all workers now and then whether they live.
  private func beat(every nanoseconds: UInt64) async throws {
    guard let running else { return }
    heartbeat = Heartbeat(every: nanoseconds, workers: running.workerCount, now: loop.now)
    while let next = heartbeat?.deadline {
      try await loop.sleep(until: next)
      switch heartbeat?.advance(to: loop.now) {
      case .rest, nil: break
      case .ask: running.tellAll(.answer)
      case .miss(let silent):
        let list = silent.map(String.init).joined(separator: ",")
        logger.warning("workers do not answer", metadata: ["workers": "\(list)"])
      }
    }
  }
}
