// SPDX-License-Identifier: Apache-2.0
// Where sessions of an upstream wait that cannot have an endpoint now: in the order of their arrival,
// over all workers, because each place that becomes free is for whoever has waited longest and not for
// a worker. Sessions stay with their workers; the room knows them by worker and token.
//
//               enter                release                 admit           settle
//     session ─────────▶ waiting ─────────────▶ released ─────────────▶ (gone) ─────▶ it has an
//        ▲                  │ leave                 │ leave                │          endpoint, or
//        │                  ▼                       ▼                      │          has ended
//        │                (gone)           (gone; the next one             │
//        └─────────────── returns to its place ◀────is released)───────────┘
//
// Released is who is at the head when there may be something for it; its worker is told and looks. Until
// it has looked it counts as ahead of all newcomers, who go behind it. Nobody who waits is forgotten:
//   - Who enters looks once more afterwards, if it is the first. Who frees a place looks, after that,
//     whether somebody waits. One of both sees the other.
//   - Who was released and has looked with success, or is gone, has the next one released. So whatever was
//     there for several goes through all of them.
//   - Who has freed a place has the head look for it, and several may look at once, each for its own. Whoever
//     looks without knowing of one (`Cause`) looks alone: in vain it goes back to the head, and nobody behind
//     it may have been served meanwhile. Places that are freed while it looks are counted, other reasons are
//     remembered; the last one who has looked hears of them and has the head look again.
//   - What nobody on a worker sees (an endpoint that comes up, a bound that is raised) the control loop
//     does, which attends to every room that is not empty.
//
// The lock is short and taken only by those who wait or release; all others read one atomic number.

import Reactor
import Synchronization

/// The sessions that wait for an endpoint of one upstream. Any thread.
public final class WaitingRoom: Sendable {
  /// What a session waits for.
  enum Kind: UInt8 {
    /// A place: every endpoint that could serve is full.
    case queue
    /// An endpoint: none is available.
    case hold
  }

  /// What became of entering.
  enum Entry: Equatable {
    /// As many wait already as may.
    case full
    /// The session waits. `isFirst`: nobody is ahead of it, so it must look once more. `isUnattended`:
    /// the control loop does not attend to the room yet and must be told.
    case entered(ticket: UInt32, sequence: UInt32, isFirst: Bool, isUnattended: Bool)
  }

  /// Why somebody is to look.
  enum Cause: Comparable {
    /// Another one was let in, so that there may be more. Not for who was let in before and failed: it would
    /// find the place of the one before, which has failed meanwhile, and both would take turns without end.
    case following
    /// There may be something.
    case perhaps
    /// A place became free.
    case place
  }

  /// One who looks.
  struct Look {
    fileprivate let kind: Kind
    fileprivate let cause: Cause
  }

  fileprivate struct Place {
    enum Stage { case vacant, waiting, released }
    var stage = Stage.vacant
    var kind = Kind.queue
    /// Why it was released, if it was.
    var cause = Cause.perhaps
    var worker: UInt16 = 0
    var sequence: UInt32 = 0
    var token = Token(rawValue: 0)
    /// Since when it waits for that, if the room has changed it (`holdAll`).
    var kindSince = Instant(nanoseconds: 0)
    /// It is here because an endpoint that it was let in to has failed it.
    var hasFailed = false
    /// Neighbours in the order of arrival, plus one; 0 if there is none. `next` also links vacant places.
    var next: UInt32 = 0
    var previous: UInt32 = 0
  }

  fileprivate struct State: ~Copyable {
    var places: [Place] = []
    var firstVacant: UInt32 = 0
    var head: UInt32 = 0
    var tail: UInt32 = 0
    /// Those who wait, by kind.
    var queued = 0
    var held = 0
    /// Those who were released and have not looked yet.
    var released = 0
    /// How many of these wait for a place, and whether one of them looks without knowing of any: then it is
    /// alone.
    var lookers = 0
    var isProbing = false
    /// How many places were freed, and why else somebody is to look, since nobody could be released.
    var placesFreed = 0
    var missed: Cause?
    var lastSequence: UInt32 = 0
    var lastKind = Kind.queue
    var isAttended = false
  }

  private let state = Lock(State())
  /// Those who wait and those who were released, together.
  private let ahead = Atomic<Int>(0)
  private let failing = Atomic<Bool>(false)
  private let failed = Atomic<Int>(0)

  init() {}

  // MARK: Looking

  /// Whether somebody is ahead of a newcomer.
  var isOccupied: Bool { ahead.load(ordering: .relaxed) > 0 }

  /// Whether somebody waits, asked by who has just freed a place.
  var isOccupiedAfterChange: Bool {
    // With the one in `enter`: a place was freed before this, or is looked for after that.
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    return isOccupied
  }

  /// Whether all endpoints have failed a session, and none has been connected since.
  var isFailing: Bool {
    get { failing.load(ordering: .relaxed) }
    set { failing.store(newValue, ordering: .relaxed) }
  }

