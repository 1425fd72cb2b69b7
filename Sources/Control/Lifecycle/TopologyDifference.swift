// SPDX-License-Identifier: Apache-2.0
// What a new plan has changed, for people: by name, as in the configuration.

import DataPlane

/// What is new and what is gone between two topologies.
struct TopologyDifference: Equatable {
  /// Names of one kind of entity, in the order of the topology.
  struct Names: Equatable {
    var added: [String] = []
    var removed: [String] = []

    /// One entity in the old topology, if it is there, and in the new one.
    fileprivate mutating func note(_ old: String?, _ new: String?, isSame: Bool) {
      if isSame, old != nil, new != nil { return }
      if let old { removed.append(old) }
      if let new { added.append(new) }
    }
  }

  private(set) var listeners = Names()
  private(set) var routes = Names()
  /// With their upstreams: `db/10.0.0.1:5432`.
  private(set) var endpoints = Names()

  /// Compares two topologies of one ledger.
  init(from old: Topology, to new: Topology) {
    for (position, after) in new.listeners.enumerated() {
      let before = position < old.listeners.count ? old.listeners[position] : nil
      listeners.note(
        before.flatMap { $0.isRetired ? nil : $0.name }, after.isRetired ? nil : after.name,
        isSame: before?.state === after.state)
    }
    for (position, after) in new.routes.enumerated() {
      let before = position < old.routes.count ? old.routes[position] : nil
      routes.note(
        before.flatMap { $0.isRetired ? nil : $0.name }, after.isRetired ? nil : after.name,
        isSame: before?.state === after.state)
    }
    for (position, after) in new.endpoints.enumerated() {
      let before = position < old.endpoints.count ? old.endpoints[position] : nil
      endpoints.note(
        before.flatMap { $0.isRetired ? nil : "\($0.upstreamName)/\($0.name)" },
        after.isRetired ? nil : "\(after.upstreamName)/\(after.name)",
        isSame: before?.state === after.state)
    }
  }

  /// Whether all there is was there before, and the other way round. Settings may differ.
  var isEmpty: Bool {
    [listeners, routes, endpoints].allSatisfy { $0 == Names() }
  }
}
