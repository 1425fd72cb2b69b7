// SPDX-License-Identifier: Apache-2.0
// The metrics of the program by name and label. They are an interface: a test that must be changed for
// another reason than a new metric breaks somebody's dashboard.
//
// SLUICE_METRICS_FOLDER=F writes what was made to F/classic.txt and F/openmetrics.txt, for other people's
// parsers (scripts/check-metrics.sh).

import Glibc
import Testing

@testable import Admin

@Suite struct SluiceFamiliesTests {
  private static let program = """
    # HELP sluice_build_info The version of the program.
    # TYPE sluice_build_info gauge
    sluice_build_info{version="1.2.3"} 1
    # HELP sluice_workers Threads that move bytes.
    # TYPE sluice_workers gauge
    sluice_workers 2
    # HELP sluice_worker_answer_seconds How long each worker took to answer its last question.
    # TYPE sluice_worker_answer_seconds gauge
    sluice_worker_answer_seconds{worker="0"} 0.00025
    # HELP sluice_sessions_max How many sessions there can be at once.
    # TYPE sluice_sessions_max gauge
    sluice_sessions_max 1000
    # HELP sluice_accept_pauses_total How often a worker stopped accepting because a bound was reached \
    or something ran out.
    # TYPE sluice_accept_pauses_total counter
    sluice_accept_pauses_total 3

    """

  private static let routes = #"""
    # HELP sluice_sessions Sessions that are open.
    # TYPE sluice_sessions gauge
    sluice_sessions{route="db \"main\""} 2
    sluice_sessions{route="cache"} 0
    # HELP sluice_sessions_accepted_total Sessions that were begun.
    # TYPE sluice_sessions_accepted_total counter
    sluice_sessions_accepted_total{route="db \"main\""} 9
    sluice_sessions_accepted_total{route="cache"} 0
    # HELP sluice_session_ends_total Sessions that ended, by what happened and who did it, in the \#
    words of the access log.
    # TYPE sluice_session_ends_total counter
    sluice_session_ends_total{route="db \"main\"",reason="finished",by="downstream"} 6
    sluice_session_ends_total{route="db \"main\"",reason="idle",by="proxy"} 1
    # HELP sluice_relayed_bytes_total Bytes that were delivered: upload to endpoints, download to \#
    clients.
    # TYPE sluice_relayed_bytes_total counter
    sluice_relayed_bytes_total{route="db \"main\"",direction="upload"} 12
    sluice_relayed_bytes_total{route="db \"main\"",direction="download"} 1152921504606846976
    sluice_relayed_bytes_total{route="cache",direction="upload"} 0
    sluice_relayed_bytes_total{route="cache",direction="download"} 0
    # HELP sluice_connect_duration_seconds Time from accepting a client to the connection with an \#
    endpoint, over all attempts.
    # TYPE sluice_connect_duration_seconds histogram
    sluice_connect_duration_seconds_bucket{route="db \"main\"",le="0.001"} 3
    sluice_connect_duration_seconds_bucket{route="db \"main\"",le="1.0"} 5
    sluice_connect_duration_seconds_bucket{route="db \"main\"",le="+Inf"} 6
    sluice_connect_duration_seconds_sum{route="db \"main\""} 7.5
    sluice_connect_duration_seconds_count{route="db \"main\""} 6
    # HELP sluice_session_duration_seconds Time from accepting a client to the end of its session.
    # TYPE sluice_session_duration_seconds histogram
    sluice_session_duration_seconds_bucket{route="db \"main\"",le="0.001"} 3
    sluice_session_duration_seconds_bucket{route="db \"main\"",le="1.0"} 5
    sluice_session_duration_seconds_bucket{route="db \"main\"",le="+Inf"} 6
    sluice_session_duration_seconds_sum{route="db \"main\""} 7.5
    sluice_session_duration_seconds_count{route="db \"main\""} 6

