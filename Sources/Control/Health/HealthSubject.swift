// SPDX-License-Identifier: Apache-2.0
// What is checked: one endpoint of an upstream, and how. It is known by what it is, never by a position
// in a plan, so that an endpoint that stays keeps its verdict when everything around it changes.

import Addressing
import Plan

/// An endpoint that is to be checked.
struct HealthSubject: Hashable, Sendable {
  /// Which endpoint of which upstream; the same over all plans and look-ups.
  struct ID: Hashable, Sendable {
    /// The upstream's name.
    let upstream: String
    /// Where the endpoint serves.
    let address: SocketAddress
    /// The host name that stood for that, if it was given by one.
    let host: String?
    /// Tells those apart that are the same otherwise: 0 for the first in the order of the file.
    let ordinal: Int
  }

  let id: ID
  /// What logs and metrics call the endpoint.
  let name: String
  /// The source addresses of its upstream.
  let source: [IPAddress]
  /// How it is checked.
  let check: HealthCheckPlan
  /// Whether it would get sessions, which one of weight 0 does not: it is checked, but it does not count
  /// for whether an upstream has anybody left.
  var takesSessions = true
  /// What becomes of the upstream's clients while all of its endpoints are down.
  var fallback = Fallback.reset

  /// What becomes of clients whom no healthy endpoint can serve.
  enum Fallback: String, Hashable, Sendable {
    case reset
    /// They are held back, for a while.
    case wait
    /// All endpoints are used, as none is healthy (`panic`).
    case served

    init(_ plan: UpstreamPlan) {
      self = plan.panicPercent != nil ? .served : plan.hold != nil ? .wait : .reset
    }
  }

  /// Whether another check is made of `other`, the same endpoint.
  func isChecked(like other: HealthSubject) -> Bool {
    assert(id == other.id)
    return check == other.check && source == other.source
  }
}

/// An endpoint of an upstream, as it is known once its name has been looked up.
struct ResolvedEndpoint: Hashable, Sendable {
  /// What logs and metrics call it.
  let name: String
  /// Its host name, if it was given by one.
  let host: String?
  /// Where it serves.
  let address: SocketAddress
  /// Whether its weight is not 0.
  var takesSessions = true
}

extension HealthSubject {
  /// The subjects of an upstream, one for each of its endpoints, in their order; none if it has no check.
  static func subjects(
    of upstream: UpstreamPlan, _ endpoints: [ResolvedEndpoint]
  ) -> [HealthSubject] {
    guard let check = upstream.check else { return [] }
    var next: [ID: Int] = [:]
    return endpoints.map { endpoint in
      func id(_ ordinal: Int) -> ID {
        ID(
          upstream: upstream.name, address: endpoint.address, host: endpoint.host, ordinal: ordinal)
      }
      let ordinal = next[id(0), default: 0]
      next[id(0)] = ordinal + 1
      return HealthSubject(
        id: id(ordinal), name: endpoint.name, source: upstream.source, check: check,
        takesSessions: endpoint.takesSessions, fallback: Fallback(upstream))
    }
  }
}

/// What is known about a subject: for metrics and for who asks.
public struct HealthStatus: Hashable, Sendable {
  let id: HealthSubject.ID
  /// What logs and metrics call the endpoint.
  public internal(set) var name: String
  /// The verdict.
  public internal(set) var isUp = true
  /// Whether there is none yet, and no session until there is.
  public internal(set) var isUnknown = false
  /// For how long it has stood: since the last change, or the beginning of the checks.
  public internal(set) var unchangedFor: Duration = .zero
  /// How many checks were good.
  public internal(set) var goodCount = 0
  /// How many failed.
  public internal(set) var failedCount = 0
  /// How many could not be made, for want of something that this process needs.
  public internal(set) var impossibleCount = 0
  /// How long the last check took that was good or failed; `nil` before the first.
  public internal(set) var lastDuration: Duration?
  /// Why the last one that failed did.
  public internal(set) var lastFailure: String?
}
