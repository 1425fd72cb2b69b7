// SPDX-License-Identifier: Apache-2.0
// One check of one endpoint: a connection of its own, what is asked and answered, all within the
// timeout; or a script that is run; or several such at the same time. A check ends its connection with
// a reset. An orderly end would leave a port in TIME_WAIT for a minute here or there, and with hundreds
// of checks a second that is tens of thousands; and a server that still sends sees that nobody listens.
// Where a protocol has a goodbye, it is said before (`Conversation.leave`).

import Addressing
import EventLoop
import Plan
import Reactor

/// What is asked over a connection. One file for each in `Kinds`.
protocol ConversationCheck: Sendable {
  /// How much of answers is read in all.
  var answerBytesMax: Int { get }
  /// Whether the server holds it against the asker when the connection ends before this does.
  var endsInItsOwnTime: Bool { get }
  /// Asks. Returns when the answers are good, and throws otherwise.
  func ask(_ talk: inout Conversation) async throws(CheckStop)
}

extension ConversationCheck {
  var endsInItsOwnTime: Bool { false }
}

/// A question to an endpoint, ready to be asked again and again.
struct Check: Sendable {
  private enum Question: Sendable {
    case one(SingleCheck)
    case any([SingleCheck])
    case all([SingleCheck])
  }

  private let question: Question

  /// The question for a subject. Scripts are started by `scripts`.
  init(_ subject: HealthSubject, scripts: ScriptRunner = ScriptRunner()) {
    func parts(_ parts: [HealthCheckPlan.Part]) -> [SingleCheck] {
      parts.map {
        SingleCheck(
          $0.kind, target: $0.target ?? subject.check.target, subject, scripts: scripts)
      }
    }
    switch subject.check.kind {
    case .anyOf(let plans): question = .any(parts(plans))
    case .allOf(let plans): question = .all(parts(plans))
    case let kind:
      question = .one(
        SingleCheck(kind, target: subject.check.target, subject, scripts: scripts))
    }
  }

  /// Asks, and waits for the verdict until `deadline`, which is `timeout` away. `turn` counts the checks of
  /// the subject: source addresses are used in turn. For tasks of a loop.
  func run(turn: Int, until deadline: Instant) async -> CheckOutcome {
    switch question {
    case .one(let check): await check.run(turn: turn, until: deadline)
    case .any(let checks): await Check.runAny(checks, turn: turn, until: deadline)
    case .all(let checks): await Check.runAll(checks, turn: turn, until: deadline)
    }
  }

  /// The first good one decides. Where one could not be made, that all others failed decides nothing.
  private static func runAny(
    _ checks: [SingleCheck], turn: Int, until deadline: Instant
  ) async -> CheckOutcome {
    var failures: [Int: CheckFailure] = [:]
    var hindrance: CheckHindrance?
    let isGood = await each(checks, turn: turn, until: deadline) { position, outcome in
      switch outcome {
      case .good: return true
      case .failed(let failure): failures[position] = .part(checks[position].name, failure)
      case .impossible(let found): hindrance = found
      case .cancelled: break
      }
      return false
    }
    if isGood { return .good }
    if let hindrance { return .impossible(hindrance) }
    guard failures.count == checks.count else { return .cancelled }
    return .failed(.all(checks.indices.compactMap { failures[$0] }))
  }

  /// The first that fails decides.
  private static func runAll(
    _ checks: [SingleCheck], turn: Int, until deadline: Instant
  ) async -> CheckOutcome {
    var failure: CheckFailure?
    var hindrance: CheckHindrance?
    var goodCount = 0
    _ = await each(checks, turn: turn, until: deadline) { position, outcome in
      switch outcome {
      case .good: goodCount += 1
      case .failed(let found): failure = .part(checks[position].name, found)
      case .impossible(let found): hindrance = found
      case .cancelled: break
      }
      return failure != nil
    }
    if let failure { return .failed(failure) }
    if let hindrance { return .impossible(hindrance) }
    return goodCount == checks.count ? .good : .cancelled
  }