    """#

  private static let upstreams = #"""
    # HELP sluice_upstream_endpoints Endpoints that would get sessions if they were healthy.
    # TYPE sluice_upstream_endpoints gauge
    sluice_upstream_endpoints{upstream="db"} 2
    # HELP sluice_upstream_healthy_endpoints Endpoints that are neither down nor ejected.
    # TYPE sluice_upstream_healthy_endpoints gauge
    sluice_upstream_healthy_endpoints{upstream="db"} 1
    # HELP sluice_upstream_serving Whether anybody is served: no without a healthy endpoint or quorum.
    # TYPE sluice_upstream_serving gauge
    sluice_upstream_serving{upstream="db"} 1
    # HELP sluice_upstream_panic Whether all endpoints are used because so few are healthy.
    # TYPE sluice_upstream_panic gauge
    sluice_upstream_panic{upstream="db"} 1
    # HELP sluice_upstream_sessions Sessions that the upstream's endpoints have.
    # TYPE sluice_upstream_sessions gauge
    sluice_upstream_sessions{upstream="db"} 2
    # HELP sluice_upstream_waiting Sessions that wait for a place (queue) or for an endpoint (hold).
    # TYPE sluice_upstream_waiting gauge
    sluice_upstream_waiting{upstream="db",in="queue"} 1
    sluice_upstream_waiting{upstream="db",in="hold"} 0
    # HELP sluice_upstream_waits_total Sessions that have begun to wait.
    # TYPE sluice_upstream_waits_total counter
    sluice_upstream_waits_total{upstream="db",in="queue"} 5
    sluice_upstream_waits_total{upstream="db",in="hold"} 0
    # HELP sluice_upstream_wait_failures_total Sessions that have waited for too long (timed_out), or \#
    could not wait because as many did already as may (full).
    # TYPE sluice_upstream_wait_failures_total counter
    sluice_upstream_wait_failures_total{upstream="db",in="queue",reason="timed_out"} 2
    sluice_upstream_wait_failures_total{upstream="db",in="queue",reason="full"} 0
    sluice_upstream_wait_failures_total{upstream="db",in="hold",reason="timed_out"} 0
    sluice_upstream_wait_failures_total{upstream="db",in="hold",reason="full"} 3
    # HELP sluice_upstream_retries_total Attempts to connect that followed others of a session.
    # TYPE sluice_upstream_retries_total counter
    sluice_upstream_retries_total{upstream="db"} 4
    # HELP sluice_upstream_retries_refused_total Further attempts that were not made because too many \#
    sessions were at one (retry budget).
    # TYPE sluice_upstream_retries_refused_total counter
    sluice_upstream_retries_refused_total{upstream="db"} 6

