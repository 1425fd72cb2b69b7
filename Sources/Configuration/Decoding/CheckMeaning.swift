// SPDX-License-Identifier: Apache-2.0
// What is wrong with a check although each of its parts can be read: one that can never pass, one that
// outlives its interval, one by role that would let others pass.

import Matching
import Plan

extension Lowering {
  /// Reports what makes no sense in a check, whichever endpoints it is for.
  mutating func checkMeaning(of draft: HealthCheckDraft) {
    checkMeaning(of: draft.kind)
    for part in draft.parts { checkMeaning(of: part.kind) }
    if let initial = draft.initial, initial.value == .up, draft.asksRole {
      diagnostics.error(
        at: initial.range, "a check by role cannot begin with endpoints that are up",
        hints: ["nobody knows yet which one has the role: write `down` or `unknown`"],
        isShape: false)
    }
    if let anyOf = draft.anyOf, draft.asksRole, Set(anyOf.value.map(\.kind.role)).count > 1 {
      diagnostics.error(
        at: anyOf.range,
        "one part that is good is enough, so an endpoint without the role may pass",
        hints: ["use `all_of`, or ask for the same role in every part"], isShape: false)
    }
    checkTimes(of: draft)
  }

  private mutating func checkTimes(of draft: HealthCheckDraft) {
    let up = draft.every?.value.up ?? checkStandard.up
    let interval = min(up, draft.every?.value.down ?? up)
    let timeout = draft.timeout?.value ?? checkStandard.timeout
    if timeout > interval, let place = draft.timeout?.range ?? draft.every?.range {
      let isWritten = draft.timeout != nil
      diagnostics.warning(
        at: place,
        "a check may take longer than the \(interval.configurationText) until the next one",
        hints: [
          isWritten
            ? "the next one then waits for it; `timeout` should not be longer than `every`"
            : "its `timeout` is \(timeout.configurationText) unless a shorter one is written"
        ])
    }
    if let changing = draft.every?.value.changing, changing.value > interval {
      diagnostics.warning(
        at: changing.range,
        "while an endpoint is about to change, it is checked less often than the "
          + "\(interval.configurationText) at other times",
        hints: ["`changing` is for a quicker verdict: it should be shorter than `up` and `down`"])
    }
  }

  private mutating func checkMeaning(of draft: CheckKindDraft) {
    if let body = draft.http?.body, draft.http?.method == "HEAD" {
      diagnostics.error(
        at: body.range, "the answer to `HEAD` has no body to look in",
        hints: ["use `method: GET`, or leave out `body`"], isShape: false)
    }
    if let http = draft.http, let body = http.body {
      let bytesMax = http.answerBytesMax ?? HTTPCheckPlan().answerBytesMax
      // The shortest head there is.
      let head = "HTTP/1.1 200\r\n\r\n".utf8.count
      refuseShortAnswer(
        bytesMax, needed: head + body.value.utf8.count, "the head and this body of an answer",
        at: body.range)
    }
    if let exchange = draft.exchange {
      let bytesMax =
        exchange.value.answerBytesMax?.value ?? ExchangeCheckPlan(steps: []).answerBytesMax
      let needed = (exchange.value.steps ?? []).reduce(0) { $0 + ($1.expect?.bytesMin ?? 0) }
      refuseShortAnswer(
        bytesMax, needed: needed, "what is expected in all steps together",
        at: exchange.value.answerBytesMax?.range ?? exchange.range)
    }
    if let redis = draft.redis, redis.password == nil, let username = redis.username {
      diagnostics.error(
        at: username.range, "a user without a password cannot log in",
        hints: ["add `password`, or leave out `username`"], isShape: false)
    }
    if let mysql = draft.mysql, mysql.user == nil, let password = mysql.password {
      diagnostics.error(
        at: password.range, "a password is of no use without a user",
        hints: ["add `user`"], isShape: false)
    }
  }

  private mutating func refuseShortAnswer(
    _ bytesMax: Int, needed: Int, _ what: String, at range: SourceRange
  ) {
    guard needed > bytesMax else { return }
    diagnostics.error(
      at: range,
      "this check can never pass: \(what) have at least \(needed) bytes, and \(bytesMax) are read at most",
      hints: ["raise `answer`, or look for less"], isShape: false)
  }

  /// Reports a check by role whose answer comes from somewhere else than the endpoint that gets the role,
  /// and a `quorum` of endpoints with a role that only one can have.
  mutating func refuseRole(
    of plan: UpstreamPlan, _ own: UpstreamSettings, _ shared: UpstreamSettings
  ) {
    guard let chosen = own.check ?? shared.check, let draft = chosen, draft.asksRole else { return }
    let remedy = "in the upstream \(quoted(plan.name)) "
    let elsewhere =
      draft.parts.isEmpty
      ? draft.address
      : draft.parts.lazy.filter { $0.kind.role != nil }
        .compactMap { $0.address ?? ($0.port == nil ? draft.address : nil) }.first
    if let elsewhere, plan.endpoints.count != 1 || plan.hasNames {
      diagnostics.error(
        at: elsewhere.range,
        "one server would answer for every endpoint of \(quoted(plan.name)), and all would have the role",
        hints: [remedy + "ask each endpoint itself: leave out `address`, or use `port`"],
        isShape: false)
    }
    let roles = ([draft.kind] + draft.parts.map(\.kind)).compactMap(\.role)
    if let quorum = own.quorum ?? shared.quorum, quorum.value > 1, roles.contains(.main) {
      diagnostics.error(
        at: quorum.range,
        "only one endpoint has the role that the `check` of \(quoted(plan.name)) asks for, so a quorum of "
          + "\(quorum.value) is never there",
        hints: [remedy + (own.quorum == nil ? "write `quorum: 1`" : "leave out `quorum`")],
        isShape: false)
    }
  }
}

/// What a role says about data.
private enum Role: Hashable {
  /// The one that takes writes.
  case main
  /// Any of those that follow it.
  case copy
}

extension CheckKindDraft {
  /// The role that it asks for.
  fileprivate var role: Role? {
    if let role = redis?.role { return role == .master ? .main : .copy }
    if let role = postgres?.role { return role == .primary ? .main : .copy }
    return nil
  }
}

extension HealthCheckDraft {
  /// The checks that make one verdict, if there are several.
  var parts: [CheckPartDraft] { (anyOf?.value ?? []) + (allOf?.value ?? []) }

  /// Whether it asks for a role, itself or in a part.
  fileprivate var asksRole: Bool { kind.role != nil || parts.contains { $0.kind.role != nil } }
}

extension ExpectationDraft {
  /// How many bytes have to come at least.
  fileprivate var bytesMin: Int {
    switch self {
    case .bytes(let bytes): bytes.count
    case .pattern(let pattern): pattern.bytesMin ?? 0
    }
  }
}
