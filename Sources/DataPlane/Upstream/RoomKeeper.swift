// SPDX-License-Identifier: Apache-2.0
// Who attends to a waiting room, for all workers together: what must be paced, and what no worker sees.
//
//   - Those who wait for an endpoint go on at the hold's rate once there is one, so that a server that
//     has just started is not run over by all who have waited for it. Those who have come since then follow
//     faster and faster: there may be more of them than the rate lets go, and they would have to wait for
//     no other reason than that others do.
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
  /// Whether nobody was served for a while, so that those who wait are a crowd.
  private var hasBeenAway = false
  private var failingSince: Instant?
  /// The last one of the crowd, in the order of arrival.
  private var crowdEnd: UInt32?
  private var growth = PaceGrowth()
  /// Whether the last look was at those who go on at the rate: only then may a late look make up for it.
  private var isPacing = false
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
    let wasPacing = isPacing
    isPacing = false
    guard let head = upstream.room.head else { return lookAfterEmpty(now) }
    emptySince = nil
    guard noteAvailability(plan, topology, now) else {
      // Without a hold, who waits must learn that there is nothing to wait for.
      if plan.hold == nil {
        if now >= nextProbeAt { releaseProbe(now, post) }
      } else {
        upstream.room.holdAll(at: now)
      }
      return soon(now)
    }
    switch head.kind {
    case .hold where failingSince != nil, .queue:
      if now >= nextProbeAt { releaseProbe(now, post) }
      return soon(now)
    case .hold:
      isPacing = true
      if !wasPacing { nextReleaseAt = max(nextReleaseAt, now) }
      if hasBeenAway {
        hasBeenAway = false
        crowdEnd = upstream.room.lastSequence
      }
      let isOfCrowd = crowdEnd.map { Int32(bitPattern: head.sequence &- $0) <= 0 } ?? false
      if isOfCrowd {
        growth = PaceGrowth()
      } else {
        growth.look(now: now, failures: upstream.room.failures)
      }
      releaseDue(plan, now, post)
      return max(nextReleaseAt, now.advanced(by: 1_000_000))
    }
  }

  /// Finds out whether somebody may serve those who wait. Returns whether endpoints are there, as far as
  /// anybody knows.
  private mutating func noteAvailability(
    _ plan: Upstream, _ topology: Topology, _ now: Instant
  ) -> Bool {
    let isAvailable = topology.mayServe(plan)
    if isAvailable, !wasAvailable {
      // What has failed before says nothing about who is back.
      upstream.room.isFailing = false
      nextProbeAt = now
      nextReleaseAt = now
    }
    wasAvailable = isAvailable
    if isAvailable, upstream.room.isFailing {
      // One session that has failed while others are served makes no crowd: the next one that is connected
      // puts an end to it, a probe at the latest.
      let since = failingSince ?? now
      failingSince = since
      if now.nanoseconds(since: since) >= RoomKeeper.probeNanoseconds { hasBeenAway = true }
    } else {
      failingSince = nil
      if !isAvailable { hasBeenAway = true }
    }
    return isAvailable
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
    if upstream.release(.hold, because: .perhaps, post: post) { return }
    _ = upstream.release(.queue, because: .perhaps, post: post)
  }

  /// Releases as many as the rate allows by now. What was missed is not made up for, but for what
  /// falls between two looks.
  private mutating func releaseDue(
    _ plan: Upstream, _ now: Instant, _ post: (Int, WorkerMessage) -> Bool
  ) {
    let interval = growth.interval(of: plan.hold?.intervalNanoseconds ?? 0)
    let earliest = now.nanoseconds &- min(now.nanoseconds, RoomKeeper.lookNanoseconds)
    if nextReleaseAt.nanoseconds < earliest { nextReleaseAt = Instant(nanoseconds: earliest) }
    while nextReleaseAt <= now {
      guard upstream.release(.hold, because: .perhaps, post: post) else {
        return nextReleaseAt = now
      }
      growth.noteRelease()
      nextReleaseAt = nextReleaseAt.advanced(by: interval)
    }
  }
}

/// How much faster than the hold's rate those go on who have come after the crowd: twice as fast every
/// quarter of a second, as long as no more than half of them fail.
struct PaceGrowth {
  /// How long a pace is kept.
  static let stepNanoseconds: UInt64 = 250_000_000
  /// Nobody goes on sooner after another than so many nanoseconds.
  static let intervalMin: UInt64 = 1000

  private(set) var doublings = 0
  private var stepBeganAt: Instant?
  private var failuresBefore = 0
  private var released = 0

  /// Looks whether it is time for another pace. `failures` is how many sessions have failed ever.
  mutating func look(now: Instant, failures: Int) {
    guard let stepBeganAt else {
      stepBeganAt = now
      failuresBefore = failures
      return
    }
    guard now.nanoseconds(since: stepBeganAt) >= PaceGrowth.stepNanoseconds else { return }
    doublings = 2 * (failures &- failuresBefore) > released ? 0 : min(doublings + 1, 20)
    self.stepBeganAt = now
    failuresBefore = failures
    released = 0
  }

  /// Somebody goes on.
  mutating func noteRelease() {
    released += 1
  }

  /// From one that goes on to the next, where that is `interval` at the hold's rate.
  func interval(of interval: UInt64) -> UInt64 {
    max(interval >> UInt64(doublings), PaceGrowth.intervalMin)
  }
}

extension UpstreamState {
  /// Lets the head of the waiting room go, if it waits for this. Returns whether it does.
  func release(
    _ kind: WaitingRoom.Kind, because cause: WaitingRoom.Cause,
    post: (_ worker: Int, WorkerMessage) -> Bool
  ) -> Bool {
    guard let next = room.release(kind, because: cause) else { return false }
    let admission = Admission(upstream: self, token: next.token, ticket: next.ticket)
    guard post(next.worker, .admit(admission)) else {
      room.takeBack(next.ticket)
      return false
    }
    return true
  }
}

extension Topology {
  /// Whether an endpoint of an upstream may get sessions, full or not. Takes no longer for more endpoints.
  func mayServe(_ upstream: Upstream) -> Bool {
    upstream.state.serving != .none && upstream.rosters.contains { $0.usableTotal > 0 }
  }
}
