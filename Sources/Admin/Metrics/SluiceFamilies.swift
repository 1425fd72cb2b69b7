// SPDX-License-Identifier: Apache-2.0
// The metrics of this program: every name, label and help text. Names are an interface: dashboards and
// alerts hang on them, so one that has been released is not changed. docs/admin.md has them in a table.

extension MetricsSnapshot {
  /// The numbers as metric families, in the order in which they are shown.
  public var families: [MetricFamily] {
    programFamilies + routeFamilies + upstreamFamilies + endpointFamilies + controlFamilies
      + (process?.families ?? [])
  }

  private var programFamilies: [MetricFamily] {
    [
      MetricFamily(
        "sluice_build", .info, "The version of the program.",
        [MetricSample([MetricLabel("version", version)], .count(1))]),
      MetricFamily(
        "sluice_workers", .gauge, "Threads that move bytes.",
        [MetricSample([], .count(UInt64(workerAnswerSeconds.count)))]),
      MetricFamily(
        "sluice_worker_answer_seconds", .gauge,
        "How long each worker took to answer its last question.",
        workerAnswerSeconds.enumerated().compactMap { number, seconds in
          seconds.map { MetricSample([MetricLabel("worker", "\(number)")], .real($0)) }
        }),
      MetricFamily(
        "sluice_sessions_max", .gauge, "How many sessions there can be at once.",
        [MetricSample([], .count(sessionsMax))]),
      MetricFamily(
        "sluice_accept_pauses", .counter,
        "How often a worker stopped accepting because a bound was reached or something ran out.",
        [MetricSample([], .count(acceptPauses))]),
    ]
  }

  private var routeFamilies: [MetricFamily] {
    [
      family("sluice_sessions", .gauge, "Sessions that are open.") { .count($0.sessions) },
      family("sluice_sessions_accepted", .counter, "Sessions that were begun.") {
        .count($0.accepted)
      },
      MetricFamily(
        "sluice_session_ends", .counter,
        "Sessions that ended, by what happened and who did it, in the words of the access log.",
        routes.flatMap { route in
          route.ends.map { end in
            let labels = [
              MetricLabel("route", route.route), MetricLabel("reason", end.reason),
              MetricLabel("by", end.by),
            ]
            return MetricSample(labels, .count(end.count))
          }
        }),
      MetricFamily(
        "sluice_relayed_bytes", .counter,
        "Bytes that were delivered: upload to endpoints, download to clients.",
        routes.flatMap { $0.relayed.samples([MetricLabel("route", $0.route)]) }),
      family(
        "sluice_connect_duration_seconds", .histogram,
        "Time from accepting a client to the connection with an endpoint, over all attempts."
      ) { $0.connectSeconds.map { .histogram($0) } },
      family(
        "sluice_session_duration_seconds", .histogram,
        "Time from accepting a client to the end of its session."
      ) { $0.sessionSeconds.map { .histogram($0) } },
    ]
  }

  /// A family with at most one sample for each route.
  private func family(
    _ name: String, _ kind: MetricKind, _ help: String, _ value: (RouteMetrics) -> MetricValue?
  ) -> MetricFamily {
    MetricFamily(
      name, kind, help,
      routes.compactMap { route in
        value(route).map { MetricSample([MetricLabel("route", route.route)], $0) }
      })
  }

  private var endpointFamilies: [MetricFamily] {
    let endpoints = endpoints.merged
    func family(
      _ name: String, _ kind: MetricKind, _ help: String,
      _ samples: (EndpointMetrics) -> [MetricSample]
    ) -> MetricFamily {
      MetricFamily(name, kind, help, endpoints.flatMap(samples))
    }
    return [
      family("sluice_endpoint_up", .gauge, "Whether sessions may be given to the endpoint.") {
        [MetricSample($0.labels, .flag($0.isUp))]
      },
      family("sluice_endpoint_sessions", .gauge, "Sessions that the endpoint has.") {
        [MetricSample($0.labels, .count($0.sessions))]
      },
      family(
        "sluice_endpoint_bytes", .counter,
        "Bytes that the endpoint's connections took (upload) and gave (download)."
      ) { $0.relayed.samples($0.labels) },
      family(
        "sluice_connect_attempts", .counter, "How often a connection to the endpoint was tried."
      ) { [MetricSample($0.labels, .count($0.connectAttempts))] },
      family(
        "sluice_connect_failures", .counter,
        "How often that failed, by reason, in the words of the access log."
      ) { endpoint in
        endpoint.connectFailures.map { reason, count in
          MetricSample(endpoint.labels + [MetricLabel("reason", reason)], .count(count))
        }
      },
      family(
        "sluice_endpoint_ejected", .gauge,
        "Whether the endpoint is left out because sessions have failed there."
      ) { endpoint in
        endpoint.ejections.map { [MetricSample(endpoint.labels, .flag($0.isEjected))] } ?? []
      },
      family("sluice_endpoint_ejections", .counter, "How often the endpoint was left out.") {
        endpoint in
        endpoint.ejections.map { [MetricSample(endpoint.labels, .count($0.count))] } ?? []
      },
      family("sluice_endpoint_checks", .counter, "Health checks of the endpoint, by result.") {
        $0.checks?.samples($0.labels) ?? []
      },
      family(
        "sluice_endpoint_check_duration_seconds", .gauge, "How long the last health check took."
      ) { endpoint in
        let seconds = endpoint.checks?.lastSeconds
        return seconds.map { [MetricSample(endpoint.labels, .real($0))] } ?? []
      },
    ]
  }

