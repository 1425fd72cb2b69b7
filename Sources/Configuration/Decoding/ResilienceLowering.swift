// SPDX-License-Identifier: Apache-2.0
// What an upstream says about retries and waiting, from drafts to the plan.

import Plan

extension Lowering {
  /// How failed attempts are followed by others: an upstream's own way or the shared one, whole.
  func retry(_ own: RetryDraft?, _ shared: RetryDraft?) -> RetryPlan {
    let standard = RetryPlan()
    guard let draft = own ?? shared else { return standard }
    let backOff = draft.backOff ?? standard.backOff
    return RetryPlan(
      attemptsMax: draft.attemptsMax,
      budgetPercent: draft.budgetPercent.map(\.value) ?? standard.budgetPercent,
      budgetMin: draft.budgetMin?.value ?? standard.budgetMin, backOff: backOff,
      backOffMax: draft.backOffMax?.value ?? max(standard.backOffMax, backOff ?? .zero))
  }

  /// Reports what makes no sense in a policy, whichever endpoints it is for.
  mutating func checkMeaning(of draft: RetryDraft) {
    let plan = retry(draft, nil)
    if let longest = draft.backOffMax {
      if let first = plan.backOff, longest.value < first {
        diagnostics.error(
          at: longest.range,
          "the longest wait is shorter than the first one, \(first.configurationText)",
          hints: ["`back_off_max` must not be shorter than `back_off`"], isShape: false)
      } else if plan.backOff == nil {
        diagnostics.warning(
          at: longest.range, "with `back_off: off` no attempt waits, so this does nothing")
      }
    }
    guard plan.attemptsMax != 1 else { return }
    if let least = draft.budgetMin, plan.budgetPercent == nil {
      diagnostics.warning(
        at: least.range, "with `budget: off` any number may try again, so this does nothing")
    }
    if plan.budgetPercent == 0, plan.budgetMin == 0,
      let place = draft.budgetPercent?.range ?? draft.budgetMin?.range
    {
      diagnostics.warning(
        at: place, "with a budget of nothing no session ever tries again",
        hints: ["if that is meant, write `retry: off`"])
    }
  }

  /// Where clients wait for a place.
  mutating func queue(
    _ own: UpstreamSettings, _ shared: UpstreamSettings, _ endpoints: [EndpointPlan]
  ) -> QueuePlan? {
    guard let draft = (own.queue ?? shared.queue)?.value else { return nil }
    let isBounded =
      (own.sessionsMax ?? shared.sessionsMax) != nil
      || endpoints.contains { $0.sessionsMax != nil }
    if let queue = own.queue, !isBounded, !endpoints.isEmpty {
      diagnostics.warning(
        at: queue.range, "nothing here is ever full, so nobody waits in `queue`",
        hints: ["set `max_sessions` of the upstream or of its endpoints"])
    }
    let standard = QueuePlan()
    return QueuePlan(
      length: draft.length ?? standard.length, timeout: draft.timeout ?? standard.timeout)
  }

  /// How clients wait for an endpoint.
  func hold(_ own: Located<HoldDraft?>?, _ shared: Located<HoldDraft?>?) -> HoldPlan? {
    (own ?? shared)?.value.flatMap(HoldPlan.init)
  }

  /// Who waits at the end of a long line is let go too late, however soon an endpoint is back.
  mutating func checkMeaning(of hold: Located<HoldDraft?>) {
    // Nobody has written what is there by default.
    guard let draft = hold.value, let plan = HoldPlan(draft),
      draft.length != nil || draft.ratePerSecond != nil
    else { return }
    let (seconds, attoseconds) = plan.timeout.components
    let letGo = Double(plan.ratePerSecond) * (Double(seconds) + Double(attoseconds) / 1e18)
    guard Double(plan.length) > letGo else { return }
    diagnostics.warning(
      at: hold.range,
      "\(plan.length) clients may wait in `hold`, but within its \(plan.timeout.configurationText) only "
        + "\(Int(letGo)) go on, at \(plan.ratePerSecond) per second",
      hints: ["a shorter `length` turns away at once those who would wait in vain; or raise `rate`"]
    )
  }

  /// What becomes of the sessions of an endpoint that goes down. A role is a promise about data, which
  /// what is said for all upstreams cannot take back.
  func onDown(
    _ own: Located<OnDown>?, _ shared: Located<OnDown>?, _ check: HealthCheckPlan?
  ) -> OnDown {
    if let own { return own.value }
    if let shared, check?.asksRole != true || shared.value != .keep { return shared.value }
    return check?.onDownStandard ?? upstreamStandard.onDown
  }
}

extension HoldPlan {
  /// `nil` without a time, which is reported where it is missing.
  fileprivate init?(_ draft: HoldDraft) {
    guard let timeout = draft.timeout else { return nil }
    let standard = HoldPlan(timeout: timeout)
    self.init(
      timeout: timeout, length: draft.length ?? standard.length,
      ratePerSecond: draft.ratePerSecond ?? standard.ratePerSecond)
  }
}
