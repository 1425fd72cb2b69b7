// SPDX-License-Identifier: Apache-2.0
// What a worker counts, apart from the counters of each route and endpoint. Events that are strange but
// harmless are counted here with a verdict instead of being logged.

/// Counters of a worker since it started. Written by the worker alone, read by any thread.
public final class WorkerCounters: Sendable {
  /// A kind of event.
  public enum Kind: Int, Sendable, CaseIterable {
    /// Connections accepted here.
    case accepted
    /// Of those, handed to a less loaded worker.
    case handedOver
    /// Received from another worker.
    case received
    /// Connections that were aborted before they were accepted (harmless).
    case acceptAborted
    /// Accepting failed because of a shortage of descriptors or memory.
    case acceptFailed
    /// Accepting paused because of a bound on sessions, or a shortage.
    case acceptPaused
    /// Sessions that are over.
    case ended
    /// Upstream connections attempted.
    case attempts
    /// Of those, failed.
    case attemptsFailed
    /// Events for registrations that no longer exist (harmless).
    case staleEvents
    /// Changes of topology since the first.
    case topologyChanges
  }

  private let table: CounterTable
  private let block: CounterBlock

  init() {
    table = CounterTable(counters: Kind.allCases.count, workers: 1)
    block = table.block(of: 0)
  }

  /// How often `kind` has occurred.
  public internal(set) subscript(kind: Kind) -> Int {
    get { Int(truncatingIfNeeded: block[kind.rawValue]) }
    set { block[kind.rawValue] = UInt64(truncatingIfNeeded: newValue) }
  }
}
