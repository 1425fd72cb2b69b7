// SPDX-License-Identifier: Apache-2.0
// How plans change in a random schedule: anything may, at any time, and workers hear of it when
// chance wants it. What a schedule relies on stays: whether sessions that stand still ever end.

import Plan
import Reactor

@testable import DataPlane

extension Schedule {
  /// Changes something about the plan, and tells some of the workers.
  func changePlan() {
    // New ones are told by a connection that is handed over, or later.
    let told = rig.workers.indices.filter { _ in chaos.below(3) > 0 }
    rig.change(only: told) { plan in
      for _ in 0..<chaos.within(1...4) { change(&plan) }
    }
    remember()
  }

  /// Notes what is in the plan now.
  func remember() {
    let topology = rig.topology
    for route in topology.routes {
      routeStates[ObjectIdentifier(route.state)] = route.state
      shortestTimes[route.name, default: RouteTimes()].shorten(to: route)
    }
    for endpoint in topology.endpoints {
      let state = endpoint.state
      guard endpointStates.updateValue(state, forKey: ObjectIdentifier(state)) == nil else {
        continue
      }
      let manner = kernel.servers[endpoint.address.fakePort]?.manner
      if manner != .isBusy, manner != .isSilent { judgedEndpoints.append(state) }
    }
    for listener in topology.listeners where !listener.isRetired {
      let route = topology.routes[listener.route.position].name
      routesOfListeners[listener.name, default: []].insert(route)
    }
  }

  private func change(_ plan: inout RigPlan) {
    let route = chaos.below(plan.routes.count)
    let upstream = chaos.below(plan.upstreams.count)
    switch chaos.below(16) {
    case 0, 1: plan.upstreams[upstream].endpoints = someEndpoints()
    case 2:
      plan.upstreams[upstream].balance = ChoosingTests.all[chaos.below(ChoosingTests.all.count)]
      plan.upstreams[upstream].spillOverPercent = [0, 60][chaos.below(2)]
    case 3:
      plan.upstreams[upstream].connect = .milliseconds(chaos.within(1000...3000))
      plan.upstreams[upstream].attempt = .milliseconds(chaos.within(200...800))
    case 4: changeTimes(&plan.routes[route])
    case 5: plan.routes[route].sessionsMax = chaos.below(2) == 0 ? nil : chaos.within(1...5)
    case 6: plan.routes[route].upstream = UpstreamIndex(upstream)
    case 7: moveListener(of: route, &plan)
    case 8: addOrRemoveRoute(route, &plan)
    case 9: plan.upstreams[upstream].name = newName("upstream")
    case 10: plan.sessionsMax = chaos.within(1...20)
    case 11:
      plan.upstreams[upstream].queue = chaos.below(2) == 0 ? nil : .some(chaos)
      plan.upstreams[upstream].hold = chaos.below(2) == 0 ? nil : .some(chaos)
    case 12:
      plan.upstreams[upstream].sessionsMax = chaos.below(2) == 0 ? nil : chaos.within(1...4)
      for position in plan.upstreams[upstream].endpoints.indices where chaos.below(2) == 0 {
        plan.upstreams[upstream].endpoints[position].sessionsMax = chaos.within(1...3)
      }
      plan.upstreams[upstream].retry = .some(chaos)
    case 13: closeSessions()
    default: changeAvailability()
    }
  }

  private func closeSessions() {
    let endpoint = EndpointIndex(chaos.below(rig.topology.endpoints.count))
    let over = Duration.milliseconds(chaos.within(0...1000))
    let policy: OnDown =
      chaos.below(2) == 0
      ? .close(over: over) : .drain(.milliseconds(chaos.within(0...500)), over: over)
    guard
      let closing = SessionClosing(policy, of: endpoint, in: rig.topology, at: kernel.time)
    else { return }
    guard chaos.below(4) != 0 else { return rig.post(.keepSessions(of: endpoint)) }
    journal.closedEndpoints.insert(rig.topology.endpoints[endpoint.position].name)
    rig.post(.closeSessions(closing))
  }

  private func newName(_ kind: String) -> String {
    lastNumber += 1
    return "\(kind) \(lastNumber)"
  }

  private func newAddress() -> ListenAddress {
    lastNumber += 1
    // Addresses come back, also while the listener of before is not closed yet.
    let number = chaos.below(2) == 0 ? lastNumber : max(3, lastNumber - chaos.below(10))
    return .some(number, chaos, world)
  }

  private func someEndpoints() -> [EndpointPlan] {
    (0..<chaos.within(1...4)).map { _ in
      EndpointPlan(
        scheduled: 40000 + 10 * chaos.below(2) + chaos.below(3), chaos, world,
        weight: chaos.within(0...3), sessionsMax: chaos.below(4) == 0 ? chaos.within(1...3) : nil)
    }
  }

  private func changeTimes(_ route: inout RoutePlan) {
    if hasIdleTimeout { route.idle = .seconds(chaos.within(2...6)) }
    route.halfCloseTimeout =
      hasIdleTimeout && chaos.below(3) == 0 ? nil : .milliseconds(chaos.within(500...4000))
    if world.contains(.slowReaders) { route.flushTimeout = .someFlush(chaos, world) }
    route.access.every = chaos.below(2) == 0 ? nil : .milliseconds(chaos.within(100...2000))
  }

  private func moveListener(of route: Int, _ plan: inout RigPlan) {
    let used = Set(plan.routes.flatMap(\.listen))
    switch chaos.below(3) {
    case 0:
      let address = newAddress()
      if !used.contains(address) { plan.routes[route].listen.append(address) }
    case 1:
      let other = chaos.below(plan.routes.count)
      guard plan.routes[route].listen.count > 1 else { return }
      plan.routes[other].listen.append(plan.routes[route].listen.removeLast())
    default:
      if plan.routes[route].listen.count > 1 { plan.routes[route].listen.removeFirst() }
    }
  }

  private func addOrRemoveRoute(_ route: Int, _ plan: inout RigPlan) {
    if plan.routes.count > 1, chaos.below(2) == 0 {
      plan.routes.remove(at: route)
      return
    }
    let address = newAddress()
    guard plan.routes.count < 4, !plan.routes.flatMap(\.listen).contains(address) else { return }
    var added = RoutePlan(
      name: newName("route"), listen: [address],
      upstream: UpstreamIndex(chaos.below(plan.upstreams.count)),
      idle: hasIdleTimeout ? .seconds(5) : nil, flushTimeout: .someFlush(chaos, world))
    changeTimes(&added)
    plan.routes.append(added)
  }

  private func changeAvailability() {
    let endpoint = chaos.below(rig.topology.endpoints.count)
    rig.topology.mark(endpoint, chaos.below(3) == 0 ? .down : .up)
  }
}
