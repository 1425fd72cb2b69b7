// SPDX-License-Identifier: Apache-2.0
// What must be true once everything rests: no client waits for what is free.

import Reactor

@testable import DataPlane

extension Schedule {
  /// Nobody has done anything for a while.
  func reckonRest() {
    guard rules.contains(.rest) else { return }
    reckonAcceptQueues()
    for upstream in rig.topology.upstreams where !upstream.isRetired { reckonQueue(of: upstream) }
  }

  /// Connections are accepted while process and route are below their bounds.
  private func reckonAcceptQueues() {
    let topology = rig.topology
    guard topology.sessions.value < topology.sessionsMax else { return }
    for listener in topology.listeners where !listener.isRetired {
      let waiting = kernel.listener(listener.descriptor).waitingCount
      let route = topology.routes[listener.route.position]
      if waiting > 0, route.state.sessions.value < route.sessionsMax {
        complain(
          .rest,
          "\(waiting) clients wait at \(listener.name), with \(route.state.sessions.value) sessions"
        )
      }
    }
  }

  /// No session waits for a place while there is one at a sound endpoint that has not failed it. It may, where
  /// a session ahead of it waits for an endpoint to come up, which has a pace of its own, or is between two
  /// attempts, and the place is left to it.
  private func reckonQueue(of upstream: Upstream) {
    guard upstream.state.sessions.value < upstream.sessionsMax,
      upstream.state.serving != .none, upstream.state.queue.waiting.held == 0,
      !rig.isConnecting(at: upstream.state)
    else { return }
    let free = upstream.rosters.flatMap(\.members).filter { member in
      let endpoint = rig.topology.endpoints[member.endpoint.position]
      let manner = kernel.servers[endpoint.address.fakePort]?.manner
      return member.weight > 0 && member.state.availability == .up
        && (manner == .accepts || manner == .acceptsAtOnce)
        && member.state.sessions.value < member.sessionsMax
    }
    guard !free.isEmpty else { return }
    for tried in rig.triedEndpointsOfQueued(at: upstream.state)
    where free.contains(where: { tried & $0.triedBit == 0 }) {
      let places = free.map { "\($0.state.sessions.value) of \($0.sessionsMax)" }
      complain(
        .rest,
        """
        a session waits for a place at \(upstream.name), \(upstream.state.sessions.value) of \
        \(upstream.sessionsMax), which has \(places)
        """)
    }
  }
}

extension Rig {
  /// The endpoints that have failed each session that waits for a place at an upstream.
  fileprivate func triedEndpointsOfQueued(at upstream: UpstreamState) -> [UInt64] {
    var found: [UInt64] = []
    forEachSession(at: upstream) { session in
      if session.state == .queued, session.waitKind == .place {
        found.append(session.triedEndpoints)
      }
    }
    return found
  }

  fileprivate func isConnecting(at upstream: UpstreamState) -> Bool {
    var isConnecting = false
    forEachSession(at: upstream) { if $0.state == .connecting { isConnecting = true } }
    return isConnecting
  }

  private func forEachSession(at upstream: UpstreamState, _ body: (borrowing Session) -> Void) {
    for worker in workers {
      var next = worker.sessions.nextIndex(from: 0)
      while let index = next {
        next = worker.sessions.nextIndex(from: index + 1)
        guard let session = worker.sessions.find(index),
          worker.core.view.upstreams[Int(session.pointee.upstreamPosition)].state === upstream
        else { continue }
        body(session.pointee)
      }
    }
  }
}
