// SPDX-License-Identifier: Apache-2.0
// A snapshot in which nothing is missing, and names that need escaping.

@testable import Admin

extension MetricsSnapshot {
  static var complete: MetricsSnapshot {
    var snapshot = MetricsSnapshot(version: "1.2.3", sessionsMax: 1000)
    snapshot.workerAnswerSeconds = [0.00025, nil]
    let histogram = HistogramSnapshot(bounds: [0.001, 1], counts: [3, 2, 1], sum: 7.5)
    var route = RouteMetrics(route: "db \"main\"")
    route.sessions = 2
    route.accepted = 9
    route.ends = [
      .init(reason: "finished", by: "downstream", count: 6),
      .init(reason: "idle", by: "proxy", count: 1),
    ]
    route.relayed = TrafficMetrics(uploadBytes: 12, downloadBytes: 1 << 60)
    route.connectSeconds = histogram
    route.sessionSeconds = histogram
    snapshot.routes = [route, RouteMetrics(route: "cache")]
    var checked = EndpointMetrics(upstream: "db", endpoint: "db-0(10.0.0.1:5432)")
    checked.isUp = false
    checked.sessions = 2
    checked.relayed = TrafficMetrics(uploadBytes: 12, downloadBytes: 13)
    checked.connectAttempts = 5
    checked.connectFailures = [("connect_refused", 1), ("reset", 0)]
    checked.ejections = .init(isEjected: true, count: 3)
    checked.checks = .init(ok: 4, failed: 1, lastSeconds: 0.125)
    snapshot.endpoints = [checked, EndpointMetrics(upstream: "db", endpoint: "unix:@a\\b")]
    var upstream = UpstreamMetrics(upstream: "db")
    upstream.endpoints = 2
    upstream.healthyEndpoints = 1
    upstream.isInPanic = true
    upstream.sessions = 2
    upstream.queue.now = 1
    upstream.queue.count = 5
    upstream.queue.timeouts = 2
    upstream.hold.overflows = 3
    upstream.retries = 4
    upstream.retriesRefused = 6
    snapshot.upstreams = [upstream]
    snapshot.acceptPauses = 3
    snapshot.loopLags = [LoopLagMetrics(loop: "control", seconds: histogram)]
    snapshot.accessRecordsDropped = 4
    snapshot.eventLinesDropped = 5
    snapshot.reloads.ok = 1
    snapshot.reloads.failed = 2
    snapshot.reloads.lastSucceeded = false
    snapshot.reloads.lastSuccessTime = 1_763_874_000.25
    snapshot.resolveFailures = [ResolveMetrics(name: "db-0", failures: 6)]
    snapshot.adminRequests = [AdminRequestMetrics(path: "/metrics", code: 200, count: 7)]
    snapshot.process = ProcessMetrics(
      startTime: 1_763_874_000, processorSeconds: 1.5, residentBytes: 4096, openDescriptors: 8,
      descriptorsMax: 1024)
    return snapshot
  }
}
