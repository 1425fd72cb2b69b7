// SPDX-License-Identifier: Apache-2.0
// Names looked up: all at once at the start, those that a reload brings, and again and again those of
// upstreams that say `resolve`. A task for each question asks by itself, so that one that hangs delays no
// other.

import Addressing
import EventLoop
import Logging
import Plan
import Reactor

/// A task that asks a question again and again.
struct NameWatch {
  let schedule: NameSchedule
  let task: Task<Void, any Error>
}

extension ControlPlane {
  /// Looks up the names of the plan that it starts with. Returns a sentence for each endpoint whose name
  /// has no address, `nil` when a signal has ended the looking.
  func learnNamesOfStart() async -> [String]? {
    let questions = plan.questions
    if !questions.isEmpty {
      logger.info(
        "looking up names",
        metadata: [
          "count": "\(questions.count)",
          "timeout": "\((questions.values.max() ?? .zero).configurationText)",
        ])
    }
    let plan = plan
    let failures = await withTaskGroup(of: [String].self) { group in
      group.addTask(name: "look up names") { await self.learnNames(of: plan) }
      group.addTask(name: "end while names are looked up") {
        await self.waitForEnd()
        return []
      }
      defer { group.cancelAll() }
      return await group.next() ?? []
    }
    return endSignal == nil ? failures : nil
  }

  /// Looks up the names of a plan that are not known yet, all at once. Returns what could not be looked
  /// up, in a sentence for each endpoint; then nothing has been learned.
  func learnNames(of plan: ProxyPlan) async -> [String] {
    let unknown = plan.questions.filter { !names.knows($0.key) }
    let answers = await withTaskGroup(of: (NameQuestion, NameAnswer).self) { group in
      for (question, timeout) in unknown {
        group.addTask(name: "look up \(question.name)") {
          (question, await self.lookUp.answer(to: question, after: nil, timeout: timeout))
        }
      }
      var answers: [NameQuestion: NameAnswer] = [:]
      while let (question, answer) = await group.next() { answers[question] = answer }
      return answers
    }
    let failures = plan.unresolved(answers.mapValues(\.resolution))
    guard failures.isEmpty else { return failures }
    // Somebody else may have asked the same at the same time.
    for (question, answer) in answers.sorted(by: { $0.key < $1.key }) where !names.knows(question) {
      names.learn(question, answer.resolution)
      lifetimes[question] = answer.timeToLive
      var metadata: Logger.Metadata = ["name": "\(question.name)"]
      switch answer.resolution {
      case .addresses(let addresses): metadata["addresses"] = "\(list(addresses))"
      case .service(let endpoints): metadata["servers"] = "\(list(endpoints.map(\.id)))"
      case .failed: continue
      }
      if let timeToLive = answer.timeToLive {
        metadata["ttl"] = "\(timeToLive.configurationText)"
      }
      logger.info("looked up", metadata: metadata)
      note(question, failedTargets: answer.failedTargets)
    }
    return []
  }

  // MARK: Again and again

  /// Follows the names that the plan wants followed, and no others.
  func watchNames() {
    let wanted = plan.watchedQuestions
    for (question, watch) in nameWatches where wanted[question] != watch.schedule {
      watch.task.cancel()
      nameWatches[question] = nil
    }
    for (question, schedule) in wanted where nameWatches[question] == nil {
      let task = loop.spawn(name: "resolve \(question.name)") {
        try await self.follow(question, schedule)
      }
      nameWatches[question] = NameWatch(schedule: schedule, task: task)
    }
  }

  /// Forgets the names that the plan does not use.
  func forgetUnusedNames() {
    let used = Set(plan.questions.keys)
    names.keep(only: used)
    lifetimes = lifetimes.filter { used.contains($0.key) }
    failedTargets = failedTargets.filter { used.contains($0.key) }
  }

  private func follow(_ question: NameQuestion, _ schedule: NameSchedule) async throws {
    var partialFailures = 0
    while true {
      partialFailures = failedTargets[question]?.isEmpty == false ? partialFailures + 1 : 0
      try await loop.sleep(
        for: schedule.pause(
          after: lifetimes[question], failures: names.failuresInRow(question),
          partialFailures: partialFailures))
      let answer = await lookUp.answer(
        to: question, after: names.last(question), timeout: schedule.timeout)
      try Task.checkCancellation()
      lifetimes[question] = answer.timeToLive
      note(question, answer.resolution)
      if case .service = answer.resolution { note(question, failedTargets: answer.failedTargets) }
    }
  }

  private func note(_ question: NameQuestion, _ answer: Resolution) {
    let isService = question.kind == .service
    switch names.note(question, answer) {
    case .same, .stillFailed:
      break
    case .changed(let added, let removed) where added.isEmpty && removed.isEmpty:
      logger.info(
        "a service has other weights or priorities", metadata: ["name": "\(question.name)"])
      request(.names)
    case .changed(let added, let removed):
      logger.info(
        isService ? "a service has other servers" : "a name has other addresses",
        metadata: [
          "name": "\(question.name)", "added": "\(list(added))", "removed": "\(list(removed))",
        ])
      request(.names)
    case .failed(let reason):
      logger.warning(
        "a name cannot be looked up; its last addresses stay",
        metadata: ["name": "\(question.name)", "cause": "\(reason)"])
    case .recovered:
      logger.info("a name can be looked up again", metadata: ["name": "\(question.name)"])
    }
  }

  /// Tells which servers of a service cannot be looked up, when that changes.
  private func note(_ question: NameQuestion, failedTargets failures: [String: String]) {
    let before = failedTargets[question] ?? []
    failedTargets[question] = Set(failures.keys)
    for (target, reason) in failures.sorted(by: { $0.key < $1.key }) where !before.contains(target)
    {
      logger.warning(
        "a server of a service cannot be looked up; its last addresses stay",
        metadata: ["name": "\(question.name)", "server": "\(target)", "cause": "\(reason)"])
    }
    for target in before.subtracting(failures.keys).sorted() {
      logger.info(
        "a server of a service can be looked up again, or is gone",
        metadata: ["name": "\(question.name)", "server": "\(target)"])
    }
  }

  private func list(_ items: [some CustomStringConvertible]) -> String {
    items.isEmpty ? "-" : items.map(\.description).joined(separator: ",")
  }
}
