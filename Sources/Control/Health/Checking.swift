// SPDX-License-Identifier: Apache-2.0
// From a topology to what is checked, and from verdicts back to the endpoints that workers look at.

import Addressing
import DataPlane
import Plan
import Reactor

extension ControlPlane {
  /// Checks the endpoints of the plan as they are now, and no others.
  func checkEndpoints() {
    guard let running else { return }
    let topology = running.topology
    var subjects: [HealthSubject] = []
    var current: [HealthSubject.ID: (index: EndpointIndex, state: EndpointState)] = [:]
    for upstream in topology.upstreams where !upstream.isRetired {
      guard let upstreamPlan = plan.upstreams.first(where: { $0.name == upstream.name }),
        upstreamPlan.check != nil
      else { continue }
      let members = Array(upstream.tiers.joined())
      let endpoints = members.map { topology.endpoints[$0.endpoint.position] }
      let checked = HealthSubject.subjects(
        of: upstreamPlan,
        zip(members, endpoints).map { member, endpoint in
          ResolvedEndpoint(
            name: endpoint.name, host: endpoint.host, address: endpoint.socketAddress,
            takesSessions: member.weight > 0)
        })
      for (subject, (member, endpoint)) in zip(checked, zip(members, endpoints)) {
        current[subject.id] = (member.endpoint, endpoint.state)
      }
      subjects += checked
    }
    // Those that are not checked any more are reported as up, so they must still be known.
    checkedStates.merge(current) { $1 }
    health.replace(with: subjects)
    checkedStates = current
    // An endpoint that was gone for a while may have come back as another object.
    for id in current.keys { note(id, isUp: health.isUp(id)) }
  }

  /// There is a verdict on an endpoint.
  func note(_ id: HealthSubject.ID, isUp: Bool) {
    guard let (index, state) = checkedStates[id] else { return }
    state.availability = isUp ? .up : .down
    running?.topology.noteChange(of: index)
  }

  /// What the checks have come to, by the endpoint's state.
  var checkStatuses: [ObjectIdentifier: HealthStatus] {
    let pairs = health.statuses().compactMap { status in
      checkedStates[status.id].map { (ObjectIdentifier($0.state), status) }
    }
    return Dictionary(uniqueKeysWithValues: pairs)
  }
}
