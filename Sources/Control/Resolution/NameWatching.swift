// SPDX-License-Identifier: Apache-2.0
// Host names looked up: all at once at the start, those that a reload brings, and again and again those of
// upstreams that say `resolve`. A task for each name asks by itself, so that one that hangs delays no other.

import Addressing
import EventLoop
import Logging
import Plan
import Reactor

/// A task that asks for a name again and again.
struct NameWatch {
  let every: Duration
  let task: Task<Void, any Error>
}

extension ControlPlane {
  /// Looks up the names of the plan that it starts with. Returns a sentence for each endpoint whose name
  /// has no address, `nil` when a signal has ended the looking.
  func learnNamesOfStart() async -> [String]? {
    let plan = plan
    if !plan.hostNames.isEmpty {
      logger.info(
        "looking up names",
        metadata: [
          "count": "\(plan.hostNames.count)",
          "timeout": "\(ControlPlane.resolveTimeout.configurationText)",
        ])
    }
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
    let deadline = loop.now.advanced(by: ControlPlane.resolveTimeout.wholeNanoseconds)
    let unknown = plan.hostNames.filter { !names.knows($0) }
    let answers = await withTaskGroup(of: (String, Resolution).self) { group in
      for name in unknown {
        group.addTask(name: "look up \(name)") {
          (name, await self.lookUp(name, until: deadline))
        }
      }
      var answers: [String: Resolution] = [:]
      while let (name, answer) = await group.next() { answers[name] = answer }
      return answers
    }
    let failures = plan.unresolved(answers)
    guard failures.isEmpty else { return failures }
    for (name, answer) in answers.sorted(by: { $0.key < $1.key }) {
      guard case .addresses(let addresses) = answer else { continue }
      names.learn(name, addresses)
      logger.info("looked up", metadata: ["name": "\(name)", "addresses": "\(list(addresses))"])
    }
    return []
  }

  private func lookUp(_ name: String, until deadline: Instant) async -> Resolution {
    do {
      return .addresses(try await resolver.addresses(of: name, until: deadline))
    } catch let error as HostNameError {
      return .failed(error.reason)
    } catch WaitError.deadlinePassed {
      return .failed("no answer within \(ControlPlane.resolveTimeout.configurationText)")
    } catch {
      return .failed("\(error)")
    }
  }

  // MARK: Again and again

  /// Follows the names that the plan wants followed, and no others.
  func watchNames() {
    let wanted = plan.watchedNames
    for (name, watch) in nameWatches where wanted[name] != watch.every {
      watch.task.cancel()
      nameWatches[name] = nil
    }
    for (name, every) in wanted where nameWatches[name] == nil {
      let task = loop.spawn(name: "resolve \(name)") { try await self.follow(name, every) }
      nameWatches[name] = NameWatch(every: every, task: task)
    }
  }

  private func follow(_ name: String, _ every: Duration) async throws {
    while true {
      try await loop.sleep(for: every)
      let timeout = ControlPlane.resolveTimeout.wholeNanoseconds
      let answer = await lookUp(name, until: loop.now.advanced(by: timeout))
      try Task.checkCancellation()
      note(name, answer)
    }
  }

  private func note(_ name: String, _ answer: Resolution) {
    switch names.note(name, answer) {
    case .same, .stillFailed:
      break
    case .changed(let added, let removed):
      logger.info(
        "a name has other addresses",
        metadata: [
          "name": "\(name)", "added": "\(list(added))", "removed": "\(list(removed))",
        ])
      request(.names)
    case .failed(let reason):
      logger.warning(
        "a name cannot be looked up; its last addresses stay",
        metadata: ["name": "\(name)", "cause": "\(reason)"])
    case .recovered:
      logger.info("a name can be looked up again", metadata: ["name": "\(name)"])
    }
  }

  private func list(_ addresses: [IPAddress]) -> String {
    addresses.isEmpty ? "-" : addresses.map(\.description).joined(separator: ",")
  }
}

extension ProxyPlan {
  /// The host names that endpoints are given by.
  var hostNames: Set<String> {
    Set(upstreams.flatMap(\.hostNames))
  }

  /// The names that are to be looked up again, and how often: as often as the most eager upstream wants.
  var watchedNames: [String: Duration] {
    var wanted: [String: Duration] = [:]
    for upstream in upstreams {
      guard let every = upstream.resolve else { continue }
      for name in upstream.hostNames { wanted[name] = min(wanted[name] ?? every, every) }
    }
    return wanted
  }

  /// A sentence for every endpoint whose name is among `answers` and has no address.
  func unresolved(_ answers: [String: Resolution]) -> [String] {
    upstreams.flatMap { upstream in
      upstream.endpoints.compactMap { endpoint in
        guard case .name(let host, _) = endpoint.address,
          case .failed(let reason) = answers[host]
        else { return nil }
        return "upstream \(upstream.name), endpoint \(endpoint.address): "
          + "cannot look up \(host): \(reason)"
      }
    }
  }
}

extension UpstreamPlan {
  fileprivate var hostNames: [String] {
    endpoints.compactMap { endpoint in
      if case .name(let host, _) = endpoint.address { host } else { nil }
    }
  }
}
