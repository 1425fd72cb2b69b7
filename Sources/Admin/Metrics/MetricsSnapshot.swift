// SPDX-License-Identifier: Apache-2.0
// All that the metrics tell, as plain numbers at one moment. It is filled by whoever can see the
// workers; this target knows neither them nor the plan. All counters count from the start of the
// process and never go back; a reload that takes an endpoint away takes its numbers away.

import EventLoop

/// The numbers of the whole program at one moment.
public struct MetricsSnapshot: Sendable {
  /// The version of the program.
  public var version: String
  /// How many sessions there can be.
  public var sessionsMax: UInt64
  /// For each worker, how long it took to answer its last question; `nil` if it has not answered yet.
  public var workerAnswerSeconds: [Double?]
  /// Every route.
  public var routes: [RouteMetrics]
  /// Every endpoint of every upstream. Those with the same names are put together.
  public var endpoints: [EndpointMetrics]
  /// Every upstream.
  public var upstreams: [UpstreamMetrics]
  /// How often a worker stopped accepting because a bound was reached or something ran out.
  public var acceptPauses: UInt64
  /// How late the loops of the control plane were, by name.
  public var loopLags: [LoopLagMetrics]
  /// Records of the access log that were lost.
  public var accessRecordsDropped: UInt64
  /// Lines of the operational log that were lost.
  public var eventLinesDropped: UInt64
  /// Reloads of the configuration, and how the last one went.
  public var reloads: ReloadMetrics
  /// How often each host name could not be looked up. Every name that is looked up, also those that
  /// never failed.
  public var resolveFailures: [ResolveMetrics]
  /// What the admin interface was asked. Filled in by its server.
  public var adminRequests: [AdminRequestMetrics]
  /// What the kernel says of the process; `nil` where that cannot be read.
  public var process: ProcessMetrics?

  /// Makes a snapshot of a program that has done nothing yet.
  public init(version: String, sessionsMax: UInt64) {
    self.version = version
    self.sessionsMax = sessionsMax
    workerAnswerSeconds = []
    routes = []
    endpoints = []
    upstreams = []
    acceptPauses = 0
    loopLags = []
    accessRecordsDropped = 0
    eventLinesDropped = 0
    reloads = ReloadMetrics()
    resolveFailures = []
    adminRequests = []
  }
}

/// How many bytes went which way.
public struct TrafficMetrics: Hashable, Sendable {
  /// From clients to endpoints.
  public var uploadBytes: UInt64
  /// From endpoints to clients.
  public var downloadBytes: UInt64

  /// Makes a pair of numbers.
  public init(uploadBytes: UInt64 = 0, downloadBytes: UInt64 = 0) {
    self.uploadBytes = uploadBytes
    self.downloadBytes = downloadBytes
  }
}

/// The numbers of a route.
public struct RouteMetrics: Sendable {
  /// Sessions that ended in one way.
  public struct Ends: Hashable, Sendable {
    /// What happened, in the words of the access log.
    public var reason: String
    /// Who did it, in the words of the access log.
    public var by: String
    /// How many.
    public var count: UInt64

    /// Makes a count.
    public init(reason: String, by: String, count: UInt64) {
      self.reason = reason
      self.by = by
      self.count = count
    }
  }

  /// The name in the configuration.
  public var route: String
  /// The sessions there are.
  public var sessions: UInt64 = 0
  /// The sessions there have been, those of now included.
  public var accepted: UInt64 = 0
  /// How sessions ended, each way once.
  public var ends: [Ends] = []
  /// What was delivered.
  public var relayed = TrafficMetrics()
  /// Seconds from accepting a client to the connection with an endpoint.
  public var connectSeconds: HistogramSnapshot?
  /// Seconds from accepting a client to the end of its session.
  public var sessionSeconds: HistogramSnapshot?

  /// Makes the numbers of a route that was not used yet.
  public init(route: String) {
    self.route = route
  }
}

/// The numbers of an endpoint.
public struct EndpointMetrics: Sendable {
  /// How often, and whether now, it is left out because sessions have failed there.
  public struct Ejections: Hashable, Sendable {
    /// Whether it is left out now.
    public var isEjected: Bool
    /// How often it was.
    public var count: UInt64

