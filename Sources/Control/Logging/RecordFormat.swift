// SPDX-License-Identifier: Apache-2.0
// How a session record looks as a line: `key=value` pairs for people and grep, or one JSON object.
// Names are turned into bytes once for each topology.

import DataPlane
import Glibc
import Plan
import Reactor

/// Turns session records into lines.
struct RecordFormat {
  /// The topology whose names are used.
  private(set) var version = 0
  private let format: LogPlan.Format
  private var listeners: [[UInt8]] = []
  private var routes: [[UInt8]] = []
  private var endpoints: [[UInt8]] = []
  private var timestamp = Timestamp()

  init(_ format: LogPlan.Format, topology: Topology) {
    self.format = format
    use(topology)
  }

  /// Takes the names of a topology, which has those of all records that are still to come.
  mutating func use(_ topology: Topology) {
    version = topology.version
    let format = format
    func bytes(_ name: String) -> [UInt8] {
      var line = LineBuffer()
      switch format {
      case .text: line.append(value: name.utf8)
      case .json: line.append(escaped: name.utf8)
      }
      return line.bytes
    }
    listeners = topology.listeners.map { bytes($0.name) }
    routes = topology.routes.map { bytes($0.name) }
    endpoints = topology.endpoints.map { bytes($0.name) }
  }

  /// Appends a record as one line. `now` is the monotonic time.
  mutating func append(_ record: SessionRecord, now: Instant, to line: inout LineBuffer) {
    let age = now.nanoseconds(since: record.at)
    switch format {
    case .text: appendText(record, age, &line)
    case .json: appendJSON(record, age, &line)
    }
    line.append("\n")
  }

  private mutating func appendText(
    _ record: SessionRecord, _ age: UInt64, _ line: inout LineBuffer
  ) {
    timestamp.append(nanosecondsAgo: age, to: &line)
    line.append(" access ")
    line.append(record.moment.word)
    line.append(" route=")
    line.append(routes[record.route.position])
    line.append(" listener=")
    line.append(listeners[record.listener.position])
    line.append(" client=")
    line.append(Array(record.client.description.utf8))
    line.append(" endpoint=")
    if let endpoint = record.endpoint {
      line.append(endpoints[endpoint.position])
    } else {
      line.append("-")
    }
    line.append(" up=")
    line.append(record.uploadBytes)
    line.append(" down=")
    line.append(record.downloadBytes)
    line.append(" connect_ms=")
    if let connect = record.connectNanoseconds {
      line.append(milliseconds: connect)
    } else {
      line.append("-")
    }
    line.append(" duration_ms=")
    line.append(milliseconds: record.durationNanoseconds)
    line.append(" attempts=")
    line.append(UInt64(record.attempts))
    guard let end = record.end else { return }
    line.append(" end=")
    line.append(end.reason.word)
    line.append(" by=")
    line.append(end.origin.word)
    line.append(" phase=")
    line.append(end.phase.word)
    guard end.errno != 0 else { return }
    line.append(" error=")
    line.append(value: errorText(end.errno))
  }

  private mutating func appendJSON(
    _ record: SessionRecord, _ age: UInt64, _ line: inout LineBuffer
  ) {
    line.append("{\"time\":\"")
    timestamp.append(nanosecondsAgo: age, to: &line)
    line.append("\",\"access\":\"")
    line.append(record.moment.word)
    line.append("\",\"route\":\"")
    line.append(routes[record.route.position])
    line.append("\",\"listener\":\"")
    line.append(listeners[record.listener.position])
    line.append("\",\"client\":\"")
    line.append(Array(record.client.description.utf8))
    line.append("\",\"endpoint\":")
    if let endpoint = record.endpoint {
      line.append("\"")
      line.append(endpoints[endpoint.position])
      line.append("\"")
    } else {
      line.append("null")
    }
    line.append(",\"up\":")
    line.append(record.uploadBytes)
    line.append(",\"down\":")
    line.append(record.downloadBytes)
    line.append(",\"connect_ms\":")
    if let connect = record.connectNanoseconds {
      line.append(milliseconds: connect)
    } else {
      line.append("null")
    }
    line.append(",\"duration_ms\":")
    line.append(milliseconds: record.durationNanoseconds)
    line.append(",\"attempts\":")
    line.append(UInt64(record.attempts))
    if let end = record.end {
      line.append(",\"end\":\"")
      line.append(end.reason.word)
      line.append("\",\"by\":\"")
      line.append(end.origin.word)
      line.append("\",\"phase\":\"")
      line.append(end.phase.word)
      line.append("\"")
      if end.errno != 0 {
        line.append(",\"error\":\"")
        line.append(escaped: errorText(end.errno))
        line.append("\"")
      }
    }
    line.append("}")
  }

  private func errorText(_ code: Int32) -> [UInt8] {
    Array(Errno(rawValue: code).description.utf8)
  }
}

extension SessionRecord.Moment {
  fileprivate var word: StaticString {
    switch self {
    case .start: "start"
    case .progress: "progress"
    case .end: "end"
    }
  }
}

extension SessionEnd.Origin {
  /// The word of the logs and metrics.
  public var word: StaticString {
    switch self {
    case .downstream: "downstream"
    case .upstream: "upstream"
    case .proxy: "proxy"
    }
  }
}

extension SessionEnd.Phase {
  /// The word of the logs.
  var word: StaticString {
    switch self {
    case .inspecting: "inspecting"
    case .waiting: "waiting"
    case .connecting: "connecting"
    case .relaying: "relaying"
    case .downstreamFinished: "downstream_finished"
    case .upstreamFinished: "upstream_finished"
    case .flushing: "flushing"
    }
  }
}

extension SessionEnd.Reason {
  /// The word of the logs and metrics.
  public var word: StaticString {
    switch self {
    case .finished: "finished"
    case .reset: "reset"
    case .timedOut: "timed_out"
    case .unreachable: "unreachable"
    case .idle: "idle"
    case .halfCloseTimeout: "half_close_timeout"
    case .flushTimeout: "flush_timeout"
    case .connectRefused: "connect_refused"
    case .connectTimedOut: "connect_timed_out"
    case .connectFailed: "connect_failed"
    case .noEndpoint: "no_endpoint"
    case .allDown: "all_down"
    case .noQuorum: "no_quorum"
    case .queueFull: "queue_full"
    case .queueTimedOut: "queue_timed_out"
    case .holdFull: "hold_full"
    case .holdTimedOut: "hold_timed_out"
    case .retryBudget: "retry_budget"
    case .endpointDown: "endpoint_down"
    case .outOfDescriptors: "out_of_descriptors"
    case .outOfPorts: "out_of_ports"
    case .noSource: "no_source"
    case .outOfMemory: "out_of_memory"
    case .drainDeadline: "drain_deadline"
    case .killed: "killed"
    case .failed: "failed"
    }
  }
}
