// SPDX-License-Identifier: Apache-2.0
// What the board is told of: upstreams and their endpoints as a topology has them, and what it says back.

import DataPlane
import Plan

/// An upstream that endpoints belong to.
struct BoardedUpstream {
  /// Its policies.
  let plan: UpstreamPlan
  /// Its position in the topology.
  let position: Int
  let state: UpstreamState
  /// All of them, those of weight 0 included.
  let endpoints: [BoardedEndpoint]
}

/// An endpoint. It is known by its state: the same object over all plans and look-ups.
struct BoardedEndpoint {
  /// Where the topology has it.
  let index: EndpointIndex
  /// What logs call it.
  let name: String
  let state: EndpointState
  /// Whether it would get sessions, which one of weight 0 does not.
  let takesSessions: Bool
  /// By what its checks know it; `nil`: it is not checked.
  let subject: HealthSubject.ID?
  /// Whether its checks say nothing against it.
  let isUp: Bool
}

/// What follows from what stands on the board, for those that serve.
enum BoardChange: Equatable {
  /// The availability or the share of an endpoint is another one now.
  case endpoint(EndpointIndex)
  /// Whether an upstream, by its position, serves and with whom is another now.
  case upstream(Int)
  /// An endpoint has gone down, and its sessions are to end like this, which is not `keep`.
  case closeSessions(EndpointIndex, OnDown)
  /// It has come up again: those that are left may stay.
  case keepSessions(EndpointIndex)
}

/// What is known of an upstream's endpoints all in all: for metrics, readiness, and who asks.
public struct UpstreamStanding: Hashable, Sendable {
  /// How many would get sessions if nothing spoke against them.
  public let endpoints: Int
  /// Those of them that are neither down nor ejected.
  public let healthy: Int
  /// How many must be.
  public let quorum: Int
}

/// What is known of an endpoint that may be ejected.
public struct EjectionStanding: Hashable, Sendable {
  /// Whether it is left out now.
  public let isEjected: Bool
  /// How often it was, since it was first in use.
  public let count: Int
}
