// SPDX-License-Identifier: Apache-2.0
// One board for all that speaks for and against endpoints: what their checks say, what sessions have met
// there, and time. It alone sets `EndpointState.availability` and `share` and `UpstreamState.serving`, so
// that no two parts of the program can disagree about who serves; whoever has to act on a change is told.
//
//     checks ─────▶ ┌───────┐ ──▶ availability, share ──▶ workers' next pick
//     sessions ───▶ │ board │ ──▶ serving
//     time ───────▶ └───────┘ ──▶ sessions of who went down, log, metrics, readiness
//
// Two rules keep its sources from working against each other. An ejection is a guess from a few sessions,
// so it never takes an upstream its last endpoints: who is needed is not ejected, and who is needed later
// comes back at once. And a verdict of checks is newer than an ejection: who comes up by them serves.
//
// It has no clock and no task: whoever calls it says what time it is, and calls `advance` at `nextMoment`.

import Balancing
import DataPlane
import Logging
import Plan
import Reactor

/// Who may get sessions, and why. Everything here is for the loop's thread.
final class AvailabilityBoard {
  /// Why an endpoint is ejected no more.
  enum Return: String {
    case timeIsOver = "its time is over"
    case hasServed = "it has served a session"
    case isChecked = "its checks are good again"
    case isNeeded = "too few others are left"
    case configuration = "the configuration leaves out none"
  }

  /// How often shares that grow are set: every new session asks them.
  static let growthPause: UInt64 = 200_000_000

  private let logger: Logger
  private let tell: (BoardChange) -> Void
  private var rows: [String: BoardRow] = [:]
  /// By the identity of their states, which they hold.
  private var entries: [ObjectIdentifier: BoardEntry] = [:]
  private var checked: [HealthSubject.ID: BoardEntry] = [:]
  /// Those whose ejection is not over, in no order.
  private var ejected: [BoardEntry] = []
  /// Those whose share grows, in no order.
  private var growing: [BoardEntry] = []
  private var grewAt = Instant(nanoseconds: 0)
  private var hasBegun = false

  /// An empty board. `tell` is called with everything that others have to act on, after the states were
  /// set.
  init(logger: Logger, tell: @escaping (BoardChange) -> Void) {
    self.logger = logger
    self.tell = tell
  }

  // MARK: Who is on it

  /// From now on these are on the board, and no others. What is known of those that stay goes on. An
  /// endpoint that is new to an upstream which was there before has its share grow; at the first call there
  /// is none.
  func replace(with upstreams: [BoardedUpstream], at now: Instant) {
    let before = (rows: rows, entries: entries)
    (rows, entries, checked, ejected, growing) = ([:], [:], [:], [], [])
    for upstream in upstreams {
      let known = before.rows[upstream.plan.name].flatMap {
        $0.state === upstream.state ? $0 : nil
      }
      let row = known ?? BoardRow(upstream)
      let failuresMaxBefore = row.failuresMax
      var arrivals: [BoardEntry] = []
      let members = upstream.endpoints.map { subject in
        let entry = before.entries[ObjectIdentifier(subject.state)].flatMap {
          $0.row === row ? $0 : nil
        }
        if let entry { return entry }
        // It may have been gone for a while, with failures that nobody counts any more.
        subject.state.failuresInARow = 0
        arrivals.append(BoardEntry(subject, in: row))
        return arrivals[arrivals.count - 1]
      }
      row.follow(upstream, entries: members)
      rows[row.name] = row
      for (entry, subject) in zip(members, upstream.endpoints) {
        precondition(entries.updateValue(entry, forKey: ObjectIdentifier(entry.state)) == nil)
        if let id = subject.subject { checked[id] = entry }
        follow(entry, subject, isCountedAnew: row.failuresMax != failuresMaxBefore, at: now)
      }
      row.recount()
      if known != nil, hasBegun { for entry in arrivals { beginGrowth(entry, at: now) } }
      review(row, at: now)
    }
    hasBegun = true
  }

  /// Takes over what is new about an endpoint. The row is counted afterwards.
  private func follow(
    _ entry: BoardEntry, _ subject: BoardedEndpoint, isCountedAnew: Bool, at now: Instant
  ) {
    entry.subject = subject
    entry.isUp = subject.isUp
    if entry.history.isEjected {
      if entry.row.detector == nil || !subject.takesSessions {
        bringBack(entry, .configuration, at: now)
      } else {
        ejected.append(entry)
        if isCountedAnew { entry.state.failuresInARow = entry.row.failuresMax }
      }
    } else if isCountedAnew {
      entry.state.failuresInARow = 0
    }
    if entry.growsSince != nil {
      growing.append(entry)
    } else {
      // It may have been gone for a while, and have left while it grew.
      entry.state.share = SlowStart.whole
    }
    settle(entry, at: now)
  }

