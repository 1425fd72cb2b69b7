// SPDX-License-Identifier: Apache-2.0
// Who attends to a waiting room, for all workers together: what must be paced, and what no worker sees.
//
//   - Those who wait for an endpoint go on at the hold's rate once there is one, so that a server that
//     has just started is not run over by all who have waited for it.
//   - Where connecting fails although nothing speaks against the endpoints (they are not checked, or the
//     checks have not noticed yet), the head goes as a probe, now and then, and the others follow once a
//     connection stands.
//   - Those who wait for a place are released by the sessions that end. Now and then the head looks all the
//     same, because places also come from elsewhere: endpoints come up, and reloads raise bounds.
//
// Pure but for the room: time and topology go in, releases and the next time to look come out.

import Reactor

/// The pace at which one upstream's waiting room is emptied. One thread uses it.
public struct RoomKeeper {
  /// How long the head waits before it tries again what has failed.
  static let probeNanoseconds: UInt64 = 250_000_000
  /// How often it is looked whether something has changed.
  static let lookNanoseconds: UInt64 = 20_000_000
  /// How long an empty room is attended to, in case somebody comes again.
  static let lingerNanoseconds: UInt64 = 1_000_000_000

  /// Whose room it is.
  public let upstream: UpstreamState
  private var nextProbeAt: Instant
  private var nextReleaseAt: Instant
  private var wasAvailable = true
  private var emptySince: Instant?

  /// Attends to a room that somebody has entered (`WorkerReport.waiting`).
  public init(_ upstream: UpstreamState, now: Instant) {
    self.upstream = upstream
    nextProbeAt = now.advanced(by: RoomKeeper.probeNanoseconds)
    nextReleaseAt = now
  }

  /// Releases whose time has come. `post` leaves a message for a worker and returns whether it could.
  /// Returns when to be called again; `nil` when nobody waits any more: then a new report will come.
  public mutating func look(
    _ topology: Topology, now: Instant, post: (_ worker: Int, WorkerMessage) -> Bool
  ) -> Instant? {
    guard let plan = topology.upstreams.first(where: { $0.state === upstream }) else {
      // Nobody can have waited for what is gone for good.
      return upstream.room.giveUpAttending() ? nil : soon(now)
    }
    guard let head = upstream.room.headKind else { return lookAfterEmpty(now) }
    emptySince = nil
    let isAvailable = topology.mayServe(plan)
    if isAvailable, !wasAvailable {
      // What has failed before says nothing about who is back.
      upstream.room.isFailing = false
      nextProbeAt = now
      nextReleaseAt = now
    }
    wasAvailable = isAvailable
    guard isAvailable else {
      // Without a hold, who waits must learn that there is nothing to wait for.
      if plan.hold == nil, now >= nextProbeAt { releaseProbe(now, post) }
      return soon(now)
    }
    switch head {
    case .hold where upstream.room.isFailing, .queue:
      if now >= nextProbeAt { releaseProbe(now, post) }
      return soon(now)
    case .hold:
      releaseDue(plan, now, post)
      return max(nextReleaseAt, now.advanced(by: 1_000_000))
    }
  }

  private func soon(_ now: Instant) -> Instant {
    now.advanced(by: RoomKeeper.lookNanoseconds)
  }

  private mutating func lookAfterEmpty(_ now: Instant) -> Instant? {
    let since = emptySince ?? now
    emptySince = since
    if now.nanoseconds(since: since) >= RoomKeeper.lingerNanoseconds,
      upstream.room.giveUpAttending()
    {
      return nil
    }
    return soon(now)
  }

  private mutating func releaseProbe(_ now: Instant, _ post: (Int, WorkerMessage) -> Bool) {
    nextProbeAt = now.advanced(by: RoomKeeper.probeNanoseconds)
    if !upstream.release(.hold, post: post) { _ = upstream.release(.queue, post: post) }
  }

  /// Releases as many as the rate allows by now. What was missed is not made up for, but for what
  /// falls between two looks.
  private mutating func releaseDue(
    _ plan: Upstream, _ now: Instant, _ post: (Int, WorkerMessage) -> Bool
  ) {
    let interval = plan.hold?.intervalNanoseconds ?? 0
    let earliest = now.nanoseconds &- min(now.nanoseconds, RoomKeeper.lookNanoseconds)
    if nextReleaseAt.nanoseconds < earliest { nextReleaseAt = Instant(nanoseconds: earliest) }
    while nextReleaseAt <= now {
      guard upstream.release(.hold, post: post) else { return nextReleaseAt = now }
      nextReleaseAt = nextReleaseAt.advanced(by: max(1, interval))
    }
  }
}

extension UpstreamState {
  /// Lets the head of the waiting room go, if it waits for this. Returns whether it does.
  func release(
    _ kind: WaitingRoom.Kind, post: (_ worker: Int, WorkerMessage) -> Bool
  ) -> Bool {
    guard let next = room.release(kind) else { return false }
    let admission = Admission(upstream: self, token: next.token, ticket: next.ticket)
    guard post(next.worker, .admit(admission)) else {
      room.takeBack(next.ticket)
      return false
    }
    return true
  }
}

extension Topology {
  /// Whether an endpoint of an upstream may get sessions, full or not.
  func mayServe(_ upstream: Upstream) -> Bool {
    let serving = upstream.state.serving
    guard serving != .none else { return false }
    return upstream.tiers.contains { tier in
      tier.contains { member in
        member.weight > 0
          && (serving == .panic
            || endpoints[member.endpoint.position].state.availability == .up)
      }
    }
  }
}
