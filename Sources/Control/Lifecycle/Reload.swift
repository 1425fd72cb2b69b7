// SPDX-License-Identifier: Apache-2.0
// Changes of the plan while it is carried out: a file that is read again, and host names that stand for
// other addresses than before. They are taken up one after another, each as a whole or not at all: what is
// in the way is found out before the first worker hears of it.

import Addressing
import DataPlane
import EventLoop
import Glibc
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
public struct ReloadCounts: Sendable {
  /// How often it was taken up.
  public private(set) var succeeded = 0
  /// How often nothing was changed, because of something that is wrong.
  public private(set) var failed = 0
  /// Whether the last one was taken up; true before the first.
  public private(set) var hasLastSucceeded = true
  /// When a configuration was last taken up, in seconds since 1970: that of the start, to begin with.
  public private(set) var lastSuccessTime = time(nil)

  mutating func noteSuccess() {
    succeeded += 1
    hasLastSucceeded = true
    lastSuccessTime = time(nil)
  }

  mutating func noteFailure() {
    failed += 1
    hasLastSucceeded = false
  }
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
      case .reload:
        await reload()
      case .names:
        for reason in await takeUp(plan) {
          logger.error("endpoints cannot follow their names", metadata: ["cause": "\(reason)"])
        }
      }
    }
  }

  private func reload() async {
    guard let read = source.read else {
      return refuseReload(["it was read from \(source.name), which can be read only once"])
    }
    logger.info("reloading", metadata: ["file": "\(source.name)"])
    manager?.reloading(now: loop.now, logger: logger)
    let reading: PlanReading
    do {
      reading = try await pools.files.run { read() }
    } catch {
      return refuseReload(["\(source.name) cannot be read: \(error)"])
    }
    guard var new = reading.plan else { return refuseReload(reading.problems) }
    for problem in reading.problems { logger.warning("\(problem)") }
    let kept = new.keepWhatNeedsRestart(from: plan)
    var reasons = await learnNames(of: new)
    if reasons.isEmpty { reasons = await takeUp(new) }
    // Names that nothing uses now were learned for a plan that was refused, or belonged to the old one.
    names.keep(only: plan.hostNames)
    guard reasons.isEmpty else { return refuseReload(reasons) }
    if !kept.isEmpty {
      logger.warning(
        "some changes need a restart", metadata: ["keys": "\(kept.joined(separator: ","))"])
    }
    reloads.noteSuccess()
    logger.info(
      "reloaded",
      metadata: ["routes": "\(plan.routes.count)", "upstreams": "\(plan.upstreams.count)"])
    tellServing()
  }

  private func refuseReload(_ reasons: [String]) {
    reloads.noteFailure()
    for reason in reasons {
      logger.error("the configuration was not reloaded", metadata: ["cause": "\(reason)"])
    }
    tellServing()
  }

  /// Has everything follow a plan and the names as they stand. Returns when every worker does, or what is
  /// in the way: then nothing has changed.
  private func takeUp(_ new: ProxyPlan) async -> [String] {
    guard let running else { return [] }
    let old = (plan: plan, listeners: running.listeners.all)
    do throws(StartFailure) {
      for complaint in try running.use(new, names: names.resolutions) {
        logger.warning("a listener keeps an old setting", metadata: ["cause": "\(complaint)"])
      }
    } catch {
      return error.reasons
    }
    plan = new
    await wait { running.isUsed }
    announceListeners(since: old.plan, old.listeners)
    watchNames()
    checkEndpoints()
    return []
  }

  /// Says which listeners are new, lead elsewhere, or are gone.
  private func announceListeners(since plan: ProxyPlan, _ listeners: [OpenListener]) {
    guard let running else { return }
    func leads(_ listener: OpenListener, in plan: ProxyPlan) -> [String] {
      [listener.name, plan.routes[listener.route].name]
    }
    let before = Set(listeners.map { leads($0, in: plan) })
    let news = running.listeners.all.filter { !before.contains(leads($0, in: self.plan)) }
    Announcement.writeListeners(news, of: self.plan, to: logger)
    let names = Set(running.listeners.all.map(\.name))
    for listener in listeners where !names.contains(listener.name) {
      logger.info(
        "not listening any more",
        metadata: ["at": "\(listener.name)", "route": "\(plan.routes[listener.route].name)"])
    }
  }
}
