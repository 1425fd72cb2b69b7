// SPDX-License-Identifier: Apache-2.0
// What can be told of a running proxy at one moment, and who tells it. Numbers of routes, endpoints and
// workers are read where they are counted, without asking anybody; only whether workers live is asked.

import DataPlane
import EventLoop
import Plan
import Reactor

/// A proxy at one moment.
public struct ProxyStatus: Sendable {
  /// How far it is in its life.
  public enum Stage: Sendable {
    /// Names are being looked up, sockets opened.
    case starting
    /// Clients are served.
    case serving
    /// It was told to end.
    case draining
  }

  /// How far it is in its life.
  public let stage: Stage
  /// What the workers use; `nil` while it starts.
  public let topology: Topology?
  /// The workers' own numbers, by number.
  public let workers: [WorkerCounters]
  /// How long each worker took to answer its last question, or has been silent since it was asked, in
  /// nanoseconds; `nil` before it was asked.
  public let answerNanoseconds: [UInt64?]
  /// The workers that have not answered for longer than `ControlPlane.answerPatience`.
  public let silentWorkers: [Int]
  /// What the checks have come to, by the identity of the endpoint's state. Who is not checked is missing.
  public let checks: [ObjectIdentifier: HealthStatus]
  /// How endpoints stand that may be ejected, by the identity of their state. Who never is is missing.
  public let ejections: [ObjectIdentifier: EjectionStanding]
  /// How the upstreams stand, by their names.
  public let upstreams: [String: UpstreamStanding]
  /// How often the configuration was read again.
  public let reloads: ReloadCounts
  /// How often each name that is known could not be looked up.
  public let nameFailures: [String: Int]
  /// The names whose last look-up has failed.
  public let failingNames: [String]
  /// Records of the access log that were lost.
  public let accessRecordsDropped: Int
  /// Lines of the operational log that were lost.
  public let eventLinesDropped: Int
  /// How long the turns of the control loop took.
  public let lag: LagHistogram
}

/// What others may ask of the control plane.
public struct ProxyControl: Sendable {
  let plane: ControlPlane

  /// How things are. The workers are asked whether they live, and given until `deadline` to answer; with a
  /// deadline that has passed, what they said last counts.
  public func status(until deadline: Instant) async -> ProxyStatus {
    await plane.status(until: deadline)
  }
}

/// What answers questions about the proxy, on the loop of the control plane.
public struct StatusService: Sendable {
  /// Where it can be asked, for people.
  public let address: String
  /// Answers until its task is cancelled.
  public let run: @Sendable () async -> Void

  /// Puts both together.
  public init(address: String, run: @escaping @Sendable () async -> Void) {
    self.address = address
    self.run = run
  }

  /// Opens what a plan wants, on the loop. Throws in a sentence why that cannot be.
  public typealias Opening =
    @Sendable (AdminPlan, ProxyControl) throws(StartFailure) -> StatusService
}

extension ControlPlane {
  /// After how long a worker that does not answer counts as silent.
  static let answerPatience = Duration.seconds(2)

  func status(until deadline: Instant) async -> ProxyStatus {
    let answers = await askWorkers(until: deadline)
    let silent = rounds?.missing(
      after: ControlPlane.answerPatience.wholeNanoseconds, at: loop.now)
    return ProxyStatus(
      stage: publicStage, topology: running?.topology, workers: running?.workerCounters ?? [],
      answerNanoseconds: answers, silentWorkers: silent ?? [], checks: checkStatuses,
      ejections: board.ejectionStandings(), upstreams: board.upstreamStandings(),
      reloads: reloads,
      nameFailures: names.failures, failingNames: names.failing,
      accessRecordsDropped: running?.accessLog?.droppedCount ?? 0,
      eventLinesDropped: log.droppedCount, lag: loop.lag)
  }

  private var publicStage: ProxyStatus.Stage {
    switch stage {
    case .starting: .starting
    case .serving: .serving
    case .delaying, .draining, .ended: .draining
    }
  }
}
