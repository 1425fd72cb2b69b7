// SPDX-License-Identifier: Apache-2.0
// A worker's own view of a topology: what it needs of routes, endpoints and upstreams for each session and
// each turn, as plain values beside its own counters. Reading it touches no reference count: these belong to
// objects that all workers share, and changing them would move their cache lines from core to core.
//
// It refers to objects of the topology without owning them, so it is valid as long as that topology.

import Plan
import Reactor

/// A route as a worker sees it.
struct RouteView {
  let idleNanoseconds: UInt64?
  let halfCloseNanoseconds: UInt64?
  let flushNanoseconds: UInt64
  let recordEveryNanoseconds: UInt64?
  let access: AccessMoments
  let sessionsMax: Int
  /// The position of its upstream.
  let upstream: Int
  let hashKey: UInt64
  let dropsSilentClients: Bool
  let counters: RouteCounters
  // SAFETY: the topology of the same view owns it.
  unowned(unsafe) let state: RouteState
}

/// An endpoint as a worker sees it.
struct EndpointView {
  let triedBit: UInt64
  let failuresMax: Int
  let countsOnlyConnects: Bool
  let sessionsMax: Int
  /// Whether a connection to it may be one to its own socket.
  let mayMeetItself: Bool
  let counters: EndpointCounters
  // SAFETY: the topology of the same view owns it.
  unowned(unsafe) let state: EndpointState
}

/// An upstream as a worker sees it.
struct UpstreamView {
  let connectNanoseconds: UInt64
  let attemptNanoseconds: UInt64
  let measure: EWMAPlan.Measure?
  let decayNanoseconds: UInt64
  let options: StreamOptions
  let sessionsMax: Int
  let retry: RetryPolicy
  let queue: QueuePolicy?
  let hold: HoldPolicy?
  let hash: HashPlan?
  let hasSources: Bool
  let avoidsTimeWait: Bool
  // SAFETY: the topology of the same view owns it.
  unowned(unsafe) let state: UpstreamState

  /// Whether its sessions may wait for anything.
  var mayQueue: Bool { queue != nil || hold != nil }
}

/// What a worker needs of a topology, by slot.
struct PlanView {
  let listeners: [ListenerCounters]
  let routes: [RouteView]
  let upstreams: [UpstreamView]
  let endpoints: [EndpointView]

  init(of topology: Topology, worker: Int) {
    listeners = topology.listeners.map { $0.state.counters(of: worker) }
    routes = topology.routes.map { route in
      RouteView(
        idleNanoseconds: route.idleNanoseconds, halfCloseNanoseconds: route.halfCloseNanoseconds,
        flushNanoseconds: route.flushNanoseconds,
        recordEveryNanoseconds: route.recordEveryNanoseconds, access: route.access,
        sessionsMax: route.sessionsMax, upstream: route.upstream, hashKey: route.hashKey,
        dropsSilentClients: route.dropsSilentClients, counters: route.state.counters(of: worker),
        state: route.state)
    }
    upstreams = topology.upstreams.map { upstream in
      UpstreamView(
        connectNanoseconds: upstream.connectNanoseconds,
        attemptNanoseconds: upstream.attemptNanoseconds, measure: upstream.measure,
        decayNanoseconds: upstream.decayNanoseconds, options: upstream.options,
        sessionsMax: upstream.sessionsMax, retry: upstream.retry, queue: upstream.queue,
        hold: upstream.hold, hash: upstream.hash, hasSources: !upstream.sources.isEmpty,
        avoidsTimeWait: upstream.avoidsTimeWait, state: upstream.state)
    }
    endpoints = topology.endpoints.map { endpoint in
      EndpointView(
        triedBit: endpoint.triedBit, failuresMax: endpoint.failuresMax,
        countsOnlyConnects: endpoint.countsOnlyConnects, sessionsMax: endpoint.sessionsMax,
        mayMeetItself: endpoint.mayMeetItself, counters: endpoint.state.counters(of: worker),
        state: endpoint.state)
    }
  }
}