  /// Makes checks at the same time, and gives each outcome to `note` until that says that it knows enough;
  /// then the others are given up, but for those that end in their own time, which are waited for.
  /// Returns whether it did.
  private static func each(
    _ checks: [SingleCheck], turn: Int, until deadline: Instant,
    _ note: (Int, CheckOutcome) -> Bool
  ) async -> Bool {
    await withTaskGroup(of: (Int, CheckOutcome).self) { group in
      for (position, check) in checks.enumerated() {
        group.addTask(name: "\(check.name) check of \(check.endpoint)") {
          (position, await check.run(turn: turn, until: deadline))
        }
      }
      for await (position, outcome) in group where note(position, outcome) {
        group.cancelAll()
        return true
      }
      return false
    }
  }
}

/// A question of one kind.
struct SingleCheck: Sendable {
  private enum Question: Sendable {
    case connect
    case talk(any ConversationCheck)
    case script(ScriptCheck)
  }

  /// The name of its kind.
  let name: String
  /// What logs call the endpoint.
  let endpoint: String
  /// Where it is asked.
  private let target: SocketAddress
  private let question: Question
  /// Source addresses of the target's family; empty: the kernel chooses.
  private let sources: [IPAddress]
  private let timeout: Duration

  init(
    _ kind: HealthCheckPlan.Kind, target: HealthCheckPlan.Target, _ subject: HealthSubject,
    scripts: ScriptRunner
  ) {
    let target = target.address(for: subject.id.address)
    self.target = target
    name = kind.name
    endpoint = subject.name
    timeout = subject.check.timeout
    sources = subject.source.filter { $0.isSameFamily(as: target) }
    switch kind {
    case .tcp: question = .connect
    case .http(let plan): question = .talk(HTTPCheck(plan, subject.id, target: target))
    case .tls(let plan):
      question = .talk(TLSCheck(serverName: plan.serverName ?? subject.id.host))
    case .exchange(let plan): question = .talk(ExchangeCheck(plan))
    case .redis(let plan): question = .talk(RedisCheck(plan))
    case .postgres(let plan): question = .talk(PostgresCheck(plan))
    case .mysql(let plan): question = .talk(MySQLCheck(plan))
    case .smtp(let plan): question = .talk(SMTPCheck(plan))
    case .script(let plan):
      question = .script(ScriptCheck(plan, subject, target: target, runner: scripts))
    case .anyOf, .allOf: preconditionFailure("several checks in one of several")
    }
  }

  /// Asks, and waits for the verdict.
  func run(turn: Int, until deadline: Instant) async -> CheckOutcome {
    guard case .talk(let check) = question, check.endsInItsOwnTime, let loop = Loop.current
    else { return await ask(turn: turn, until: deadline) }
    guard !Task.isCancelled else { return .cancelled }
    // A task of its own, which goes on when this one is cancelled, and is waited for all the same.
    let task = loop.spawn(name: "whole \(name) check of \(endpoint)") {
      await ask(turn: turn, until: deadline)
    }
    let outcome = try? await task.value
    return Task.isCancelled ? .cancelled : outcome ?? .cancelled
  }

  private func ask(turn: Int, until deadline: Instant) async -> CheckOutcome {
    if case .script(let check) = question { return await check.run(until: deadline) }
    let source = sources.isEmpty ? nil : sources[turn % sources.count]
    let stream: Stream
    do throws(StreamError) {
      stream = try await Stream.connect(to: target, from: source, until: deadline)
    } catch {
      return CheckOutcome(error, isConnected: false, timeout: timeout)
    }
    defer { stream.abort() }
    guard case .talk(let check) = question else { return .good }
    var talk = Conversation(stream, bytesMax: check.answerBytesMax, until: deadline)
    do throws(CheckStop) {
      try await check.ask(&talk)
      return .good
    } catch {
      switch error {
      case .failed(let failure): return .failed(failure)
      case .stream(let error):
        return CheckOutcome(error, isConnected: true, timeout: timeout)
      }
    }
  }
}

extension IPAddress {
  /// Whether a socket bound to this can connect to an address.
  fileprivate func isSameFamily(as address: SocketAddress) -> Bool {
    switch (self, address) {
    case (.v4, .v4), (.v6, .v6): true
    default: false
    }
  }
}
