// SPDX-License-Identifier: Apache-2.0
// From a topology to what stands on the board and what is checked, and from the board back to the workers.

import Addressing
import DataPlane
import EventLoop
import Plan
import Reactor

extension ControlPlane {
  /// Has the endpoints of the plan on the board as they are now, checks those that are to be checked,
  /// and no others.
  func followEndpoints() {
    guard let running else { return }
    let topology = running.topology
    let plans = Dictionary(plan.upstreams.map { ($0.name, $0) }) { first, _ in first }
    var subjects: [HealthSubject] = []
    var states: [HealthSubject.ID: EndpointState] = [:]
    var upstreams: [(position: Int, plan: UpstreamPlan, members: [Member])] = []
    for (position, upstream) in topology.upstreams.enumerated() where !upstream.isRetired {
      guard let plan = plans[upstream.name] else { continue }
      let found = upstream.tiers.joined().map { ($0, topology.endpoints[$0.endpoint.position]) }
      let checked = HealthSubject.subjects(
        of: plan,
        found.map { member, endpoint in
          ResolvedEndpoint(
            name: endpoint.name, host: endpoint.host, address: endpoint.socketAddress,
            takesSessions: member.weight > 0)
        })
      subjects += checked
      let members = found.enumerated().map { number, pair in
        let subject = checked.isEmpty ? nil : checked[number].id
        if let subject { states[subject] = pair.1.state }
        return Member(member: pair.0, endpoint: pair.1, subject: subject)
      }
      upstreams.append((position, plan, members))
    }
    // What the monitor says in between is about those that go, and the verdicts are asked for below.
    isBoarding = true
    health.replace(with: subjects)
    isBoarding = false
    checkedStates = states
    board.replace(
      with: upstreams.map { position, plan, members in
        BoardedUpstream(
          plan: plan, position: position, state: topology.upstreams[position].state,
          endpoints: members.map { $0.boarded(isUp: $0.subject.map(health.isUp) ?? true) })
      }, at: loop.now)
    boardHasMoved.set()
  }

  /// An endpoint of an upstream, and by what its checks know it.
  private struct Member {
    let member: Upstream.Member
    let endpoint: Endpoint
    let subject: HealthSubject.ID?

    func boarded(isUp: Bool) -> BoardedEndpoint {
      BoardedEndpoint(
        index: member.endpoint, name: endpoint.name, state: endpoint.state,
        takesSessions: member.weight > 0, subject: subject, isUp: isUp)
    }
  }

  /// There is a verdict on an endpoint.
  func note(_ id: HealthSubject.ID, isUp: Bool) {
    guard !isBoarding else { return }
    board.note(id, isUp: isUp, at: loop.now)
    boardHasMoved.set()
  }

  /// As many sessions in a row have failed at an endpoint as its upstream allows.
  func noteFailing(_ endpoint: EndpointState) {
    board.noteFailing(endpoint, at: loop.now)
    boardHasMoved.set()
  }

  /// A session was served at an endpoint after that.
  func noteServed(_ endpoint: EndpointState, since: Instant) {
    board.noteServed(endpoint, since: since, at: loop.now)
    boardHasMoved.set()
  }

  /// Does what the board has to do in time, until the task is cancelled.
  func attendBoard() async {
    while true {
      boardHasMoved.clear()
      board.advance(to: loop.now)
      do throws(WaitError) {
        try await boardHasMoved.wait(until: board.nextMoment)
      } catch {
        guard error == .deadlinePassed else { return }
      }
    }
  }

  /// Has those that serve act on what the board has come to.
  func act(on change: BoardChange) {
    guard let topology = running?.topology else { return }
    switch change {
    case .endpoint(let index): topology.noteChange(of: index)
    case .upstream(let position): topology.noteChange(ofUpstream: position)
    case .closeSessions(let index, let onDown):
      let closing = SessionClosing(onDown, of: index, in: topology, at: loop.now)
      if let closing { running?.tellAll(.closeSessions(closing)) }
    case .keepSessions(let index): running?.tellAll(.keepSessions(of: index))
    }
  }

  /// What the checks have come to, by the endpoint's state.
  var checkStatuses: [ObjectIdentifier: HealthStatus] {
    let pairs = health.statuses().compactMap { status in
      checkedStates[status.id].map { (ObjectIdentifier($0), status) }
    }
    return Dictionary(uniqueKeysWithValues: pairs)
  }
}
