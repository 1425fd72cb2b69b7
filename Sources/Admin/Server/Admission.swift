// SPDX-License-Identifier: Apache-2.0
// Which connections are let in. Their number is bounded, and so that nobody can keep the probes of an
// orchestrator out by opening connections and saying nothing, a newcomer takes the place of the
// connection that has been waiting for its next request for the longest time. Only when every
// connection is being answered is the newcomer turned away.

/// The connections that there are.
struct Admission {
  /// One of the connections, among all there ever were.
  struct ID: Hashable, Sendable {
    fileprivate let number: UInt64
  }

  enum Verdict: Equatable {
    /// Serve it, under this name.
    case serve(ID)
    /// Serve it, and close `idle`, which is between two requests.
    case serveInstead(ID, of: ID)
    /// Tell it that there is no room.
    case refuse(ID)
    /// Not even that: there are as many that are being told.
    case drop
  }

  private let connectionsMax: Int
  private var count: UInt64 = 0
  private var served: Set<ID> = []
  /// Those of `served` that wait for a request, the longest-waiting first.
  private var idle: [ID] = []
  private var refused: Set<ID> = []

  /// Admits at most so many, at least one, and turns as many away at the same time.
  init(connectionsMax: Int) {
    precondition(connectionsMax > 0)
    self.connectionsMax = connectionsMax
  }

  /// What to do with a new connection. It counts as waiting for a request.
  mutating func admit() -> Verdict {
    count += 1
    let id = ID(number: count)
    if served.count < connectionsMax {
      served.insert(id)
      idle.append(id)
      return .serve(id)
    }
    if let oldest = idle.first {
      leave(oldest)
      served.insert(id)
      idle.append(id)
      return .serveInstead(id, of: oldest)
    }
    guard refused.count < connectionsMax else { return .drop }
    refused.insert(id)
    return .refuse(id)
  }

  /// A request has begun to arrive.
  mutating func begin(_ id: ID) {
    idle.removeAll { $0 == id }
  }

  /// The next request is waited for. Not for a connection whose place was given away.
  mutating func rest(_ id: ID) {
    guard served.contains(id), !idle.contains(id) else { return }
    idle.append(id)
  }

  /// A connection has ended. Harmless when its place was given away.
  mutating func leave(_ id: ID) {
    served.remove(id)
    refused.remove(id)
    idle.removeAll { $0 == id }
  }
}
