// SPDX-License-Identifier: Apache-2.0
// Closing the sessions of an endpoint that went down (`on_down`), spread over some time. If all were closed at
// once, their clients would return at once, while one endpoint fewer is left to serve them.
//
// The moment at which a session is reset is computed from its token, so nothing is stored for it: a worker
// remembers the endpoint, and the session's timer computes the moment. An endpoint that recovers meanwhile keeps
// the sessions that are left.

import Balancing
import Plan
import Reactor

/// Which sessions are reset, and when. The same for all workers; each of them gets it in a message.
public struct SessionClosing: Sendable {
  /// The endpoint whose sessions are reset.
  public let endpoint: EndpointIndex
  /// Distinguishes the endpoint from others that get its slot later.
  let state: EndpointState
  /// When the worker received the message. Sessions whose attempt to connect to the endpoint began later are not
  /// reset; sessions that got the endpoint before the verdict and were connected after it are.
  fileprivate(set) var toldAt: Instant
  /// When the first sessions are reset.
  let beginsAt: Instant
  /// The time over which the sessions are reset.
  let overNanoseconds: UInt64

  /// What a policy says for the sessions of an endpoint that is found to be down at `now`; `nil` if they
  /// go on.
  public init?(_ policy: OnDown, of endpoint: EndpointIndex, in topology: Topology, at now: Instant)
  {
    switch policy {
    case .keep: return nil
    case .drain(let time, let over):
      beginsAt = now.advanced(by: time.wholeNanoseconds)
      overNanoseconds = over.wholeNanoseconds
    case .close(let over):
      beginsAt = now
      overNanoseconds = over.wholeNanoseconds
    }
    self.endpoint = endpoint
    state = topology.endpoints[endpoint.position].state
    toldAt = now
  }

  /// When a session is reset. `seed` differs between workers.
  func moment(for token: Token, seed: UInt64) -> Instant {
    guard overNanoseconds > 0 else { return beginsAt }
    var random = SplitMix64(seed: token.rawValue ^ seed)
    return beginsAt.advanced(by: random.next(below: overNanoseconds))
  }
}

/// The endpoints whose sessions are being closed, found by their slots.
struct SessionClosings {
  private var entries: [SessionClosing?] = []
  private(set) var count = 0
  /// Whether there are endpoints whose sessions have not been searched for yet.
  var hasUnarmed = false

  var isEmpty: Bool { count == 0 }

  subscript(endpoint: EndpointIndex) -> SessionClosing? {
    get { entries.indices.contains(endpoint.position) ? entries[endpoint.position] : nil }
    set {
      let missing = endpoint.position + 1 - entries.count
      if missing > 0 {
        guard newValue != nil else { return }
        entries += repeatElement(nil, count: missing)
      }
      count += (newValue == nil ? 0 : 1) - (entries[endpoint.position] == nil ? 0 : 1)
      entries[endpoint.position] = newValue
    }
  }

  mutating func removeAll(where isGone: (SessionClosing) -> Bool) {
    guard !isEmpty else { return }
    for closing in entries.compactMap({ $0 }) where isGone(closing) { self[closing.endpoint] = nil }
  }
}

extension Worker {
  /// Schedules the resets of an endpoint's sessions. They are searched for at the end of the turn, once for all
  /// endpoints that have gone down in it.
  func closeSessions(_ closing: SessionClosing) {
    guard isCurrent(closing) else { return }
    var closing = closing
    closing.toldAt = core.now
    closings[closing.endpoint] = closing
    closings.hasUnarmed = true
  }

  /// Searches once for the sessions of all endpoints that have gone down in this turn.
  func armClosings() {
    guard closings.hasUnarmed else { return }
    closings.hasUnarmed = false
    guard !closings.isEmpty else { return }
    var next = sessions.nextIndex(from: 0)
    while let index = next {
      next = sessions.nextIndex(from: index + 1)
      guard let session = sessions.find(index), session.pointee.state == .relaying,
        let endpoint = session.pointee.endpoint, closings[endpoint] != nil
      else { continue }
      rearm(index)
    }
  }

  /// Cancels the resets of the sessions that an endpoint still has. Their timers find nothing to do.
  func keepSessions(of endpoint: EndpointIndex) {
    closings[endpoint] = nil
  }

  /// Forgets endpoints whose slots belong to other endpoints now.
  func reviewClosings() {
    closings.removeAll { !isCurrent($0) }
  }

  private func isCurrent(_ closing: SessionClosing) -> Bool {
    core.view.endpoints.indices.contains(closing.endpoint.position)
      && core.view.endpoints[closing.endpoint.position].state === closing.state
  }

  /// When a session is reset because its endpoint is down, `distantFuture` if it is not.
  func closingMoment(of session: inout Session, at index: Int) -> Instant {
    guard !closings.isEmpty, session.state == .relaying,
      session.flags.contains(.holdsEndpointPlace), let endpoint = session.endpoint,
      let closing = closings[endpoint], session.attemptBeganAt <= closing.toldAt
    else { return .distantFuture }
    let token = Token(.downstream, index: index, generation: session.downstream.generation)
    return closing.moment(for: token, seed: core.settings.seed)
  }
}
