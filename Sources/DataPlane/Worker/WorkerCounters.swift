// SPDX-License-Identifier: Apache-2.0
// What a worker counts: plain integers that it alone writes. What is strange but harmless is counted
// here with a verdict instead of being logged.

/// What has happened on a worker since it started.
public struct WorkerCounters: Sendable, Equatable {
  /// A kind of happening.
  public enum Kind: Int, Sendable, CaseIterable {
    /// Connections accepted here.
    case accepted
    /// Of those, handed to a less loaded worker.
    case handedOver
    /// Received from another worker.
    case received
    /// Connections that went away before they were accepted (harmless).
    case acceptAborted
    /// Accepting stopped for want of descriptors or memory.
    case acceptFailed
    /// Accepting paused because a bound on sessions was reached.
    case acceptPaused
    /// Sessions that are over.
    case ended
    /// Upstream connections attempted.
    case attempts
    /// Of those, failed.
    case attemptsFailed
    /// Events for registrations that no longer exist (harmless).
    case staleEvents
  }

  private var values: [10 of Int] = .init(repeating: 0)

  /// All zero.
  public init() {}

  /// How often `kind` has happened.
  public subscript(kind: Kind) -> Int {
    get { values[kind.rawValue] }
    set { values[kind.rawValue] = newValue }
  }

  /// Whether all counts are the same.
  public static func == (left: WorkerCounters, right: WorkerCounters) -> Bool {
    Kind.allCases.allSatisfy { left[$0] == right[$0] }
  }
}
