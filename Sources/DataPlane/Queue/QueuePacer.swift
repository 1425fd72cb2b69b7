// SPDX-License-Identifier: Apache-2.0
// What the control loop does for the queue of an upstream, for all workers together: what must be paced, and
// what no worker sees.
//
//   - Sessions that wait for an endpoint go on at the hold's rate once there is one, so that a server that
//     has just started is not overrun by all that have waited for it. Those that came later follow
//     faster and faster: there may be more of them than the rate lets go, and they would wait for
//     no other reason than that others do.
//   - Where connecting fails although nothing speaks against the endpoints (they are not checked, or the
//     checks have not noticed yet), the head goes as a probe, now and then, and the others follow once a
//     connection stands.
//   - Sessions that wait for a place are handed those that other sessions give up. Places that come from
//     elsewhere (an endpoint comes up, a reload raises a bound) are handed out here; now and then also at
//     endpoints that have failed the sessions before.
//
// Pure but for the queue: time and topology go in, grants and the next time to look come out.

import Balancing
import Reactor

/// The pace at which one upstream's queue is emptied. One thread uses it.
public struct QueuePacer {
  /// How long the head waits before it tries again what has failed.
  static let probeNanoseconds: UInt64 = 250_000_000
  /// How often it is looked whether something has changed.
  static let lookNanoseconds: UInt64 = 20_000_000
  /// How long an empty queue is attended to, in case something comes again.
  static let lingerNanoseconds: UInt64 = 1_000_000_000

  /// Whose queue it is.
  public let upstream: UpstreamState
  private var picker: EndpointPicker?
  private var random: SplitMix64
  private var nextProbeAt: Instant
  private var nextReleaseAt: Instant
  private var wasAvailable = true
  /// Whether nothing was served for a while, so that the sessions that wait are a crowd.
  private var hasBeenAway = false
  private var failingSince: Instant?
  /// The last one of the crowd, in the order of arrival.
  private var crowdEnd: UInt32?
  private var growth = PaceGrowth()
  /// Whether the last look was at sessions that go on at the rate: only then may a late look make up for it.
  private var isPacing = false
  private var emptySince: Instant?

  /// Attends to a queue that a session has entered (`WorkerReport.waiting`).
  public init(_ upstream: UpstreamState, now: Instant) {
    self.upstream = upstream
    random = SplitMix64(seed: now.nanoseconds)
    nextProbeAt = now.advanced(by: QueuePacer.probeNanoseconds)
    nextReleaseAt = now
  }

  /// Hands out what is due. `post` leaves a message for a worker and returns whether it could.
  /// Returns when to be called again; `nil` when nothing waits any more: then a new report will come.
  public mutating func look(
    _ topology: Topology, now: Instant, post: (_ worker: Int, WorkerMessage) -> Bool
  ) -> Instant? {
    guard let plan = topology.upstreams.first(where: { $0.state === upstream }) else {
      // No session can have waited for what is gone for good.
      return upstream.queue.giveUpAttending() ? nil : soon(now)
    }
    let wasPacing = isPacing
    isPacing = false
    guard let head = upstream.queue.head else { return lookAfterEmpty(now) }
    emptySince = nil
    guard noteAvailability(plan, topology, now) else {
      if plan.hold != nil {
        upstream.queue.await(.endpoint, at: now)
      } else if now >= nextProbeAt {
        // Without a hold there is nothing to wait for: their workers end them.
        nextProbeAt = now.advanced(by: QueuePacer.probeNanoseconds)
        for waiter in upstream.queue.waiters() { _ = post(waiter.worker, .giveUp(waiter.token)) }
      }
      return soon(now)
    }
    switch head.kind {
    case .place:
      let isProbe = now >= nextProbeAt
      if isProbe {
        nextProbeAt = now.advanced(by: QueuePacer.probeNanoseconds)
        handOut(.place, 1, ignoringTried: true, plan, topology, now, post)
      }
      handOut(.place, .max, plan, topology, now, post)
      return soon(now)
    case .endpoint where failingSince != nil:
      if now >= nextProbeAt {
        nextProbeAt = now.advanced(by: QueuePacer.probeNanoseconds)
        handOut(.endpoint, 1, ignoringTried: true, plan, topology, now, post)
      }
      return soon(now)
    case .endpoint:
      isPacing = true
      if !wasPacing { nextReleaseAt = max(nextReleaseAt, now) }
      if hasBeenAway {
        hasBeenAway = false
        crowdEnd = upstream.queue.lastSequence
      }
      let isOfCrowd = crowdEnd.map { Int32(bitPattern: head.sequence &- $0) <= 0 } ?? false
      if isOfCrowd {
        growth = PaceGrowth()
      } else {
        growth.look(now: now, failures: upstream.queue.failures)
      }
      releaseDue(plan, topology, now, post)
      return max(nextReleaseAt, now.advanced(by: 1_000_000))
    }
  }

