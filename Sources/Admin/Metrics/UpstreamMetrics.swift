// SPDX-License-Identifier: Apache-2.0
// The numbers of upstreams: how many endpoints are healthy and what follows from that, who waits, and which
// attempts followed others.

import Control
import DataPlane

/// The numbers of an upstream.
public struct UpstreamMetrics: Hashable, Sendable {
  /// Who waits, or has waited, in one way.
  public struct Waits: Hashable, Sendable {
    /// How many wait.
    public var now: UInt64 = 0
    /// How many have begun to wait.
    public var count: UInt64 = 0
    /// How many of those have waited for too long.
    public var timeouts: UInt64 = 0
    /// How many could not wait, because as many did already as may.
    public var overflows: UInt64 = 0

    /// Makes the numbers of a place where nobody has waited.
    public init() {}
  }

  /// The name in the configuration.
  public var upstream: String
  /// The endpoints that would get sessions if nothing spoke against them.
  public var endpoints: UInt64 = 0
  /// Those of them that are neither down nor ejected.
  public var healthyEndpoints: UInt64 = 0
  /// Whether anybody is served.
  public var isServing = true
  /// Whether all endpoints are used, because so few are healthy.
  public var isInPanic = false
  /// The sessions that its endpoints have.
  public var sessions: UInt64 = 0
  /// Those who wait for a place.
  public var queue = Waits()
  /// Those who wait for an endpoint.
  public var hold = Waits()
  /// Attempts to connect that followed others.
  public var retries: UInt64 = 0
  /// Further attempts that the budget did not allow.
  public var retriesRefused: UInt64 = 0

  /// Makes the numbers of an upstream that was not used yet.
  public init(upstream: String) {
    self.upstream = upstream
  }
}

extension UpstreamMetrics {
  init(_ upstream: Upstream, _ standing: UpstreamStanding?) {
    self.init(upstream: upstream.name)
    endpoints = UInt64(standing?.endpoints ?? 0)
    healthyEndpoints = UInt64(standing?.healthy ?? 0)
    isInPanic = upstream.state.serving == .panic
    isServing = upstream.state.serving != .none && (healthyEndpoints > 0 || isInPanic)
    let statistics = upstream.state.statistics()
    let waiting = upstream.state.queue.waiting
    sessions = UInt64(upstream.state.sessions.value)
    queue.now = UInt64(waiting.queued)
    queue.count = statistics.queued
    queue.timeouts = statistics.queueTimeouts
    queue.overflows = statistics.queueOverflows
    hold.now = UInt64(waiting.held)
    hold.count = statistics.held
    hold.timeouts = statistics.holdTimeouts
    hold.overflows = statistics.holdOverflows
    retries = statistics.retries
    retriesRefused = statistics.retriesRefused
  }

  fileprivate var labels: [MetricLabel] { [MetricLabel("upstream", upstream)] }

  fileprivate var ways: [(word: String, waits: Waits)] { [("queue", queue), ("hold", hold)] }
}

extension MetricsSnapshot {
  /// What is told of upstreams.
  var upstreamFamilies: [MetricFamily] {
    func family(
      _ name: String, _ kind: MetricKind, _ help: String,
      _ samples: (UpstreamMetrics) -> [MetricSample]
    ) -> MetricFamily {
      MetricFamily(name, kind, help, upstreams.flatMap(samples))
    }
    func byWay(
      _ upstream: UpstreamMetrics, _ value: (UpstreamMetrics.Waits) -> UInt64
    ) -> [MetricSample] {
      upstream.ways.map { word, waits in
        MetricSample(upstream.labels + [MetricLabel("in", word)], .count(value(waits)))
      }
    }
    return [
      family(
        "sluice_upstream_endpoints", .gauge,
        "Endpoints that would get sessions if they were healthy."
      ) { [MetricSample($0.labels, .count($0.endpoints))] },
      family(
        "sluice_upstream_healthy_endpoints", .gauge, "Endpoints that are neither down nor ejected."
      ) { [MetricSample($0.labels, .count($0.healthyEndpoints))] },
      family(
        "sluice_upstream_serving", .gauge,
        "Whether anybody is served: no without a healthy endpoint or quorum."
      ) { [MetricSample($0.labels, .flag($0.isServing))] },
      family(
        "sluice_upstream_panic", .gauge,
        "Whether all endpoints are used because so few are healthy."
      ) { [MetricSample($0.labels, .flag($0.isInPanic))] },
      family("sluice_upstream_sessions", .gauge, "Sessions that the upstream's endpoints have.") {
        [MetricSample($0.labels, .count($0.sessions))]
      },
      family(
        "sluice_upstream_waiting", .gauge,
        "Sessions that wait for a place (queue) or for an endpoint (hold)."
      ) { byWay($0, \.now) },
      family("sluice_upstream_waits", .counter, "Sessions that have begun to wait.") {
        byWay($0, \.count)
      },
      family(
        "sluice_upstream_wait_failures", .counter,
        "Sessions that have waited for too long (timed_out), or could not wait because as many did "
          + "already as may (full)."
      ) { upstream in
        upstream.ways.flatMap { word, waits in
          [("timed_out", waits.timeouts), ("full", waits.overflows)].map { reason, count in
            let labels = [MetricLabel("in", word), MetricLabel("reason", reason)]
            return MetricSample(upstream.labels + labels, .count(count))
          }
        }
      },
      family(
        "sluice_upstream_retries", .counter,
        "Attempts to connect that followed others of a session."
      ) { [MetricSample($0.labels, .count($0.retries))] },
      family(
        "sluice_upstream_retries_refused", .counter,
        "Further attempts that were not made because too many sessions were at one (retry budget)."
      ) { [MetricSample($0.labels, .count($0.retriesRefused))] },
    ]
  }
}