    """#

  private static let endpoints = #"""
    # HELP sluice_endpoint_up Whether sessions may be given to the endpoint.
    # TYPE sluice_endpoint_up gauge
    sluice_endpoint_up{upstream="db",endpoint="db-0(10.0.0.1:5432)"} 0
    sluice_endpoint_up{upstream="db",endpoint="unix:@a\\b"} 1
    # HELP sluice_endpoint_sessions Sessions that the endpoint has.
    # TYPE sluice_endpoint_sessions gauge
    sluice_endpoint_sessions{upstream="db",endpoint="db-0(10.0.0.1:5432)"} 2
    sluice_endpoint_sessions{upstream="db",endpoint="unix:@a\\b"} 0
    # HELP sluice_endpoint_bytes_total Bytes that the endpoint's connections took (upload) and gave \#
    (download).
    # TYPE sluice_endpoint_bytes_total counter
    sluice_endpoint_bytes_total{upstream="db",endpoint="db-0(10.0.0.1:5432)",direction="upload"} 12
    sluice_endpoint_bytes_total{upstream="db",endpoint="db-0(10.0.0.1:5432)",direction="download"} 13
    sluice_endpoint_bytes_total{upstream="db",endpoint="unix:@a\\b",direction="upload"} 0
    sluice_endpoint_bytes_total{upstream="db",endpoint="unix:@a\\b",direction="download"} 0
    # HELP sluice_connect_attempts_total How often a connection to the endpoint was tried.
    # TYPE sluice_connect_attempts_total counter
    sluice_connect_attempts_total{upstream="db",endpoint="db-0(10.0.0.1:5432)"} 5
    sluice_connect_attempts_total{upstream="db",endpoint="unix:@a\\b"} 0
    # HELP sluice_connect_failures_total How often that failed, by reason, in the words of the access log.
    # TYPE sluice_connect_failures_total counter
    sluice_connect_failures_total{upstream="db",endpoint="db-0(10.0.0.1:5432)",reason="connect_refused"} 1
    sluice_connect_failures_total{upstream="db",endpoint="db-0(10.0.0.1:5432)",reason="reset"} 0
    # HELP sluice_endpoint_ejected Whether the endpoint is left out because sessions have failed there.
    # TYPE sluice_endpoint_ejected gauge
    sluice_endpoint_ejected{upstream="db",endpoint="db-0(10.0.0.1:5432)"} 1
    # HELP sluice_endpoint_ejections_total How often the endpoint was left out.
    # TYPE sluice_endpoint_ejections_total counter
    sluice_endpoint_ejections_total{upstream="db",endpoint="db-0(10.0.0.1:5432)"} 3
    # HELP sluice_endpoint_checks_total Health checks of the endpoint, by result.
    # TYPE sluice_endpoint_checks_total counter
    sluice_endpoint_checks_total{upstream="db",endpoint="db-0(10.0.0.1:5432)",result="ok"} 4
    sluice_endpoint_checks_total{upstream="db",endpoint="db-0(10.0.0.1:5432)",result="failed"} 1
    # HELP sluice_endpoint_check_duration_seconds How long the last health check took.
    # TYPE sluice_endpoint_check_duration_seconds gauge
    sluice_endpoint_check_duration_seconds{upstream="db",endpoint="db-0(10.0.0.1:5432)"} 0.125

    """#

  private static let control = """
    # HELP sluice_loop_lag_seconds How long the turns of a control loop took, for which everything \
    else on it waits.
    # TYPE sluice_loop_lag_seconds histogram
    sluice_loop_lag_seconds_bucket{loop="control",le="0.001"} 3
    sluice_loop_lag_seconds_bucket{loop="control",le="1.0"} 5
    sluice_loop_lag_seconds_bucket{loop="control",le="+Inf"} 6
    sluice_loop_lag_seconds_sum{loop="control"} 7.5
    sluice_loop_lag_seconds_count{loop="control"} 6
    # HELP sluice_log_dropped_total Lines that were lost because a log's reader was too slow.
    # TYPE sluice_log_dropped_total counter
    sluice_log_dropped_total{log="access"} 4
    sluice_log_dropped_total{log="event"} 5
    # HELP sluice_reloads_total Reloads of the configuration, by result.
    # TYPE sluice_reloads_total counter
    sluice_reloads_total{result="ok"} 1
    sluice_reloads_total{result="failed"} 2
    # HELP sluice_config_last_reload_successful Whether the last reload of the configuration took effect.
    # TYPE sluice_config_last_reload_successful gauge
    sluice_config_last_reload_successful 0
    # HELP sluice_config_last_reload_success_timestamp_seconds When a configuration last took effect, \
    at the start or by a reload, since 1970.
    # TYPE sluice_config_last_reload_success_timestamp_seconds gauge
    sluice_config_last_reload_success_timestamp_seconds 1763874000.25
    # HELP sluice_resolve_failures_total How often a host name could not be looked up.
    # TYPE sluice_resolve_failures_total counter
    sluice_resolve_failures_total{name="db-0"} 6
    # HELP sluice_admin_requests_total Requests to the admin interface, by page and by the status of \
    the answer.
    # TYPE sluice_admin_requests_total counter
    sluice_admin_requests_total{path="/metrics",code="200"} 7
    # HELP process_start_time_seconds When the process started, since 1970.
    # TYPE process_start_time_seconds gauge
    process_start_time_seconds 1763874000.0
    # HELP process_cpu_seconds_total Processor time of all threads, user and system.
    # TYPE process_cpu_seconds_total counter
    process_cpu_seconds_total 1.5
    # HELP process_resident_memory_bytes Memory of the process that is in RAM.
    # TYPE process_resident_memory_bytes gauge
    process_resident_memory_bytes 4096
    # HELP process_open_fds Descriptors that are open.
    # TYPE process_open_fds gauge
    process_open_fds 8
    # HELP process_max_fds How many descriptors can be open.
    # TYPE process_max_fds gauge
    process_max_fds 1024

