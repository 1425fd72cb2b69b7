// SPDX-License-Identifier: Apache-2.0
// What the admin interface asks of the rest of the program. It is asked on the server's loop, for each
// request anew.

import Reactor

/// Where the answers of the admin interface come from.
public struct AdminSource: Sendable {
  /// Whether the program serves.
  public var readiness: @Sendable () async -> Readiness
  /// The numbers of now. Must return or throw by the deadline: a worker may not answer. What is thrown is
  /// shown to the client, so it should be a sentence. `adminRequests` is filled in by the server.
  public var metrics: @Sendable (_ until: Instant) async throws -> MetricsSnapshot

  /// Makes a source.
  public init(
    readiness: @escaping @Sendable () async -> Readiness,
    metrics: @escaping @Sendable (_ until: Instant) async throws -> MetricsSnapshot
  ) {
    self.readiness = readiness
    self.metrics = metrics
  }
}
