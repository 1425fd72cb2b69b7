// SPDX-License-Identifier: Apache-2.0
// What tests of the queue begin with: sessions by number, endpoints with a number of free places each, and
// what was granted.

import Balancing
import Reactor

@testable import DataPlane

/// What a session knows of its entry.
struct QueueEntry {
  let ticket: UInt32
  let sequence: UInt32
  let isUnattended: Bool
}

/// The queue has turned a session away.
struct QueueIsFull: Error {}

/// A place that was granted to a session.
struct QueueGrant: Equatable {
  let number: Int
  let worker: Int
  let ticket: UInt32
  let endpoint: Int
  let tried: UInt64
  let isProbe: Bool

  init(_ waiter: WaitQueue.Waiter, _ ticket: UInt32, _ endpoint: EndpointIndex) {
    number = waiter.token.index
    worker = waiter.worker
    self.ticket = ticket
    self.endpoint = endpoint.position
    tried = waiter.tried
    isProbe = waiter.isProbe
  }
}

/// Endpoints by position, each with some free places; the first one that may be had is picked.
struct FreePlaces {
  var free: [Int]

  init(_ free: [Int]) {
    self.free = free
  }

  mutating func pick(_ tried: UInt64) -> Pick {
    let untried = free.indices.filter { tried & (1 << $0) == 0 }
    guard !untried.isEmpty else { return .tried }
    guard let position = untried.first(where: { free[$0] > 0 }) else { return .full }
    free[position] -= 1
    return .endpoint(EndpointIndex(position))
  }
}

extension WaitQueue {
  /// Has a session wait that is known by its number.
  func enter(
    _ number: Int, _ kind: Kind = .place, worker: Int = 0, tried: UInt64 = 0, max: Int = 100,
    sequence: UInt32? = nil, at moment: UInt64 = 1
  ) throws -> QueueEntry {
    let waiter = Waiter(
      worker: worker, token: Token(.downstream, index: number, generation: 1), kind: kind, key: 0,
      tried: tried)
    let entry = enter(
      waiter, max: max, sequence: sequence, at: Instant(nanoseconds: moment))
    guard case .entered(let ticket, let sequence, let isUnattended) = entry else {
      throw QueueIsFull()
    }
    return QueueEntry(ticket: ticket, sequence: sequence, isUnattended: isUnattended)
  }

  /// Grants what is free. The workers in `refused` take no messages.
  func handOut(
    _ places: inout FreePlaces, _ kind: Kind = .place, max: Int = .max,
    ignoringTried: Bool = false, refusing refused: Set<Int> = []
  ) -> [QueueGrant] {
    var grants: [QueueGrant] = []
    let (granted, _) = handOut(
      kind, max: max, ignoringTried: ignoringTried, pick: { _, tried in places.pick(tried) },
      post: { waiter, ticket, endpoint in
        guard !refused.contains(waiter.worker) else { return false }
        grants.append(QueueGrant(waiter, ticket, endpoint))
        return true
      }, release: { places.free[$0.position] += 1 })
    precondition(granted == grants.count)
    return grants
  }

  /// Passes a place at an endpoint on.
  func pass(_ endpoint: Int, refusing refused: Set<Int> = []) -> QueueGrant? {
    var grant: QueueGrant?
    let isPassed = pass(EndpointIndex(endpoint), triedBit: 1 << UInt64(endpoint)) {
      waiter, ticket, endpoint in
      guard !refused.contains(waiter.worker) else { return false }
      precondition(grant == nil, "granted twice")
      grant = QueueGrant(waiter, ticket, endpoint)
      return true
    }
    precondition(isPassed == (grant != nil))
    return grant
  }
}