    /// Makes the numbers of an endpoint's ejections.
    public init(isEjected: Bool = false, count: UInt64 = 0) {
      self.isEjected = isEjected
      self.count = count
    }
  }

  /// What active checks found.
  public struct Checks: Hashable, Sendable {
    /// How many succeeded.
    public var ok: UInt64
    /// How many failed.
    public var failed: UInt64
    /// How long the last one took; `nil` before the first.
    public var lastSeconds: Double?

    /// Makes the numbers of an endpoint's checks.
    public init(ok: UInt64 = 0, failed: UInt64 = 0, lastSeconds: Double? = nil) {
      self.ok = ok
      self.failed = failed
      self.lastSeconds = lastSeconds
    }
  }

  /// The name of its upstream.
  public var upstream: String
  /// How it is shown everywhere: its address, with its host name if it has one.
  public var endpoint: String
  /// Whether sessions may be given to it. Without checks that is always so.
  public var isUp = true
  /// The sessions it has.
  public var sessions: UInt64 = 0
  /// What it took and gave.
  public var relayed = TrafficMetrics()
  /// How often a connection to it was tried.
  public var connectAttempts: UInt64 = 0
  /// How often that failed, by the words of the access log. A reason stays once it was given, and is
  /// better given with 0 than left out: a series that begins with 1 has no increase.
  public var connectFailures: [(reason: String, count: UInt64)] = []
  /// `nil`: it is not checked.
  public var checks: Checks?
  /// `nil`: it is never left out.
  public var ejections: Ejections?

  /// Makes the numbers of an endpoint that was not used yet.
  public init(upstream: String, endpoint: String) {
    self.upstream = upstream
    self.endpoint = endpoint
  }
}

/// How late a loop was.
public struct LoopLagMetrics: Sendable {
  /// The name of the loop.
  public var loop: String
  /// How long its turns took, in seconds: what an event that became ready had to wait at most.
  public var seconds: HistogramSnapshot

  /// Makes the numbers of a loop.
  public init(loop: String, seconds: HistogramSnapshot) {
    self.loop = loop
    self.seconds = seconds
  }

  /// Makes the numbers of a loop from its own. Of its buckets, those from 128 µs to 8 s stay apart:
  /// whether a turn took one microsecond or fifty, nobody waits for it.
  public init(loop: String, _ lag: LagHistogram) {
    let apart = 7...23
    var counts = lag.buckets[apart].map { $0 }
    counts[0] += lag.buckets[..<apart.lowerBound].reduce(0, +)
    counts.append(lag.buckets[(apart.upperBound + 1)...].reduce(0, +))
    self.init(
      loop: loop,
      seconds: HistogramSnapshot(
        bounds: apart.map { Double(1 << $0) / 1e6 }, counts: counts,
        sum: Double(lag.totalNanoseconds) / 1e9))
  }
}

/// Reloads of the configuration. The one of the start counts as the first success, but not as a reload.
public struct ReloadMetrics: Hashable, Sendable {
  /// Reloads that took effect.
  public var ok: UInt64 = 0
  /// Reloads that were refused; the configuration before them goes on.
  public var failed: UInt64 = 0
  /// Whether the last one took effect.
  public var lastSucceeded = true
  /// When a configuration last took effect, in seconds since 1970.
  public var lastSuccessTime: Double = 0

  /// Makes the numbers of a program that was not reloaded.
  public init() {}
}

/// Look-ups of a host name.
public struct ResolveMetrics: Hashable, Sendable {
  /// The host name.
  public var name: String
  /// How often it could not be looked up.
  public var failures: UInt64

  /// Makes the number of a name.
  public init(name: String, failures: UInt64) {
    self.name = name
    self.failures = failures
  }
}

/// Requests to the admin interface that were answered in one way.
public struct AdminRequestMetrics: Hashable, Sendable {
  /// The page, or `other` where it was none.
  public var path: String
  /// The status of the answer.
  public var code: Int
  /// How many.
  public var count: UInt64

  /// Makes a count.
  public init(path: String, code: Int, count: UInt64) {
    self.path = path
    self.code = code
    self.count = count
  }
}
