// SPDX-License-Identifier: Apache-2.0
// What an upstream says about retries and waiting, from drafts to the plan.

import Plan

extension Lowering {
  /// How failed attempts are followed by others, key by key: an upstream's own, then that of `defaults`.
  mutating func retry(
    _ own: RetryDraft?, _ shared: RetryDraft?, at range: SourceRange
  ) -> RetryPlan {
    let standard = RetryPlan()
    let plan = RetryPlan(
      attemptsMax: own?.attemptsMax ?? shared?.attemptsMax ?? standard.attemptsMax,
      budgetPercent: (own?.budgetPercent ?? shared?.budgetPercent) ?? standard.budgetPercent,
      budgetMin: own?.budgetMin ?? shared?.budgetMin ?? standard.budgetMin,
      backOff: (own?.backOff ?? shared?.backOff) ?? standard.backOff,
      backOffMax: own?.backOffMax ?? shared?.backOffMax ?? standard.backOffMax)
    if own != nil, let first = plan.backOff, first > plan.backOffMax {
      diagnostics.warning(
        at: range, "`back_off` is longer than `back_off_max`, which is the longest wait there is")
    }
    return plan
  }

  /// Where clients wait for a place.
  mutating func queue(
    _ own: UpstreamSettings, _ shared: UpstreamSettings, _ endpoints: [EndpointPlan],
    at range: SourceRange
  ) -> QueuePlan? {
    guard let draft = (own.queue ?? shared.queue) ?? nil else { return nil }
    let isBounded =
      (own.sessionsMax ?? shared.sessionsMax) != nil
      || endpoints.contains { $0.sessionsMax != nil }
    if case .some(.some) = own.queue, !isBounded, !endpoints.isEmpty {
      diagnostics.warning(
        at: range, "nothing here is ever full, so nobody waits in `queue`",
        hints: ["set `max_sessions` of the upstream or of its endpoints"])
    }
    let standard = QueuePlan()
    return QueuePlan(
      length: draft.length ?? standard.length, timeout: draft.timeout ?? standard.timeout)
  }

  /// How clients wait for an endpoint.
  func hold(_ own: HoldDraft??, _ shared: HoldDraft??) -> HoldPlan? {
    guard let draft = (own ?? shared) ?? nil, let timeout = draft.timeout else { return nil }
    let standard = HoldPlan(timeout: timeout)
    return HoldPlan(
      timeout: timeout, length: draft.length ?? standard.length,
      ratePerSecond: draft.ratePerSecond ?? standard.ratePerSecond)
  }
}
