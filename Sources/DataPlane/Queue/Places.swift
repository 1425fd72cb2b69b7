// SPDX-License-Identifier: Apache-2.0
// Places: a session counted at an upstream and at one of its endpoints. If sessions wait, the thread that
// frees a place passes it, still counted, to the session that has waited longest. Otherwise it is given back.

import Balancing
import Reactor

/// A place on its way to a session that waited for it.
public struct Grant: Sendable {
  /// The upstream of the queue that it comes from.
  let upstream: UpstreamState
  let token: Token
  let ticket: UInt32
  /// Where the session is counted.
  let endpoint: EndpointIndex
  /// The endpoints that have failed the session, which does not try them again.
  let tried: UInt64
  /// Whether the control loop has handed it out as a probe: the session may try all endpoints again.
  let isProbe: Bool
  /// The topology of the index. A worker with an older topology changes to this one first. In a newer one the
  /// index is the same, since the place is counted.
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

/// What a session learns of a place that was passed to it: plain values, so that handing events to sessions
/// counts no references.
struct PassedPlace {
  let endpoint: EndpointIndex
  let tried: UInt64
  let isProbe: Bool
}

extension Grant {
  var place: PassedPlace { PassedPlace(endpoint: endpoint, tried: tried, isProbe: isProbe) }
}

extension Topology {
  /// Whether an endpoint of an upstream may get sessions, full or not. The cost does not depend on the number
  /// of endpoints.
  func mayServe(_ upstream: Upstream) -> Bool {
    upstream.state.serving != .none && upstream.rosters.contains { $0.usableTotal > 0 }
  }

  /// Counts a session at the upstream, and at an endpoint that `picker` finds. Counts nothing if it finds
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

  /// Gives back a place that no session holds any more.
  func giveBackPlace(_ endpoint: EndpointIndex) {
    giveBack(endpoint)
    endpoints[endpoint.position].upstreamState.sessions.giveBack()
  }

  /// Whether a place at an endpoint is passed on as it is: the endpoint has a bound of its own, may get
  /// sessions, and is within its bounds. Where only the upstream is bounded, its policy picks an endpoint.
  private func mayPass(_ endpoint: EndpointIndex, ofUpstream position: Int) -> Bool {
    let one = endpoints[endpoint.position]
    guard upstreams[position].state.serving != .none, one.sessionsMax < .max, let seat = one.seat,
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

  /// Grants free places to sessions that wait in an upstream's queue. Returns how many were granted, and
  /// whether it ended because everything is full.
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
