// SPDX-License-Identifier: Apache-2.0
// Health checks on their way to the plan: defaults are filled in, and what only shows beside the
// endpoints is said here: a port for a socket that has none. What else is wrong with a check is in
// CheckMeaning.swift.

import Addressing
import Plan

extension Lowering {
  /// The check of an upstream: its own or the shared one, whole; `nil` is no check.
  mutating func check(
    _ own: HealthCheckDraft??, _ shared: HealthCheckDraft??, name: String,
    _ endpoints: [EndpointDraft]
  ) -> HealthCheckPlan? {
    // `.some(nil)` is `off`, and wins over what is shared.
    guard let chosen = own ?? shared, let draft = chosen else { return nil }
    if case .some(.some(let draft)) = own { checkMeaning(of: draft) }
    if let port = draft.port { refusePort(port, isShared: own == nil, name: name, endpoints) }
    for case let port? in draft.parts.map(\.port) {
      refusePort(port, isShared: own == nil, name: name, endpoints)
    }
    return plan(of: draft)
  }

  /// The plan of a check; `nil` when its kind could not be read, which is reported.
  private func plan(of draft: HealthCheckDraft) -> HealthCheckPlan? {
    guard let kind = kind(of: draft) else { return nil }
    return HealthCheckPlan(
      kind, target: target(draft.port, draft.address?.value) ?? .endpoint,
      up: draft.every?.value.up ?? checkStandard.up, down: draft.every?.value.down,
      changing: draft.every?.value.changing?.value,
      timeout: draft.timeout?.value ?? checkStandard.timeout,
      rise: draft.rise ?? checkStandard.rise, fall: draft.fall ?? checkStandard.fall,
      jitterPercent: draft.jitterPercent ?? checkStandard.jitterPercent,
      initial: draft.initial?.value)
  }

  private func target(
    _ port: Located<Int>?, _ address: SocketAddress?
  ) -> HealthCheckPlan.Target? {
    if let address { return .address(address) }
    return port.map { .port(UInt16($0.value)) }
  }

  private func kind(of draft: HealthCheckDraft) -> HealthCheckPlan.Kind? {
    func parts(_ drafts: [CheckPartDraft]) -> [HealthCheckPlan.Part]? {
      let parts = drafts.compactMap { part in
        kind(of: part.kind).map {
          HealthCheckPlan.Part($0, target: target(part.port, part.address?.value))
        }
      }
      return parts.isEmpty ? nil : parts
    }
    if let anyOf = draft.anyOf?.value { return parts(anyOf).map { .anyOf($0) } }
    if let allOf = draft.allOf?.value { return parts(allOf).map { .allOf($0) } }
    return kind(of: draft.kind)
  }

  private func kind(of draft: CheckKindDraft) -> HealthCheckPlan.Kind? {
    if let http = draft.http { return .http(plan(of: http)) }
    if let tls = draft.tls { return .tls(TLSCheckPlan(serverName: tls.serverName)) }
    if let exchange = draft.exchange?.value { return plan(of: exchange).map { .exchange($0) } }
    if let redis = draft.redis {
      return .redis(
        RedisCheckPlan(
          role: redis.role, username: redis.username?.value, password: redis.password))
    }
    if let postgres = draft.postgres {
      let standard = PostgresCheckPlan()
      return .postgres(
        PostgresCheckPlan(
          role: postgres.role, user: postgres.user ?? standard.user,
          database: postgres.database ?? standard.database, password: postgres.password))
    }
    if let mysql = draft.mysql {
      return .mysql(MySQLCheckPlan(user: mysql.user, password: mysql.password?.value))
    }
    if let smtp = draft.smtp {
      return .smtp(SMTPCheckPlan(hello: smtp.hello ?? SMTPCheckPlan().hello))
    }
    if let script = draft.script, !script.isEmpty {
      return .script(ScriptCheckPlan(command: script))
    }
    return draft.tcp == nil ? nil : .tcp
  }

  private func plan(of draft: ExchangeCheckDraft) -> ExchangeCheckPlan? {
    let steps = (draft.steps ?? []).compactMap { step -> ExchangeCheckPlan.Step? in
      switch step.expect {
      case .bytes(let bytes)?: bytes.isEmpty ? nil : .expect(bytes)
      case .pattern(let pattern)?: .match(pattern)
      case nil: step.send.map { .send($0) }
      }
    }
    guard !steps.isEmpty else { return nil }
    let standard = ExchangeCheckPlan(steps: steps)
    return ExchangeCheckPlan(
      steps: steps, answerBytesMax: draft.answerBytesMax?.value ?? standard.answerBytesMax)
  }

  private func plan(of draft: HTTPCheckDraft) -> HTTPCheckPlan {
    let standard = HTTPCheckPlan()
    return HTTPCheckPlan(
      method: draft.method ?? standard.method, path: draft.path ?? standard.path,
      host: draft.host, headers: draft.headers ?? [],
      statuses: draft.statuses ?? standard.statuses, body: draft.body?.value,
      answerBytesMax: draft.answerBytesMax ?? standard.answerBytesMax)
  }

  private mutating func refusePort(
    _ port: Located<Int>, isShared: Bool, name: String, _ endpoints: [EndpointDraft]
  ) {
    let without = endpoints.compactMap(\.address).first { !$0.value.hasPort }
    guard let without else { return }
    let place = "it is in line \(without.range.start.line)"
    let remedy =
      isShared
      ? "give the upstream \(quoted(name)) a check of its own, or `check: off`"
      : "leave out `port`, or say where to ask with `address`"
    diagnostics.error(
      at: port.range,
      "\(quoted(without.shown)) has no port, so a check cannot ask it at another one",
      hints: [place, remedy], isShape: false)
  }
}

extension HealthCheckPlan {
  /// What becomes of the sessions of an endpoint that fails this check, where the file does not say: a
  /// server that has lost the role that was asked for must not keep those that rely on it.
  var onDownStandard: OnDown {
    asksRole ? .close(over: .seconds(2)) : upstreamStandard.onDown
  }
}
