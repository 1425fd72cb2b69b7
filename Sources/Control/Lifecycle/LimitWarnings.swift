// SPDX-License-Identifier: Apache-2.0
// Bounds of a plan that can never be reached, because the open-files limit, or another bound, has no
// room for so many sessions: who has written them expects more than there will be. Said by `sluice
// check`, in the environment of whoever runs it.

import Plan
import Reactor

/// What a plan asks for in vain, in sentences. Asks the kernel for the open-files limit and the processors,
/// and changes nothing.
public func limitWarnings(of plan: ProxyPlan) -> [String] {
  limitWarnings(of: plan, openFilesMax: openFilesHardLimit(), processors: .current())
}

func limitWarnings(
  of plan: ProxyPlan, openFilesMax: Int, processors: AvailableProcessors
) -> [String] {
  guard let budget = ResourceBudget(plan, openFilesMax: openFilesMax, processors: processors)
  else {
    return [ResourceBudget.refusal(plan, openFilesMax: openFilesMax, processors: processors)]
  }
  let possible = budget.sessionsMax
  var warnings: [String] = []
  if let refused = budget.refusedSessionsMax {
    warnings.append(
      "max_sessions: the open-files limit of \(openFilesMax) here has room for \(possible) sessions, "
        + "not for \(refused)")
  }
  let reason: String =
    switch budget.sessionsMaxFrom {
    case .configuration: "max_sessions allows \(possible) sessions in all"
    case .openFiles:
      "the open-files limit of \(openFilesMax) here has room for \(possible) sessions in all"
    case .auto: "there are at most \(possible) sessions in all"
    }
  func warn(_ place: @autoclosure () -> String, _ bound: Int?) {
    guard let bound, bound > possible else { return }
    warnings.append("\(place()) (\(bound)) is never reached: \(reason)")
  }
  for route in plan.routes { warn("max_sessions of route \(route.name)", route.sessionsMax) }
  for upstream in plan.upstreams {
    warn("max_sessions of upstream \(upstream.name)", upstream.sessionsMax)
    // Those who wait are sessions, too: accepting pauses before the room is full. Nobody has written what
    // is there by default.
    if let length = upstream.queue?.length, length != QueuePlan().length {
      warn("the length of the queue of upstream \(upstream.name)", length)
    }
    if let length = upstream.hold?.length, length != HoldPlan(timeout: .zero).length {
      warn("the length of the hold of upstream \(upstream.name)", length)
    }
    for endpoint in upstream.endpoints {
      warn("max_sessions of endpoint \(endpoint.address) of \(upstream.name)", endpoint.sessionsMax)
    }
  }
  return warnings
}