  // MARK: What comes in

  /// There is a verdict of checks. Ignored for who is not on the board.
  func note(_ id: HealthSubject.ID, isUp: Bool, at now: Instant) {
    guard let entry = checked[id], entry.isUp != isUp else { return }
    entry.isUp = isUp
    if isUp {
      entry.row.failing.removeAll { $0 === entry }
      if entry.history.isEjected {
        bringBack(entry, .isChecked, at: now)
      } else {
        entry.state.failuresInARow = 0
      }
    }
    settle(entry, at: now)
    review(entry.row, at: now)
  }

  /// As many sessions in a row have failed at an endpoint as its upstream allows.
  func noteFailing(_ state: EndpointState, at now: Instant) {
    guard let entry = entries[ObjectIdentifier(state)], entry.row.detector != nil,
      entry.subject.takesSessions, entry.availability == .up
    else { return }
    let row = entry.row
    guard !row.failing.contains(where: { $0 === entry }) else { return }
    row.failing.append(entry)
    review(row, at: now)
    guard entry.availability == .up, !row.isBoundTold else { return }
    row.isBoundTold = true
    logger.warning(
      "endpoint keeps failing and is not ejected",
      metadata: [
        "upstream": "\(row.name)", "endpoint": "\(entry.subject.name)",
        "cause": row.healthyCount <= row.needed ? "it is needed" : "enough others are",
        "healthy": "\(row.healthyCount)", "ejected": "\(row.ejectedCount)",
      ])
  }

  /// A session was served at an endpoint that had failed too often; its connection stood `since` then.
  func noteServed(_ state: EndpointState, since: Instant, at now: Instant) {
    guard let entry = entries[ObjectIdentifier(state)] else { return }
    entry.row.failing.removeAll { $0 === entry }
    guard entry.history.isEjected else { return }
    guard since.nanoseconds > entry.history.ejectedAt else {
      // A connection from before says nothing about what comes now. The next one is to be told, too.
      state.failuresInARow = entry.row.failuresMax
      return
    }
    bringBack(entry, .hasServed, at: now)
    settle(entry, at: now)
    review(entry.row, at: now)
  }

  // MARK: Time

  /// When `advance` is to be called, at the latest. Takes O(endpoints that are ejected).
  var nextMoment: Instant {
    var next = Instant.distantFuture
    for entry in ejected {
      if let end = entry.history.ejectedUntil { next = min(next, Instant(nanoseconds: end)) }
    }
    if !growing.isEmpty { next = min(next, grewAt.advanced(by: AvailabilityBoard.growthPause)) }
    return next
  }

  /// Does what is due: ejections end, shares grow.
  func advance(to now: Instant) {
    let due = ejected.filter { $0.history.ejectedUntil ?? .max <= now.nanoseconds }
    for entry in due {
      // Another one may have come back with it.
      guard entry.history.isEjected else { continue }
      bringBack(entry, .timeIsOver, at: now)
      settle(entry, at: now)
      review(entry.row, at: now)
    }
    guard !growing.isEmpty,
      now >= grewAt.advanced(by: AvailabilityBoard.growthPause)
    else { return }
    grewAt = now
    for entry in growing { grow(entry, at: now) }
    growing.removeAll { $0.growsSince == nil }
  }

  // MARK: What follows

  /// Ejects those who fail, in the order in which that was noticed, as far as they may be.
  private func ejectFailing(_ row: BoardRow, at now: Instant) {
    guard let detector = row.detector, !row.failing.isEmpty else { return }
    row.failing.removeAll { $0.availability != .up }
    while let entry = row.failing.first, detector.mayEject(row.tally) {
      row.failing.removeFirst()
      eject(entry, detector, at: now)
    }
  }

  private func eject(_ entry: BoardEntry, _ detector: OutlierDetector, at now: Instant) {
    let row = entry.row
    let end = detector.eject(&entry.history, at: now.nanoseconds)
    // Also when it was set in the meantime: who is served is told only from here on.
    entry.state.failuresInARow = row.failuresMax
    entry.ejectionCount += 1
    ejected.append(entry)
    row.noteEjected(true)
    row.isBoundTold = false
    let length = Duration.nanoseconds(Int64(clamping: end - now.nanoseconds))
    logger.warning(
      "endpoint is ejected",
      metadata: [
        "upstream": "\(row.name)", "endpoint": "\(entry.subject.name)",
        "failures": "\(row.failuresMax)", "for": "\(length.configurationText)",
      ])
    settle(entry, at: now)
  }

