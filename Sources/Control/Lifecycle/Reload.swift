// SPDX-License-Identifier: Apache-2.0
// Changes of the plan while it is carried out: a file that is read again, and host names that stand for
// other addresses than before. They are taken up one after another, each as a whole or not at all: what is
// in the way is found out before the first worker hears of it.

import Addressing
import DataPlane
import EventLoop
import Logging
import Plan
import Reactor

/// A change of what is carried out.
enum Change: Hashable, Sendable {
  /// The configuration is to be read again.
  case reload
  /// Some names stand for other addresses.
  case names
}

/// How often the configuration was read again, and with what success.
struct ReloadCounts: Sendable {
  var succeeded = 0
  var failed = 0
}

extension ControlPlane {
  /// Has the configuration read again, soon. Asking once more before that has begun changes nothing.
  func requestReload() {
    guard endSignal == nil else {
      logger.warning("SIGHUP: nothing is reloaded any more, for the proxy is ending")
      return
    }
    request(.reload)
  }

  func request(_ change: Change) {
    guard !changes.contains(change) else { return }
    changes.append(change)
    noteChange()
  }

  /// Takes up changes until the loop stops, or the end begins.
  func takeUpChanges() async {
    while await wait({ !self.changes.isEmpty }), endSignal == nil {
      switch changes.removeFirst() {
      case .reload: await reload()
      case .names: _ = await takeUp(plan, whyNot: "endpoints cannot follow their names")
      }
    }
  }

  private func reload() async {
    guard let read = source.read else {
      return refuseReload(["it was read from \(source.name), which can be read only once"])
    }
    logger.info("reloading", metadata: ["file": "\(source.name)"])
    let reading: PlanReading
    do {
      reading = try await pools.files.run { read() }
    } catch {
      return refuseReload(["\(source.name) cannot be read: \(error)"])
    }
    guard var new = reading.plan else { return refuseReload(reading.problems) }
    for problem in reading.problems { logger.warning("\(problem)") }
    let kept = new.keepWhatNeedsRestart(from: plan)
    let failures = await learnNames(of: new)
    guard failures.isEmpty else { return refuseReload(failures) }
    guard await takeUp(new, whyNot: "the configuration was not reloaded") else {
      reloads.failed += 1
      return
    }
    if !kept.isEmpty {
      logger.warning(
        "some changes need a restart",
        metadata: ["keys": "\(kept.joined(separator: ","))"])
    }
    reloads.succeeded += 1
    logger.info(
      "reloaded",
      metadata: [
        "routes": "\(plan.routes.count)", "upstreams": "\(plan.upstreams.count)",
      ])
  }

  private func refuseReload(_ problems: [String]) {
    reloads.failed += 1
    for problem in problems {
      logger.error("the configuration was not reloaded", metadata: ["cause": "\(problem)"])
    }
  }
}
extension ControlPlane {
  func takeUp(_ plan: ProxyPlan, whyNot: String) async -> Bool { false }
}
