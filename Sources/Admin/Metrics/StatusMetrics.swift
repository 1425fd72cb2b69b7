// SPDX-License-Identifier: Apache-2.0
// From what the control plane knows to what the admin interface tells: numbers for the metrics, facts for
// readiness. The only place of this target that knows how the proxy is made.

import Control
import DataPlane
import EventLoop
import Reactor

extension AdminSource {
  /// What a proxy tells of itself. `version` is that of the program.
  public init(_ control: ProxyControl, version: String) {
    // What the kernel says is read from files.
    let files = BlockingPool(name: "metrics", threadsMax: 1, waitingMax: 4)
    self.init(
      readiness: { Readiness(ReadinessFacts(await control.status(until: .past))) },
      metrics: { deadline in
        // A worker that is busy may answer a little late; one that hangs must not cost the answer.
        let patience = min(deadline, LinuxKernel().now().advanced(by: 500_000_000))
        var snapshot = MetricsSnapshot(await control.status(until: patience), version: version)
        snapshot.process = try? await files.run(until: deadline) { .current() }
        return snapshot
      })
  }
}

extension Instant {
  /// A deadline that nobody waits for.
  fileprivate static var past: Instant { Instant(nanoseconds: 0) }
}

extension ReadinessFacts {
  init(_ status: ProxyStatus) {
    let stage: Stage =
      switch status.stage {
      case .starting: .starting
      case .serving: .serving
      case .draining: .draining
      }
    self.init(stage: stage)
    silentWorkers = status.silentWorkers
    guard let topology = status.topology else { return }
    upstreams = topology.upstreams.filter { !$0.isRetired }.map { upstream in
      let standing = status.upstreams[upstream.name]
      return Upstream(
        name: upstream.name, endpoints: standing?.endpoints ?? 0,
        endpointsUp: standing?.healthy ?? 0, quorum: standing?.quorum ?? 1,
        isInPanic: upstream.state.serving == .panic)
    }
    if topology.sessions.value >= topology.sessionsMax {
      notes.append("max_sessions (\(topology.sessionsMax)) is reached")
    }
    for route in topology.routes where !route.isRetired {
      if route.state.sessions.value >= route.sessionsMax {
        notes.append("max_sessions (\(route.sessionsMax)) of route \(route.name) is reached")
      }
    }
    if !status.reloads.hasLastSucceeded { notes.append("the last reload was refused") }
    notes += status.failingNames.map { "\($0) cannot be looked up; its last addresses stay" }
  }
}

extension MetricsSnapshot {
  init(_ status: ProxyStatus, version: String) {
    self.init(version: version, sessionsMax: UInt64(status.topology?.sessionsMax ?? 0))
    workerAnswerSeconds = status.answerNanoseconds.map { $0.map(seconds) }
    if let topology = status.topology {
      routes = topology.routes.filter { !$0.isRetired }.map(RouteMetrics.init)
      for upstream in topology.upstreams where !upstream.isRetired {
        upstreams.append(UpstreamMetrics(upstream, status.upstreams[upstream.name]))
        for member in upstream.tiers.joined() {
          let endpoint = topology.endpoints[member.endpoint.position]
          let health = status.checks[ObjectIdentifier(endpoint.state)]
          var metrics = EndpointMetrics(endpoint, health)
          metrics.ejections = status.ejections[ObjectIdentifier(endpoint.state)].map {
            EndpointMetrics.Ejections(isEjected: $0.isEjected, count: UInt64($0.count))
          }
          endpoints.append(metrics)
        }
      }
    }
    acceptPauses = status.workers.reduce(0) { $0 + UInt64($1[.acceptPaused]) }
    loopLags = [LoopLagMetrics(loop: "control", status.lag)]
    accessRecordsDropped = UInt64(status.accessRecordsDropped)
    eventLinesDropped = UInt64(status.eventLinesDropped)
    reloads.ok = UInt64(status.reloads.succeeded)
    reloads.failed = UInt64(status.reloads.failed)
    reloads.lastSucceeded = status.reloads.hasLastSucceeded
    reloads.lastSuccessTime = Double(status.reloads.lastSuccessTime)
    resolveFailures = status.nameFailures.sorted { $0.key < $1.key }
      .map { ResolveMetrics(name: $0.key, failures: UInt64($0.value)) }
  }
}

extension RouteMetrics {
  fileprivate init(_ route: Route) {
    self.init(route: route.name)
    let statistics = route.state.statistics()
    sessions = UInt64(route.state.sessions.value)
    accepted = statistics.accepted
    ends = statistics.ends.map {
      Ends(reason: "\($0.reason.word)", by: "\($0.origin.word)", count: $0.count)
    }
    relayed = TrafficMetrics(
      uploadBytes: statistics.uploadBytes, downloadBytes: statistics.downloadBytes)
    connectSeconds = HistogramSnapshot(statistics.connect)
    sessionSeconds = HistogramSnapshot(statistics.duration)
  }
}

extension EndpointMetrics {
  /// The ways in which connecting fails as a rule: their series begin with 0, not with the first failure.
  private static let usualFailures: [SessionEnd.Reason] = [
    .connectRefused, .connectTimedOut, .connectFailed, .reset, .unreachable,
  ]

  fileprivate init(_ endpoint: Endpoint, _ health: HealthStatus?) {
    self.init(upstream: endpoint.upstreamName, endpoint: endpoint.name)
    let statistics = endpoint.state.statistics()
    isUp = endpoint.state.availability == .up
    sessions = UInt64(endpoint.state.sessions.value)
    relayed = TrafficMetrics(
      uploadBytes: statistics.uploadBytes, downloadBytes: statistics.downloadBytes)
    connectAttempts = statistics.attempts
    let happened = statistics.failures.map(\.reason)
    connectFailures =
      statistics.failures.map { ("\($0.reason.word)", $0.count) }
      + EndpointMetrics.usualFailures.filter { !happened.contains($0) }.map { ("\($0.word)", 0) }
    checks = health.map {
      Checks(
        ok: UInt64($0.goodCount), failed: UInt64($0.failedCount),
        lastSeconds: $0.lastDuration.map { seconds($0.wholeNanoseconds) })
    }
  }
}

extension HistogramSnapshot {
  fileprivate init(_ histogram: Histogram) {
    self.init(
      bounds: histogram.boundsNanoseconds.map(seconds), counts: histogram.counts,
      sum: seconds(histogram.sumNanoseconds))
  }
}

private func seconds(_ nanoseconds: UInt64) -> Double {
  Double(nanoseconds) / 1e9
}