  private var controlFamilies: [MetricFamily] {
    [
      MetricFamily(
        "sluice_loop_lag_seconds", .histogram,
        "How long the turns of a control loop took, for which everything else on it waits.",
        loopLags.map { MetricSample([MetricLabel("loop", $0.loop)], .histogram($0.seconds)) }),
      MetricFamily(
        "sluice_log_dropped", .counter, "Lines that were lost because a log's reader was too slow.",
        [
          MetricSample([MetricLabel("log", "access")], .count(accessRecordsDropped)),
          MetricSample([MetricLabel("log", "event")], .count(eventLinesDropped)),
        ]),
      MetricFamily(
        "sluice_reloads", .counter, "Reloads of the configuration, by result.",
        resultSamples([], ok: reloads.ok, failed: reloads.failed)),
      MetricFamily(
        "sluice_config_last_reload_successful", .gauge,
        "Whether the last reload of the configuration took effect.",
        [MetricSample([], .flag(reloads.lastSucceeded))]),
      MetricFamily(
        "sluice_config_last_reload_success_timestamp_seconds", .gauge,
        "When a configuration last took effect, at the start or by a reload, since 1970.",
        [MetricSample([], .real(reloads.lastSuccessTime))]),
      MetricFamily(
        "sluice_resolve_failures", .counter, "How often a host name could not be looked up.",
        resolveFailures.map {
          MetricSample([MetricLabel("name", $0.name)], .count($0.failures))
        }),
      MetricFamily(
        "sluice_admin_requests", .counter,
        "Requests to the admin interface, by page and by the status of the answer.",
        adminRequests.map {
          let labels = [MetricLabel("path", $0.path), MetricLabel("code", "\($0.code)")]
          return MetricSample(labels, .count($0.count))
        }),
    ]
  }
}

/// One sample for each result.
private func resultSamples(_ labels: [MetricLabel], ok: UInt64, failed: UInt64) -> [MetricSample] {
  [
    MetricSample(labels + [MetricLabel("result", "ok")], .count(ok)),
    MetricSample(labels + [MetricLabel("result", "failed")], .count(failed)),
  ]
}

extension TrafficMetrics {
  /// One sample for each direction.
  fileprivate func samples(_ labels: [MetricLabel]) -> [MetricSample] {
    [
      MetricSample(labels + [MetricLabel("direction", "upload")], .count(uploadBytes)),
      MetricSample(labels + [MetricLabel("direction", "download")], .count(downloadBytes)),
    ]
  }

  fileprivate static func + (left: TrafficMetrics, right: TrafficMetrics) -> TrafficMetrics {
    TrafficMetrics(
      uploadBytes: left.uploadBytes + right.uploadBytes,
      downloadBytes: left.downloadBytes + right.downloadBytes)
  }
}

extension EndpointMetrics {
  fileprivate var labels: [MetricLabel] {
    [MetricLabel("upstream", upstream), MetricLabel("endpoint", endpoint)]
  }

  /// Adds the numbers of an endpoint that goes by the same names.
  fileprivate mutating func add(_ other: EndpointMetrics) {
    isUp = isUp || other.isUp
    sessions += other.sessions
    relayed = relayed + other.relayed
    connectAttempts += other.connectAttempts
    for (reason, count) in other.connectFailures {
      if let position = connectFailures.firstIndex(where: { $0.reason == reason }) {
        connectFailures[position].count += count
      } else {
        connectFailures.append((reason, count))
      }
    }
    if let more = other.ejections {
      var sum = ejections ?? Ejections()
      sum.isEjected = sum.isEjected || more.isEjected
      sum.count += more.count
      ejections = sum
    }
    guard let more = other.checks else { return }
    var sum = checks ?? Checks()
    sum.ok += more.ok
    sum.failed += more.failed
    sum.lastSeconds = sum.lastSeconds ?? more.lastSeconds
    checks = sum
  }
}

extension EndpointMetrics.Checks {
  fileprivate func samples(_ labels: [MetricLabel]) -> [MetricSample] {
    resultSamples(labels, ok: ok, failed: failed)
  }
}

extension [EndpointMetrics] {
  /// Each name once. An address may stand twice in an upstream, and a route's inline upstream may be
  /// called like another one; a scraper refuses everything when two series have the same labels.
  fileprivate var merged: [EndpointMetrics] {
    var positions: [[MetricLabel]: Int] = [:]
    var result: [EndpointMetrics] = []
    for endpoint in self {
      if let position = positions[endpoint.labels] {
        result[position].add(endpoint)
      } else {
        positions[endpoint.labels] = result.count
        result.append(endpoint)
      }
    }
    return result
  }
}
