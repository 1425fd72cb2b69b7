// SPDX-License-Identifier: Apache-2.0
// How endpoints are chosen, on the way to the plan: what only shows beside the endpoints, or beside another
// key, is said here.

import Addressing
import Plan

extension Lowering {
  /// The policy of an upstream: its own or the shared one, whole.
  mutating func balance(
    _ own: BalanceDraft?, _ shared: BalanceDraft?, name: String, _ endpoints: [EndpointPlan]
  ) -> BalancePolicy {
    guard let draft = own ?? shared, let policy = draft.plan else {
      return upstreamStandard.balance
    }
    guard let hash = policy.hash else { return policy }
    let countMax = Dictionary(grouping: endpoints) { $0.priority }.values.map(\.count).max() ?? 0
    if countMax > hash.tableSize {
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
    if let own, own.value != nil, policy == .first {
      diagnostics.warning(at: own.range, "`slow_start` has no effect here: `first` knows no weight")
    }
    return (own ?? shared)?.value ?? upstreamStandard.slowStart
  }
}

extension Lowering {
  /// From when on a priority leaves sessions to the next one; warns where there is no next one.
  mutating func spillOver(
    _ own: Located<Int>?, _ shared: Located<Int>?, _ endpoints: [EndpointPlan], hasFile: Bool
  ) -> Int {
    /// Whether there may be other priorities than those that are written.
    func isOpen() -> Bool {
      hasFile
        || endpoints.contains { endpoint in
          // Its records tell the priorities.
          if case .service = endpoint.address { true } else { false }
        }
    }
    if let own, own.value > 0, !isOpen(), Set(endpoints.map(\.priority)).count == 1 {
      diagnostics.warning(
        at: own.range, "all endpoints have one priority, so there is none to spill over to",
        hints: ["give those that should help out `priority: 1`"])
    }
    return (own ?? shared)?.value ?? upstreamStandard.spillOverPercent
  }

  /// Reports what a route says that its upstream makes nothing of, or worse.
  mutating func checkMeaning(of route: RouteDraft, to upstream: UpstreamPlan) {
    if let key = route.settings.hashKey, upstream.balance.hash?.key != .route {
      diagnostics.warning(
        at: key.range, "`hash_key` has no effect here: the upstream does not go by the route",
        hints: ["it would with `balance: {maglev: {key: route}}`, or `source_hash`"])
    }
    for listen in route.listen ?? [] {
      guard upstream.endpoints.contains(where: { $0.address.isReached(through: listen.value) })
      else {
        continue
      }
      diagnostics.warning(
        at: listen.range,
        "this route leads to the address where it listens, so it connects to itself",
        hints: ["each session would open another one, until none are left"])
    }
  }
}

extension EndpointAddress {
  /// Whether a connection to it comes to a listener of this process.
  fileprivate func isReached(through listen: ListenAddress) -> Bool {
    guard case .socket(let address) = self else { return false }
    switch listen {
    case .socket(let socket):
      if socket == address { return true }
      switch (socket, address) {
      case (.v4(.any, let port), .v4(_, let other)), (.v6(.any, let port, _), .v6(_, let other, _)):
        return port == other && address.isLoopback
      default: return false
      }
    case .port(let port):
      switch address {
      case .v4(_, let other), .v6(_, let other, _): return port == other && address.isLoopback
      case .unix, .abstract: return false
      }
    case .inherited: return false
    }
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
