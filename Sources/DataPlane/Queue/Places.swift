// SPDX-License-Identifier: Apache-2.0
// Places: a session counted at an upstream and at one of its endpoints. Whoever frees one passes it on to
// the session that has waited longest, still counted, if something waits; only otherwise it is given back.

import Balancing
import Reactor

/// A place on its way to a session that waited for it.
public struct Grant: Sendable {
  /// Whose queue it comes from.
  let upstream: UpstreamState
  let token: Token
  let ticket: UInt32
  /// Where the session is counted.
  let endpoint: EndpointIndex
  /// The endpoints that the session is not to try again, since they have failed it.
  let tried: UInt64
  /// Whether the control loop has handed it out, at its pace: the session may try everything anew.
  let isProbe: Bool
  /// What the index belongs to. A worker that is behind goes over to it first; for one that is ahead the index
  /// is the same, since the place is counted.
  let topology: Topology

  init(
    _ endpoint: EndpointIndex, of topology: Topology, for waiter: WaitQueue.Waiter,
    ticket: UInt32
  ) {
    upstream = topology.endpoints[endpoint.position].upstreamState
    token = waiter.token
    tried = waiter.tried
    isProbe = waiter.isProbe
    self.ticket = ticket
    self.endpoint = endpoint
    self.topology = topology
  }
}

extension Topology {
  /// Whether an endpoint of an upstream may get sessions, full or not. Takes no longer for more endpoints.
  func mayServe(_ upstream: Upstream) -> Bool {
    upstream.state.serving != .none && upstream.rosters.contains { $0.usableTotal > 0 }
  }

  /// Counts a session at the upstream, and at an endpoint that `picker` finds. Counts nothing where there is
  /// none.
  func take(
    ofUpstream position: Int, picker: inout EndpointPicker, tried: UInt64, key: UInt64,
    at now: Instant, random: inout SplitMix64
  ) -> Pick {
    let state = upstreams[position].state
    guard state.sessions.take(below: upstreams[position].sessionsMax) else {
      // Sessions that would find no endpoint need not wait for a place.
      return mayServe(upstreams[position]) ? .full : .unavailable
    }
    let pick = picker.pick(
      upstreams[position], of: self, tried: tried, key: key, at: now, random: &random)
    if case .endpoint = pick { return pick }
    state.sessions.giveBack()
    return pick
  }

  /// Gives back a place that no session has any more.
  func giveBackPlace(_ endpoint: EndpointIndex) {
    giveBack(endpoint)
    endpoints[endpoint.position].upstreamState.sessions.giveBack()
  }

  /// Whether a place at an endpoint is worth passing on: sessions may be given to it, it is within its
  /// bounds, and it is the endpoint that is scarce. Where only the upstream is bounded, its policy picks.
  private func mayPass(_ endpoint: EndpointIndex, ofUpstream position: Int) -> Bool {
    let one = endpoints[endpoint.position]
    guard one.sessionsMax < .max, let seat = one.seat,
      seat.roster.usableWeight(seat.position) > 0,
      one.state.sessions.value <= one.sessionsMax
    else { return false }
    return upstreams[position].state.sessions.value <= upstreams[position].sessionsMax
  }

  /// A session that was counted at `endpoint` is over. `position` is its upstream in this topology, `nil` if
  /// that is gone.
  func free(
    _ endpoint: EndpointIndex, ofUpstream position: Int?, picker: inout EndpointPicker,
    at now: Instant, random: inout SplitMix64, post: (_ worker: Int, WorkerMessage) -> Bool
  ) {
    let state = endpoints[endpoint.position].upstreamState
    if let position, state.queue.isOccupied, mayPass(endpoint, ofUpstream: position) {
      let triedBit = endpoints[endpoint.position].triedBit
      let isPassed = state.queue.pass(endpoint, triedBit: triedBit) { waiter, ticket, endpoint in
        post(waiter.worker, .grant(Grant(endpoint, of: self, for: waiter, ticket: ticket)))
      }
      if isPassed { return }
    }
    giveBackPlace(endpoint)
    guard let position, state.queue.isOccupiedAfterChange else { return }
    handOut(.place, ofUpstream: position, picker: &picker, at: now, random: &random, post: post)
  }

  /// Grants places to sessions that wait in an upstream's queue, as far as there are any. Returns to how
  /// many, and whether there were no more because everything is full.
  @discardableResult
  func handOut(
    _ kind: WaitQueue.Kind, max: Int = .max, ignoringTried: Bool = false,
    ofUpstream position: Int, picker: inout EndpointPicker, at now: Instant,
    random: inout SplitMix64, post: (_ worker: Int, WorkerMessage) -> Bool
  ) -> (granted: Int, isFull: Bool) {
    let state = upstreams[position].state
    return state.queue.handOut(kind, max: max, ignoringTried: ignoringTried) { key, tried in
      take(
        ofUpstream: position, picker: &picker, tried: tried, key: key, at: now, random: &random)
    } post: { waiter, ticket, endpoint in
      post(waiter.worker, .grant(Grant(endpoint, of: self, for: waiter, ticket: ticket)))
    } release: { endpoint in
      giveBackPlace(endpoint)
    }
  }
}
