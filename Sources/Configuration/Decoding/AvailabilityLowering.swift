// SPDX-License-Identifier: Apache-2.0
// What follows from the health of endpoints, on its way to the plan: who is left out, when all are used,
// when nobody is served. What contradicts itself is an error; what does nothing, or will hurt, is a warning
// at the place where it stands, and only if that is the upstream itself: a default has to suit many.

import Addressing
import Plan

extension Lowering {
  /// Fills in what an upstream says about availability, or what is shared.
  mutating func lowerAvailability(
    of plan: inout UpstreamPlan, _ own: UpstreamSettings, _ shared: UpstreamSettings,
    at range: SourceRange
  ) {
    if let outlier = own.outlier?.value { checkMeaning(of: outlier) }
    if let outlier = own.outlier ?? shared.outlier {
      plan.outlier = outlier.value.map(OutlierPlan.init)
    } else {
      plan.outlier = upstreamStandard.outlier
    }
    plan.panicPercent = (own.panicPercent ?? shared.panicPercent)?.value
    plan.quorum = (own.quorum ?? shared.quorum)?.value ?? upstreamStandard.quorum
    refuseContradictions(of: plan, own, shared)
    warnOfIdleSettings(of: plan, own)
    refuseRole(of: plan, own, shared)
    if let hold = own.hold { checkMeaning(of: hold) }
    if let retry = own.retry { checkMeaning(of: retry) }
    if let onDown = own.onDown, onDown.value != .keep, plan.check == nil {
      diagnostics.warning(
        at: onDown.range, "without a `check`, no endpoint is ever down, so `on_down` does nothing")
    }
    if plan.endpointsFile == nil { warnOfOneAddress(plan.endpoints, at: range) }
  }

  /// Reports what makes no sense in a policy, whichever endpoints it is for.
  mutating func checkMeaning(of draft: OutlierDraft) {
    guard let longest = draft.ejectTimeMax else { return }
    let first = draft.ejectTime?.value ?? OutlierPlan().ejectTime
    guard longest.value < first else { return }
    diagnostics.error(
      at: longest.range,
      "the longest time is shorter than the first one, \(first.configurationText)",
      hints: ["`max_eject_time` must not be shorter than `eject_time`"], isShape: false)
  }

  private mutating func refuseContradictions(
    of plan: UpstreamPlan, _ own: UpstreamSettings, _ shared: UpstreamSettings
  ) {
    func remedy(_ what: String) -> String { "in the upstream \(quoted(plan.name)) \(what)" }
    if plan.panicPercent != nil, plan.quorum > 1,
      let place = own.panicPercent?.range ?? own.quorum?.range ?? shared.panicPercent?.range
    {
      diagnostics.error(
        at: place,
        "`panic` and a `quorum` contradict each other: when few endpoints are healthy, one uses all of "
          + "them, the other none",
        hints: [remedy("leave one out, or write `panic: off` or `quorum: 1`")], isShape: false)
    }
    if let panic = own.panicPercent ?? shared.panicPercent, panic.value != nil,
      plan.check?.asksRole == true
    {
      diagnostics.error(
        at: panic.range,
        "`panic` would use endpoints that do not have the role which the `check` of "
          + "\(quoted(plan.name)) asks for",
        hints: [remedy("leave it out, or write `panic: off`")], isShape: false)
    }
    let serving = plan.endpoints.count { $0.weight > 0 }
    if let quorum = own.quorum ?? shared.quorum, !plan.endpoints.isEmpty, !plan.hasNames,
      quorum.value > max(1, serving)
    {
      diagnostics.error(
        at: quorum.range,
        "a quorum of \(quorum.value) is never there: \(quoted(plan.name)) has "
          + "\(serving) endpoint\(serving == 1 ? "" : "s") to serve",
        hints: own.quorum == nil ? [remedy("write `quorum: \(serving)`")] : [], isShape: false)
    }
  }

  private mutating func warnOfIdleSettings(of plan: UpstreamPlan, _ own: UpstreamSettings) {
    let isSingle = plan.endpoints.count == 1 && !plan.hasNames
    if let outlier = own.outlier, outlier.value != nil, isSingle {
      diagnostics.warning(
        at: outlier.range, "there is one endpoint, which is never left out: there would be nobody")
    }
    if let panic = own.panicPercent, panic.value != nil {
      if plan.check == nil {
        diagnostics.warning(
          at: panic.range,
          "without a `check` there is no panic: ejections never leave too few endpoints")
      } else if isSingle {
        diagnostics.warning(
          at: panic.range, "with one endpoint, panic only means that its checks count for nothing")
      } else if panicBeginsWithTheFirst(panic.value ?? 0, of: plan) {
        diagnostics.warning(
          at: panic.range,
          "the first endpoint that is ill starts the panic, and is used again: health counts for "
            + "nothing here",
          hints: ["a lower percentage leaves out those that are ill, as long as they are few"])
      }
    }
    if let quorum = own.quorum, quorum.value > 1, plan.check == nil {
      diagnostics.warning(
        at: quorum.range,
        "without a `check` the quorum is always met: ejections never leave too few endpoints")
    }
  }

  /// Whether one endpoint that is ill is one too many.
  private func panicBeginsWithTheFirst(_ percent: Int, of plan: UpstreamPlan) -> Bool {
    let serving = plan.endpoints.count { $0.weight > 0 }
    return percent == 100
      || !plan.hasNames && serving > 1 && (serving - 1) * 100 < percent * serving
  }

  /// Endpoints that share a machine share its end. On this machine, that would be the proxy's, too.
  private mutating func warnOfOneAddress(_ endpoints: [EndpointPlan], at range: SourceRange) {
    let addresses = endpoints.lazy.filter { $0.weight > 0 }.map { endpoint -> SocketAddress? in
      if case .socket(let address) = endpoint.address { address } else { nil }
    }
    guard let first = addresses.first ?? nil, let ip = first.ip, !first.isLoopback,
      addresses.allSatisfy({ $0?.ip == ip }), addresses.contains(where: { $0 != first })
    else { return }
    diagnostics.warning(
      at: range, "all endpoints of this upstream are at one address, \(ip)",
      hints: ["when that machine is gone, so are all of them"])
  }
}

extension OutlierPlan {
  fileprivate init(_ draft: OutlierDraft) {
    let standard = OutlierPlan()
    let ejectTime = draft.ejectTime?.value ?? standard.ejectTime
    self.init(
      scope: standard.scope, failures: draft.failures ?? standard.failures, ejectTime: ejectTime,
      ejectTimeMax: draft.ejectTimeMax?.value ?? max(standard.ejectTimeMax, ejectTime),
      ejectedPercentMax: draft.ejectedPercentMax ?? standard.ejectedPercentMax)
  }
}

extension UpstreamPlan {
  /// Whether an endpoint is given by a name, which may stand for several, or a file may list more.
  var hasNames: Bool {
    endpointsFile != nil
      || endpoints.contains { endpoint in
        switch endpoint.address {
        case .name, .service: true
        case .socket, .builtin: false
        }
      }
  }
}