  /// How many sessions have begun to wait after failed attempts, ever. It turns over.
  var failures: Int { failed.load(ordering: .relaxed) }

  /// A session begins to wait because its attempts have failed.
  func noteFailure() {
    failed.wrappingAdd(1, ordering: .relaxed)
  }

  /// How many wait for a place, and how many for an endpoint.
  public var waiting: (queued: Int, held: Int) {
    guard isOccupied else { return (0, 0) }
    return state.withLock { ($0.queued, $0.held) }
  }

  /// What the last one waits for who has come.
  var lastKind: Kind { state.withLock { $0.lastKind } }

  // MARK: Entering and leaving, on the session's worker

  /// Has a session wait. One that has waited before brings its `sequence` along and is back at its place.
  func enter(
    worker: Int, token: Token, kind: Kind, max: Int, sequence: UInt32? = nil,
    hasFailed: Bool = false
  ) -> Entry {
    let entry = state.withLock { state -> Entry in
      // Who was here before has been counted within the bound, and is not turned away by newcomers.
      guard sequence != nil || (kind == .queue ? state.queued : state.held) < max else {
        return .full
      }
      if sequence == nil { state.lastSequence &+= 1 }
      let sequence = sequence ?? state.lastSequence
      let isFirst = state.head == 0 && state.released == 0
      let ticket = state.add(
        Place(
          stage: .waiting, kind: kind, worker: UInt16(worker), sequence: sequence, token: token,
          hasFailed: hasFailed))
      state.lastKind = kind
      let isUnattended = !state.isAttended
      state.isAttended = true
      ahead.add(1, ordering: .relaxed)
      return .entered(
        ticket: ticket, sequence: sequence, isFirst: isFirst, isUnattended: isUnattended)
    }
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    return entry
  }

  /// A session waits no more, for a reason of its own. If it had been released, returns why: then the caller
  /// has the next one released in its place.
  func leave(_ ticket: UInt32) -> Cause? {
    state.withLock { state in
      let look = state.places[Int(ticket)].look
      state.remove(ticket)
      ahead.subtract(1, ordering: .relaxed)
      guard let look else { return nil }
      state.end(look)
      return max(look.cause, .perhaps)
    }
  }

  // MARK: Releasing, on any thread

  /// Lets the head go, if it waits for this. The caller tells its worker, or takes the release back.
  /// Where those who look come first, they hear of it (`settle`).
  func release(
    _ kind: Kind, because cause: Cause
  ) -> (worker: Int, token: Token, ticket: UInt32)? {
    state.withLock { state in
      guard kind == .hold || !state.leave(cause) else { return nil }
      guard state.head != 0 else { return nil }
      let head = state.places[Int(state.head) - 1]
      guard head.kind == kind, !(cause == .following && head.hasFailed) else { return nil }
      let ticket = state.head - 1
      state.unlink(ticket)
      state.places[Int(ticket)].stage = .released
      state.places[Int(ticket)].cause = cause
      state.begin(Look(kind: kind, cause: cause))
      let place = state.places[Int(ticket)]
      return (Int(place.worker), place.token, ticket)
    }
  }

  /// Whoever was released could not be told and waits again.
  func takeBack(_ ticket: UInt32) {
    state.withLock { state in
      guard let look = state.places[Int(ticket)].look else {
        preconditionFailure("nobody was released")
      }
      state.places[Int(ticket)].stage = .waiting
      state.end(look)
      state.link(ticket)
    }
  }

  /// A session that was released is about to look. It counts as ahead of newcomers until `settle`. Returns
  /// `nil`, and then nothing is to be settled, if it has not been released after all.
  func admit(_ ticket: UInt32) -> Look? {
    state.withLock { state in
      guard let look = state.places[Int(ticket)].look else { return nil }
      state.remove(ticket)
      return look
    }
  }

  /// A session that was admitted has looked, whatever came of it. Returns why the caller has the head look
  /// again, if something may have been missed.
  @discardableResult
  func settle(_ look: Look) -> Cause? {
    state.withLock { state in
      ahead.subtract(1, ordering: .relaxed)
      guard state.end(look) else { return nil }
      if state.placesFreed > 0 {
        state.placesFreed -= 1
        // Another one may have found it.
        return .perhaps
      }
      return state.missed.take()
    }
  }

  /// What a session waits for here, and since when, if the room has changed that.
  func stay(of ticket: UInt32) -> (kind: Kind, kindSince: Instant) {
    state.withLock { state in
      let place = state.places[Int(ticket)]
      assert(place.stage != .vacant)
      return (place.kind, place.kindSince)
    }
  }

  // MARK: Attending, on the control loop

  /// What the head waits for, `nil` if nobody waits.
  var headKind: Kind? { head?.kind }