    """

  @Test func everyMetricIsThere() throws {
    let families = MetricsSnapshot.complete.families
    let text = String(decoding: ExpositionFormat.classic.text(of: families), as: UTF8.self)
    let expected = Self.program + Self.routes + Self.upstreams + Self.endpoints + Self.control
    // Line by line, so that a difference can be read.
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    let expectedLines = expected.split(separator: "\n", omittingEmptySubsequences: false)
    for (line, expected) in zip(lines, expectedLines) { #expect(line == expected) }
    #expect(lines.count == expectedLines.count)
  }

  @Test func theFormatsHaveTheSameSamples() {
    let families = MetricsSnapshot.complete.families
    let texts = ExpositionFormat.allCases.map { format in
      String(decoding: format.text(of: families), as: UTF8.self)
        .split(separator: "\n").filter { !$0.hasPrefix("#") }
    }
    #expect(texts[0] == texts[1])
  }

  @Test func aProgramThatHasDoneNothingShowsWhatItHas() {
    let families = MetricsSnapshot(version: "1", sessionsMax: 5).families
    let text = String(decoding: ExpositionFormat.classic.text(of: families), as: UTF8.self)
    #expect(text.contains("sluice_reloads_total{result=\"failed\"} 0\n"))
    #expect(text.contains("sluice_config_last_reload_successful 1\n"))
    #expect(!text.contains("endpoint"))
  }

  @Test func endpointsOfTheSameNameAreOne() {
    var snapshot = MetricsSnapshot.complete
    snapshot.endpoints += snapshot.endpoints
    snapshot.endpoints[3].checks = .init(ok: 1)
    snapshot.endpoints[2].connectFailures = [("reset", 4), ("connect_timed_out", 5)]
    let text = String(
      decoding: ExpositionFormat.classic.text(of: snapshot.families), as: UTF8.self)
    let names = text.split(separator: "\n").filter { !$0.hasPrefix("#") }
      .map { $0.prefix(upTo: $0.lastIndex(of: " ")!) }
    #expect(Set(names).count == names.count)
    let checked = #"{upstream="db",endpoint="db-0(10.0.0.1:5432)""#
    for line in [
      "sluice_endpoint_up\(checked)} 0", "sluice_endpoint_sessions\(checked)} 4",
      "sluice_endpoint_bytes_total\(checked),direction=\"upload\"} 24",
      "sluice_connect_attempts_total\(checked)} 10",
      "sluice_connect_failures_total\(checked),reason=\"connect_refused\"} 1",
      "sluice_connect_failures_total\(checked),reason=\"reset\"} 4",
      "sluice_connect_failures_total\(checked),reason=\"connect_timed_out\"} 5",
      "sluice_endpoint_checks_total\(checked),result=\"ok\"} 8",
      #"sluice_endpoint_checks_total{upstream="db",endpoint="unix:@a\\b",result="ok"} 1"#,
    ] {
      #expect(text.contains("\n\(line)\n"), "\(line)")
    }
  }

  @Test func otherPeoplesParsersGetTheText() throws {
    guard let folder = getenv("SLUICE_METRICS_FOLDER").map({ String(cString: $0) }) else { return }
    for (format, name) in [(ExpositionFormat.classic, "classic"), (.openMetrics, "openmetrics")] {
      let file = try #require(fopen("\(folder)/\(name).txt", "w"))
      let text = format.text(of: MetricsSnapshot.complete.families)
      #expect(fwrite(text, 1, text.count, file) == text.count)
      #expect(fclose(file) == 0)
    }
  }
}
