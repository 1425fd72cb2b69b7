// SPDX-License-Identifier: Apache-2.0
// How endpoints are chosen, on the way to the plan: what only shows beside the endpoints, or beside another
// key, is said here.

import Plan

extension Lowering {
  /// The policy of an upstream: its own or the shared one, whole.
  mutating func balance(
    _ own: BalanceDraft?, _ shared: BalanceDraft?, name: String, _ endpoints: [EndpointPlan]
  ) -> BalancePolicy {
    guard let draft = own ?? shared, let policy = draft.plan else {
      return upstreamStandard.balance
    }
    let countMax = Dictionary(grouping: endpoints) { $0.priority }.values.map(\.count).max() ?? 0
    if let hash = policy.hash, countMax > hash.tableSize {
      let remedy =
        own == nil
        ? "give the upstream \(quoted(name)) a `balance` of its own"
        : "a hundred places for each endpoint or more: `table: 5000011`, if need be"
      diagnostics.error(
        at: draft.table?.range ?? draft.range,
        "\(countMax) endpoints are more than the \(hash.tableSize) places of the table",
        hints: [remedy], isShape: false)
    }
    return policy
  }

  /// How an upstream's endpoints start; warns where it would have no effect.
  mutating func slowStart(
    _ own: Located<Duration?>?, _ shared: Located<Duration?>?, _ policy: BalancePolicy
  ) -> Duration? {
    if let own, own.value != nil, policy.hash != nil {
      diagnostics.warning(
        at: own.range, "`slow_start` has no effect here: the clients of a hash stay where they are")
    }
    return (own ?? shared)?.value ?? upstreamStandard.slowStart
  }
}

extension BalanceDraft {
  /// The policy; `nil` when it could not be read, which is reported.
  fileprivate var plan: BalancePolicy? {
    if let policy { return policy }
    if let sourceHash { return .sourceHash(sourceHash.plan) }
    if let maglev { return .maglev(maglev.plan) }
    if let peakEWMA {
      let standard = EWMAPlan()
      return .peakEWMA(
        EWMAPlan(
          measure: peakEWMA.measure ?? standard.measure, decay: peakEWMA.decay ?? standard.decay))
    }
    return nil
  }

  fileprivate var table: Located<Int>? { (sourceHash ?? maglev)?.tableSize }
}

extension HashDraft {
  fileprivate var plan: HashPlan {
    let standard = HashPlan()
    return HashPlan(
      key: key ?? standard.key, tableSize: tableSize?.value ?? standard.tableSize,
      loadPercent: loadPercent ?? standard.loadPercent)
  }
}

extension BalancePolicy {
  /// What goes with a hash; `nil` for other policies.
  fileprivate var hash: HashPlan? {
    switch self {
    case .sourceHash(let plan), .maglev(let plan): plan
    default: nil
    }
  }
}