  /// The same, and where that one is in the order.
  var head: (kind: Kind, sequence: UInt32)? {
    state.withLock { state in
      guard state.head != 0 else { return nil }
      let place = state.places[Int(state.head) - 1]
      return (place.kind, place.sequence)
    }
  }

  /// The last number that was given in the order of arrival.
  var lastSequence: UInt32 { state.withLock { $0.lastSequence } }

  /// None is available: from now on those who have waited for a place wait for an endpoint. Takes as long
  /// as there are such; their workers find out when they look at them next.
  func holdAll(at now: Instant) {
    state.withLock { state in
      state.lastKind = .hold
      guard state.queued > 0 else { return }
      var next = state.head
      while next != 0 {
        let position = Int(next) - 1
        next = state.places[position].next
        guard state.places[position].kind == .queue else { continue }
        state.places[position].kind = .hold
        state.places[position].kindSince = now
      }
      state.held += state.queued
      state.queued = 0
    }
  }

  /// Gives up attending, unless somebody is here. Returns whether it has.
  func giveUpAttending() -> Bool {
    state.withLock { state in
      guard state.head == 0, state.released == 0 else { return false }
      state.isAttended = false
      return true
    }
  }
}

extension WaitingRoom.Place {
  /// What it does, if it was released.
  fileprivate var look: WaitingRoom.Look? {
    stage == .released ? WaitingRoom.Look(kind: kind, cause: cause) : nil
  }
}

extension WaitingRoom.State {
  /// Leaves a reason to look with those who are looking for places. Returns false if it need not be left.
  mutating func leave(_ cause: WaitingRoom.Cause) -> Bool {
    guard lookers > 0 else { return false }
    guard cause == .place else {
      missed = max(missed ?? cause, cause)
      return true
    }
    guard isProbing || head == 0 else { return false }
    placesFreed = min(placesFreed + 1, queued + lookers)
    return true
  }

  mutating func begin(_ look: WaitingRoom.Look) {
    released += 1
    guard look.kind == .queue else { return }
    lookers += 1
    if look.cause < .place { isProbing = true }
  }

  /// Somebody looks no more. Returns whether that was the last one who did for a place.
  @discardableResult
  mutating func end(_ look: WaitingRoom.Look) -> Bool {
    released -= 1
    assert(released >= 0)
    if look.kind == .queue {
      lookers -= 1
      if look.cause < .place { isProbing = false }
    }
    assert(lookers >= 0 && lookers <= released)
    if head == 0, released == 0 {
      placesFreed = 0
      missed = nil
    }
    return look.kind == .queue && lookers == 0
  }

  /// Puts somebody at its place and returns the ticket.
  mutating func add(_ place: WaitingRoom.Place) -> UInt32 {
    let ticket: UInt32
    if firstVacant > 0 {
      ticket = firstVacant - 1
      firstVacant = places[Int(ticket)].next
      places[Int(ticket)] = place
    } else {
      ticket = UInt32(places.count)
      places.append(place)
    }
    link(ticket)
    return ticket
  }

  /// Vacates a place.
  mutating func remove(_ ticket: UInt32) {
    assert(places[Int(ticket)].stage != .vacant)
    if places[Int(ticket)].stage == .waiting { unlink(ticket) }
    places[Int(ticket)] = WaitingRoom.Place()
    places[Int(ticket)].next = firstVacant
    firstVacant = ticket + 1
  }

  /// Puts a place in the order: newcomers at the tail, those who are back near the head, where they were.
  mutating func link(_ ticket: UInt32) {
    let sequence = places[Int(ticket)].sequence
    var next = head
    if tail != 0, isEarlier(places[Int(tail) - 1].sequence, sequence) {
      next = 0
    } else {
      while next != 0, isEarlier(places[Int(next) - 1].sequence, sequence) {
        next = places[Int(next) - 1].next
      }
    }
    let previous = next == 0 ? tail : places[Int(next) - 1].previous
    places[Int(ticket)].next = next
    places[Int(ticket)].previous = previous
    if next == 0 { tail = ticket + 1 } else { places[Int(next) - 1].previous = ticket + 1 }
    if previous == 0 { head = ticket + 1 } else { places[Int(previous) - 1].next = ticket + 1 }
    if places[Int(ticket)].kind == .queue { queued += 1 } else { held += 1 }
  }

  mutating func unlink(_ ticket: UInt32) {
    let place = places[Int(ticket)]
    assert(place.stage == .waiting)
    if place.next == 0 { tail = place.previous }
    if place.previous == 0 { head = place.next }
    if place.next != 0 { places[Int(place.next) - 1].previous = place.previous }
    if place.previous != 0 { places[Int(place.previous) - 1].next = place.next }
    if place.kind == .queue { queued -= 1 } else { held -= 1 }
    assert(queued >= 0 && held >= 0)
  }

  /// Whether one number was given before another; they turn over.
  private func isEarlier(_ one: UInt32, _ other: UInt32) -> Bool {
    Int32(bitPattern: one &- other) < 0
  }
}
