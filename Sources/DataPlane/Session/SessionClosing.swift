// SPDX-License-Identifier: Apache-2.0
// Closing the sessions of an endpoint that went down (`on_down`), spread over some time: all at once,
// their clients would come back at once, to endpoints that have to do with one fewer already.
//
// When a session's turn comes follows from its token, so that nothing is kept for it: a worker remembers
// the endpoint, and a session's timer asks when that is. What recovers meanwhile keeps whom it still has.

import Balancing
import Plan
import Reactor

/// Which sessions are to be reset, and when. The same for all workers; any one of them is told by message.
public struct SessionClosing: Sendable {
  /// Whose sessions.
  public let endpoint: EndpointIndex
  /// Tells the endpoint from others that get its slot later.
  let state: EndpointState
  /// Sessions whose attempt to connect to the endpoint began after this moment are left alone: it is when the
  /// worker was told, so that it means those, too, that were given the endpoint before the verdict and
  /// connected after it.
  fileprivate(set) var toldAt: Instant
  /// When the first ones are reset.
  let beginsAt: Instant
  /// Over how long they are reset.
  let overNanoseconds: UInt64

  /// What a policy wants for the sessions of an endpoint that is found to be down at `now`; `nil` if they
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

  /// When a session's turn comes. `seed` tells workers apart.
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
  /// Whether some of them were not looked for among the sessions yet.
  var hasNews = false

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
  /// Has the sessions of an endpoint reset when their time comes: those that there are at the end of the
  /// turn, for endpoints go down together.
  func closeSessions(_ closing: SessionClosing) {
    guard isCurrent(closing) else { return }
    var closing = closing
    closing.toldAt = core.now
    closings[closing.endpoint] = closing
    closings.hasNews = true
  }

  /// Looks once for the sessions of all endpoints that have gone down in this turn.
  func armClosings() {
    guard closings.hasNews else { return }
    closings.hasNews = false
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

  /// Leaves the sessions alone that an endpoint still has. Their timers find nothing to do.
  func keepSessions(of endpoint: EndpointIndex) {
    closings[endpoint] = nil
  }

  /// Forgets what is about endpoints whose slots are others' now.
  func reviewClosings() {
    closings.removeAll { !isCurrent($0) }
  }

  private func isCurrent(_ closing: SessionClosing) -> Bool {
    core.view.endpoints.indices.contains(closing.endpoint.position)
      && core.view.endpoints[closing.endpoint.position].state === closing.state
  }

  /// When a session is to be reset because its endpoint is down, `distantFuture` if that is not so.
  func closingMoment(of session: inout Session, at index: Int) -> Instant {
    guard !closings.isEmpty, session.state == .relaying,
      session.flags.contains(.holdsEndpointPlace), let endpoint = session.endpoint,
      let closing = closings[endpoint], session.attemptBeganAt <= closing.toldAt
    else { return .distantFuture }
    let token = Token(.downstream, index: index, generation: session.downstream.generation)
    return closing.moment(for: token, seed: core.settings.seed)
  }
}
