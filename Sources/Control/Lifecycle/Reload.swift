// SPDX-License-Identifier: Apache-2.0
// Changes of the plan while it is carried out: a file that is read again, host names that stand for
// other addresses than before, and files that list other endpoints. They are taken up one after
// another, each as a whole or not at all: what is in the way is found out before the first worker hears
// of it.

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
  /// Some files list other endpoints.
  case lists
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

  /// Takes up changes until nobody is accepted any more; once the end has begun, only those of
  /// names and of files that list endpoints.
  func takeUpChanges() async {
    while await wait({ !self.changes.isEmpty || !self.isAccepting }), isAccepting {
      switch changes.removeFirst() {
      case .reload:
        guard endSignal == nil else { giveUpReload(); continue }
        await reload()
      case .lists:
        await takeUpLists()
      case .names:
        for reason in await takeUp(plan) {
          logger.error("endpoints cannot follow their names", metadata: ["cause": "\(reason)"])
        }
      }
    }
  }

  private var isAccepting: Bool { stage == .serving || stage == .delaying }

  private func giveUpReload() {
    // At the very end, what it waited for is only called off; `ended` is the last word.
    guard stage != .ended else { return }
    logger.info("the reload is given up, for the proxy is ending")
  }

  private func reload() async {
    guard let read = source.read else {
      return refuseReload(["it was read from \(source.name), which can be read only once"])
    }
    logger.info("reloading", metadata: ["file": "\(source.name)"])
    manager?.reloading(now: loop.now, logger: logger)
    let reading: PlanReading
    do {
      let deadline = loop.now.advanced(by: ControlPlane.readTimeout.wholeNanoseconds)
      reading = try await pools.files.run(until: deadline) { read() }
    } catch WaitError.deadlinePassed {
      let timeout = ControlPlane.readTimeout.configurationText
      return refuseReload(["\(source.name) cannot be read within \(timeout)"])
    } catch {
      return refuseReload(["\(source.name) cannot be read: \(error)"])
    }
    guard endSignal == nil else { return giveUpReload() }
    guard var new = reading.plan else { return refuseReload(reading.problems) }
    for problem in reading.problems { logger.warning("\(problem)") }
    let kept = new.keepWhatNeedsRestart(from: plan)
    var reasons = await learnNames(of: new)
    guard endSignal == nil else { return giveUpReload() }
    if reasons.isEmpty { reasons = await takeUp(new) }
    // Names that nothing uses now were learned for a plan that was refused, or belonged to the old one.
    forgetUnusedNames()
    guard reasons.isEmpty else { return refuseReload(reasons) }
    if !kept.isEmpty {
      logger.warning(
        "some changes need a restart", metadata: ["keys": "\(kept.joined(separator: ","))"])
    }
    Announcement.writeMissingSources(MissingSource.all(in: plan), to: logger)
    reloads.noteSuccess()
    logger.info(
      "reloaded",
      metadata: ["routes": "\(plan.routes.count)", "upstreams": "\(plan.upstreams.count)"])
    tellServing()
  }

  private func refuseReload(_ reasons: [String]) {
    guard endSignal == nil else { return giveUpReload() }
    reloads.noteFailure()
    for reason in reasons {
      logger.error("the configuration was not reloaded", metadata: ["cause": "\(reason)"])
    }
    tellServing()
  }

  /// Has everything follow a plan and the names as they stand. Returns when every worker does, or what is
  /// in the way: then nothing has changed.
  func takeUp(_ new: ProxyPlan) async -> [String] {
    // Listeners that are closed for the end must not be opened again.
    guard let running, isAccepting else { return [] }
    let old = (plan: plan, listeners: running.listeners.all)
    do throws(StartFailure) {
      for complaint in try running.use(new, names: names.resolutions) {
        logger.warning("not all of a change could be had", metadata: ["cause": "\(complaint)"])
      }
    } catch {
      return error.reasons
    }
    plan = new
    announceListeners(since: old.plan, old.listeners)
    watchNames()
    watchLists()
    followEndpoints()
    let patience = ControlPlane.answerPatience
    let warnAt = loop.now.advanced(by: patience.wholeNanoseconds)
    guard await !wait(until: warnAt, { running.isUsed }) else { return [] }
    logger.warning(
      "workers take long to take up a change", metadata: ["waited": "\(patience.configurationText)"]
    )
    await wait { running.isUsed || !self.isAccepting }
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