  /// Ends an ejection. `settle` and, once it is counted, `review` are to follow.
  private func bringBack(_ entry: BoardEntry, _ reason: Return, at now: Instant) {
    let row = entry.row
    // Another policy by now, or none, forgets by other numbers; that it ends is the same.
    let detector = row.detector ?? OutlierDetector(OutlierPlan())
    detector.release(&entry.history, at: now.nanoseconds)
    ejected.removeAll { $0 === entry }
    row.noteEjected(false)
    row.isBoundTold = false
    // One failure is enough to eject it again, unless it has proved itself.
    entry.state.failuresInARow =
      reason == .hasServed || reason == .configuration ? 0 : max(0, row.failuresMax - 1)
    guard entry.isUp else { return }
    logger.info(
      "endpoint is ejected no more",
      metadata: [
        "upstream": "\(row.name)", "endpoint": "\(entry.subject.name)",
        "cause": "\(reason.rawValue)",
      ])
  }

  /// Has workers see what speaks for and against an endpoint.
  private func settle(_ entry: BoardEntry, at now: Instant) {
    let (old, new) = (entry.state.availability, entry.availability)
    guard old != new else { return }
    entry.state.availability = new
    if entry.subject.takesSessions, (old == .up) != (new == .up) {
      entry.row.noteHealthy(new == .up)
    }
    if new == .up { beginGrowth(entry, at: now) } else { endGrowth(entry) }
    tell(.endpoint(entry.subject.index))
    guard entry.row.onDown != .keep else { return }
    if new == .down { tell(.closeSessions(entry.subject.index, entry.row.onDown)) }
    if old == .down { tell(.keepSessions(entry.subject.index)) }
  }

  /// Draws the consequences for an upstream whose numbers have changed.
  private func review(_ row: BoardRow, at now: Instant) {
    while let entry = row.neededAgain {
      bringBack(entry, .isNeeded, at: now)
      settle(entry, at: now)
    }
    ejectFailing(row, at: now)
    let (old, new) = (row.state.serving, row.serving)
    guard old != new else { return }
    row.state.serving = new
    tell(.upstream(row.position))
    let metadata: Logger.Metadata = [
      "upstream": "\(row.name)", "healthy": "\(row.healthyCount)", "endpoints": "\(row.count)",
    ]
    switch (old, new) {
    case (_, .panic):
      logger.error("so few endpoints are healthy that all are used", metadata: metadata)
    case (_, .none):
      logger.error("fewer endpoints are healthy than the quorum", metadata: metadata)
    case (.panic, _):
      logger.info("enough endpoints are healthy again", metadata: metadata)
    default:
      logger.info("the quorum is there", metadata: metadata)
    }
  }

  // MARK: Shares

  private func beginGrowth(_ entry: BoardEntry, at now: Instant) {
    guard hasBegun, entry.availability == .up, entry.growsSince == nil,
      entry.row.slowStartNanoseconds != nil
    else { return }
    if growing.isEmpty { grewAt = now }
    entry.growsSince = now
    growing.append(entry)
    grow(entry, at: now)
  }

  private func endGrowth(_ entry: BoardEntry) {
    guard entry.growsSince != nil else { return }
    entry.growsSince = nil
    growing.removeAll { $0 === entry }
    entry.state.share = SlowStart.whole
  }

  /// Sets the share that an endpoint has by now.
  private func grow(_ entry: BoardEntry, at now: Instant) {
    guard let since = entry.growsSince else { return }
    var share = SlowStart.whole
    if let window = entry.row.slowStartNanoseconds {
      share = SlowStart.share(
        elapsedNanoseconds: now.nanoseconds(since: since), windowNanoseconds: window)
    }
    if share == SlowStart.whole { entry.growsSince = nil }
    guard share != entry.state.share else { return }
    entry.state.share = share
    tell(.endpoint(entry.subject.index))
  }

  // MARK: What is known

  /// Upstreams, by name.
  func upstreamStandings() -> [String: UpstreamStanding] {
    rows.mapValues(\.standing)
  }

  /// Endpoints of upstreams whose failures are counted, by the identity of their state.
  func ejectionStandings() -> [ObjectIdentifier: EjectionStanding] {
    entries.filter { $0.value.row.failuresMax > 0 }.mapValues {
      EjectionStanding(isEjected: $0.history.isEjected, count: $0.ejectionCount)
    }
  }
}
