// SPDX-License-Identifier: Apache-2.0
// Health checks on their way to the plan: defaults are filled in, and what only shows beside the
// endpoints or beside another key is said here: a port for a socket that has none, a body where there
// is none, a timeout that outlives its interval.

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
    return plan(of: draft)
  }

  /// The plan of a check; `nil` when its kind could not be read, which is reported.
  private func plan(of draft: HealthCheckDraft) -> HealthCheckPlan? {
    let kind: HealthCheckPlan.Kind
    if let http = draft.http {
      kind = .http(plan(of: http))
    } else if draft.tcp != nil {
      kind = .tcp
    } else {
      return nil
    }
    var target = HealthCheckPlan.Target.endpoint
    if let port = draft.port { target = .port(UInt16(port.value)) }
    if let address = draft.address { target = .address(address) }
    return HealthCheckPlan(
      kind, target: target, up: draft.every?.up ?? checkStandard.up, down: draft.every?.down,
      changing: draft.every?.changing, timeout: draft.timeout?.value ?? checkStandard.timeout,
      rise: draft.rise ?? checkStandard.rise, fall: draft.fall ?? checkStandard.fall,
      jitterPercent: draft.jitterPercent ?? checkStandard.jitterPercent)
  }

  private func plan(of draft: HTTPCheckDraft) -> HTTPCheckPlan {
    let standard = HTTPCheckPlan()
    return HTTPCheckPlan(
      method: draft.method ?? standard.method, path: draft.path ?? standard.path,
      host: draft.host, headers: draft.headers ?? [],
      statuses: draft.statuses ?? standard.statuses, body: draft.body?.value,
      answerBytesMax: draft.answerBytesMax ?? standard.answerBytesMax)
  }

  /// Reports what makes no sense in a check, whichever endpoints it is for.
  mutating func checkMeaning(of draft: HealthCheckDraft) {
    if let body = draft.http?.body, draft.http?.method == "HEAD" {
      diagnostics.error(
        at: body.range, "the answer to `HEAD` has no body to look in",
        hints: ["use `method: GET`, or leave out `body`"], isShape: false)
    }
    guard let timeout = draft.timeout else { return }
    let up = draft.every?.up ?? checkStandard.up
    let interval = min(up, draft.every?.down ?? up)
    if timeout.value > interval {
      diagnostics.warning(
        at: timeout.range,
        "a check may take longer than the \(interval.configurationText) until the next one",
        hints: ["the next one then waits for it; `timeout` should not be longer than `every`"])
    }
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
