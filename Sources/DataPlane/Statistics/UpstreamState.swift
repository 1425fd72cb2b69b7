// SPDX-License-Identifier: Apache-2.0
// What is remembered of an upstream from one topology to the next, by all workers together. The object is
// the upstream's identity at run time.

import Synchronization

/// Whether an upstream's endpoints may be picked, all in all.
public enum Serving: UInt8, Sendable, AtomicRepresentable {
  /// Those that are up.
  case healthy
  /// All of them: so few are up that what speaks against the others counts no more.
  case panic
  /// None: fewer are up than its quorum.
  case none
}

/// The part of an upstream that outlives a topology.
public final class UpstreamState: Sendable {
  /// The sessions at its endpoints, over all workers.
  public let sessions = SessionCount()
  private let currentServing = Atomic<Serving>(.healthy)

  /// An upstream without sessions.
  public init() {}

  /// Whether its endpoints may be picked. The control thread sets it and tells the topology
  /// (`Topology.noteChange(ofUpstream:)`); workers read it at their next pick.
  public var serving: Serving {
    get { currentServing.load(ordering: .relaxed) }
    set { currentServing.store(newValue, ordering: .relaxed) }
  }
}