  @discardableResult
  private mutating func handOut(
    _ kind: WaitQueue.Kind, _ max: Int, ignoringTried: Bool = false, _ plan: Upstream,
    _ topology: Topology, _ now: Instant, _ post: (_ worker: Int, WorkerMessage) -> Bool
  ) -> (granted: Int, isFull: Bool) {
    var picker = self.picker ?? EndpointPicker(plan, offset: 0)
    if picker.turnsVersion != plan.turnsVersion { picker = EndpointPicker(plan, offset: 0) }
    var random = self.random
    defer {
      self.picker = picker
      self.random = random
    }
    let position = topology.upstreams.firstIndex { $0.state === upstream }
    guard let position else { return (0, false) }
    return topology.handOut(
      kind, max: max, ignoringTried: ignoringTried, ofUpstream: position, picker: &picker, at: now,
      random: &random, post: post)
  }

  /// Finds out whether an endpoint may serve those that wait. Returns whether one may, as far as is known.
  private mutating func noteAvailability(
    _ plan: Upstream, _ topology: Topology, _ now: Instant
  ) -> Bool {
    let isAvailable = topology.mayServe(plan)
    if isAvailable, !wasAvailable {
      // What has failed before says nothing about an endpoint that is back.
      upstream.queue.isFailing = false
      upstream.queue.forgetTried()
      nextProbeAt = now
      nextReleaseAt = now
    }
    wasAvailable = isAvailable
    if isAvailable, upstream.queue.isFailing {
      // One session that has failed while others are served makes no crowd: the next one that is connected
      // puts an end to it, a probe at the latest.
      let since = failingSince ?? now
      failingSince = since
      if now.nanoseconds(since: since) >= QueuePacer.probeNanoseconds { hasBeenAway = true }
    } else {
      failingSince = nil
      if !isAvailable { hasBeenAway = true }
    }
    return isAvailable
  }

  private func soon(_ now: Instant) -> Instant {
    now.advanced(by: QueuePacer.lookNanoseconds)
  }

  private mutating func lookAfterEmpty(_ now: Instant) -> Instant? {
    let since = emptySince ?? now
    emptySince = since
    if now.nanoseconds(since: since) >= QueuePacer.lingerNanoseconds,
      upstream.queue.giveUpAttending()
    {
      return nil
    }
    return soon(now)
  }

  /// Hands out to as many as the rate allows by now. What was missed is not made up for, but for what
  /// falls between two looks.
  private mutating func releaseDue(
    _ plan: Upstream, _ topology: Topology, _ now: Instant,
    _ post: (_ worker: Int, WorkerMessage) -> Bool
  ) {
    let interval = growth.interval(of: plan.hold?.intervalNanoseconds ?? 0)
    let earliest = now.nanoseconds &- min(now.nanoseconds, QueuePacer.lookNanoseconds)
    if nextReleaseAt.nanoseconds < earliest { nextReleaseAt = Instant(nanoseconds: earliest) }
    while nextReleaseAt <= now {
      let (granted, isFull) = handOut(
        .endpoint, 1, ignoringTried: true, plan, topology, now, post)
      guard granted == 1 else {
        // Endpoints are available, and what is left to wait for is a place.
        if isFull, plan.queue != nil { upstream.queue.await(.place, at: now) }
        return nextReleaseAt = now
      }
      growth.noteRelease()
      nextReleaseAt = nextReleaseAt.advanced(by: interval)
    }
  }
}

/// How much faster than the hold's rate those go on that have come after the crowd: twice as fast every
/// quarter of a second, as long as no more than half of them fail.
struct PaceGrowth {
  /// How long a pace is kept.
  static let stepNanoseconds: UInt64 = 250_000_000
  /// The shortest time from one that goes on to the next, in nanoseconds.
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

  /// A session goes on.
  mutating func noteRelease() {
    released += 1
  }

  /// From one that goes on to the next, where that is `interval` at the hold's rate.
  func interval(of interval: UInt64) -> UInt64 {
    max(interval >> UInt64(doublings), PaceGrowth.intervalMin)
  }
}
