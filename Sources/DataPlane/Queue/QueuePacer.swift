// SPDX-License-Identifier: Apache-2.0
// The control loop's part in the queue of an upstream, for all workers together: it paces releases, and hands
// out places that no worker sees become free.
//
//   - Sessions that wait for an endpoint are released at the hold's rate once one is available, so that a
//     server that has just started is not overrun by all the sessions that have waited for it. Sessions that
//     arrived later are released faster and faster: more may arrive than the rate releases, and the queue
//     would never become empty.
//   - Where connecting fails although the endpoints count as up (they are not checked, or the checks have not
//     noticed yet), the head is released as a probe from time to time. The others follow once a connection is
//     established.
//   - Sessions that wait for a place get the places that other sessions free. Places from other causes (an
//     endpoint comes up, a reload raises a bound) are handed out here; from time to time also at endpoints
//     that have failed the sessions before.
//
// Pure except for the queue: the input is the time and the topology, the output grants and the next time to
// look.

import Balancing
import Reactor

/// The pace at which one upstream's queue is emptied. One thread uses it.
public struct QueuePacer {
  /// How long the head waits before it tries again what has failed.
  static let probeNanoseconds: UInt64 = 250_000_000
  /// The interval between two looks at the queue.
  static let lookNanoseconds: UInt64 = 20_000_000
  /// How long an empty queue is still attended to, in case a session enters it again.
  static let lingerNanoseconds: UInt64 = 1_000_000_000

  /// The upstream of the queue.
  public let upstream: UpstreamState
  private var picker: EndpointPicker?
  private var random: SplitMix64
  private var nextProbeAt: Instant
  private var nextReleaseAt: Instant
  private var wasAvailable = true
  /// Whether no session was served for a while, so that the sessions that wait now are the crowd.
  private var hasBeenAway = false
  private var failingSince: Instant?
  /// The last session of the crowd, in the order of arrival.
  private var crowdEnd: UInt32?
  private var growth = PaceGrowth()
  /// Whether the last look released sessions at the rate: only then may a late look make up for the delay.
  private var isPacing = false
  private var emptySince: Instant?

  /// A pacer for a queue that a session has entered (`WorkerReport.waiting`).
  public init(_ upstream: UpstreamState, now: Instant) {
    self.upstream = upstream
    random = SplitMix64(seed: now.nanoseconds)
    nextProbeAt = now.advanced(by: QueuePacer.probeNanoseconds)
    nextReleaseAt = now
  }

  /// Hands out the places that are due. `post` leaves a message for a worker and returns whether it could.
  /// Returns when to call again; `nil` when no session waits any more: then a new report will come.
  public mutating func look(
    _ topology: Topology, now: Instant, post: (_ worker: Int, WorkerMessage) -> Bool
  ) -> Instant? {
    guard let plan = topology.upstreams.first(where: { $0.state === upstream }) else {
      // No session can wait for an upstream that was removed for good.
      return upstream.queue.giveUpAttending() ? nil : soon(now)
    }
    let wasPacing = isPacing
    isPacing = false
    guard let head = upstream.queue.head else { return lookAfterEmpty(now) }
    emptySince = nil
    guard noteAvailability(plan, topology, now) else {
      if plan.hold != nil {
        upstream.queue.setKind(.endpoint, at: now)
      } else if now >= nextProbeAt {
        // Without a hold there is nothing to wait for: the workers end these sessions.
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

  /// Updates whether an endpoint may serve the sessions that wait, and returns it.
  private mutating func noteAvailability(
    _ plan: Upstream, _ topology: Topology, _ now: Instant
  ) -> Bool {
    let isAvailable = topology.mayServe(plan)
    if isAvailable, !wasAvailable {
      // Earlier failures say nothing about an endpoint that is available again.
      upstream.queue.isFailing = false
      upstream.queue.forgetTried()
      nextProbeAt = now
      nextReleaseAt = now
    }
    wasAvailable = isAvailable
    if isAvailable, upstream.queue.isFailing {
      // A single session that fails while others are served makes no crowd: the next connection that is
      // established ends this state, that of a probe at the latest.
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

  /// Releases as many sessions as the rate allows by now. A delay is made up for only as far as the interval
  /// between two looks.
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
        // Endpoints are available but full: the sessions wait for a place from now on.
        if isFull, plan.queue != nil { upstream.queue.setKind(.place, at: now) }
        return nextReleaseAt = now
      }
      growth.noteRelease()
      nextReleaseAt = nextReleaseAt.advanced(by: interval)
    }
  }
}

/// How much faster than the hold's rate the sessions after the crowd are released: twice as fast every quarter
/// of a second, as long as no more than half of them fail.
struct PaceGrowth {
  /// How long a pace is kept.
  static let stepNanoseconds: UInt64 = 250_000_000
  /// The shortest interval between two releases, in nanoseconds.
  static let intervalMin: UInt64 = 1000

  private(set) var doublings = 0
  private var stepBeganAt: Instant?
  private var failuresBefore = 0
  private var released = 0

  /// Changes the pace if it is time. `failures` is how many sessions have failed since the start.
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

  /// A session was released.
  mutating func noteRelease() {
    released += 1
  }

  /// The interval between two releases, where it is `interval` at the hold's rate.
  func interval(of interval: UInt64) -> UInt64 {
    max(interval >> UInt64(doublings), PaceGrowth.intervalMin)
  }
}
