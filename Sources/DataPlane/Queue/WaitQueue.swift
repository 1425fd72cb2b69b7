// SPDX-License-Identifier: Apache-2.0
// The queue of an upstream: sessions that cannot get an endpoint now, in the order of their arrival over
// all workers. A place that becomes free is handed, still counted, to the session that has waited longest;
// no session is woken to look for a place itself.
//
//     session ── enter ──▶ waiting ── hand out, pass ──▶ granted ── claim ──▶ (connects)
//        ▲                    │ leave                       │ leave
//        │                    ▼                             ▼
//        │                 (gone)               left: the grant is refused when it arrives,
//        └── its attempt failed: back at its position       and its place is passed on
//
// Invariants:
//   1. A place is counted at its endpoint and upstream from the moment it is taken until it is given back,
//      and belongs to exactly one session, or to one grant on its way to a session's worker.
//   2. Once a session waits, only the queue gives it a place, and in order: an entry is passed over only if
//      all free places are at endpoints that have failed this session.
//   3. When nothing is in progress, no entry for a place waits while an endpoint that it may use has a free
//      one: every cause of a free place (a session that ends, an endpoint that comes up, a bound that is
//      raised, and an entry, which may come just after a place was freed) is followed by `handOut`.
//   4. An entry for an endpoint waits until the control loop hands out, at its pace (QueuePacer.swift).
//
// The lock is taken only to wait, and by a thread that frees a place while sessions wait; otherwise a thread
// reads one atomic number. A thread that frees a place gives it back and then reads this number. A session
// that enters is counted and then looks for places. Both have a fence in between (Dekker's pattern), so at
// least one of the two sees the other.

import Reactor
import Synchronization

/// The sessions that wait for an endpoint of one upstream. Any thread.
public final class WaitQueue: Sendable {
  /// What a session waits for.
  enum Kind: UInt8 {
    /// A place: every endpoint that could serve is full (`queue`).
    case place
    /// An endpoint: none is available (`hold`).
    case endpoint
  }

  /// The result of entering.
  enum Entry: Equatable {
    /// The queue is full.
    case full
    /// The session waits. `isUnattended`: the control loop does not attend to the queue yet and needs a
    /// report.
    case entered(ticket: UInt32, sequence: UInt32, isUnattended: Bool)
  }

  /// A session that waits.
  struct Waiter {
    let worker: Int
    let token: Token
    var kind: Kind
    /// The session's key, where the policy is a hash.
    let key: UInt64
    /// The endpoints that have failed the session.
    var tried: UInt64
    /// Whether it may try them again.
    var isProbe = false
  }

  fileprivate struct Slot {
    enum Stage { case vacant, waiting, granted, left }
    var stage = Stage.vacant
    var waiter = Waiter(worker: 0, token: Token(rawValue: 0), kind: .place, key: 0, tried: 0)
    /// Since when it waits for the kind in `waiter`.
    var since = Instant(nanoseconds: 0)
    var sequence: UInt32 = 0
    /// Neighbours in the order of arrival, plus one; 0 if there is none. `next` also links vacant slots.
    var next: UInt32 = 0
    var previous: UInt32 = 0
  }

  fileprivate struct State: ~Copyable {
    var slots: [Slot] = []
    var firstVacant: UInt32 = 0
    var head: UInt32 = 0
    var tail: UInt32 = 0
    var counts = (place: 0, endpoint: 0)
    var lastSequence: UInt32 = 0
    var lastKind = Kind.place
    var isAttended = false
  }

  private let state = Lock(State())
  private let count = Atomic<Int>(0)
  private let failing = Atomic<Bool>(false)
  private let failed = Atomic<Int>(0)

  init() {}

  // MARK: Looking

  /// Whether a session waits: then newcomers wait behind it.
  var isOccupied: Bool { count.load(ordering: .relaxed) > 0 }

  /// The same, asked after a place was given back.
  var isOccupiedAfterChange: Bool {
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    return isOccupied
  }

  /// Whether all endpoints have failed a session, and no connection has been established since.
  var isFailing: Bool {
    get { failing.load(ordering: .relaxed) }
    set { failing.store(newValue, ordering: .relaxed) }
  }

  /// How many sessions have begun to wait after failed attempts, since the start. Wraps around.
  var failures: Int { failed.load(ordering: .relaxed) }

  /// A session begins to wait because its attempts have failed.
  func noteFailure() {
    failed.wrappingAdd(1, ordering: .relaxed)
  }

  /// How many sessions wait for a place, and how many for an endpoint.
  public var waiting: (queued: Int, held: Int) {
    guard isOccupied else { return (0, 0) }
    return state.withLock { ($0.counts.place, $0.counts.endpoint) }
  }

  /// What the session that entered last waits for.
  var lastKind: Kind { state.withLock { $0.lastKind } }

  /// What the head waits for, and its number in the order of arrival; `nil` if no session waits.
  var head: (kind: Kind, sequence: UInt32)? {
    state.withLock { state in
      guard state.head != 0 else { return nil }
      let slot = state.slots[Int(state.head) - 1]
      return (slot.waiter.kind, slot.sequence)
    }
  }

  /// The last number given in the order of arrival.
  var lastSequence: UInt32 { state.withLock { $0.lastSequence } }

  // MARK: On the session's worker

  /// Adds a session, if fewer than `max` wait for the same. A session that has waited before passes its
  /// `sequence`: it returns to its position, and the bound does not apply. If it waits for a place, `handOut` must
  /// follow: one may have become free before the entry could be seen.
  func enter(_ waiter: Waiter, max: Int, sequence: UInt32? = nil, at now: Instant) -> Entry {
    let entry = state.withLock { state -> Entry in
      let waiting = waiter.kind == .place ? state.counts.place : state.counts.endpoint
      guard sequence != nil || waiting < max else { return .full }
      if sequence == nil { state.lastSequence &+= 1 }
      let sequence = sequence ?? state.lastSequence
      let ticket = state.add(
        Slot(stage: .waiting, waiter: waiter, since: now, sequence: sequence))
      state.lastKind = waiter.kind
      let isUnattended = !state.isAttended
      state.isAttended = true
      count.add(1, ordering: .relaxed)
      return .entered(ticket: ticket, sequence: sequence, isUnattended: isUnattended)
    }
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    return entry
  }

  /// Removes a session for a reason of its own. A grant that is on its way to it will be refused (`claim`).
  func leave(_ ticket: UInt32) {
    state.withLock { state in
      switch state.slots[Int(ticket)].stage {
      case .waiting:
        state.unlink(ticket)
        state.vacate(ticket)
        count.subtract(1, ordering: .relaxed)
      case .granted: state.slots[Int(ticket)].stage = .left
      case .vacant, .left: assertionFailure("a session leaves a queue twice")
      }
    }
  }

  /// What a session waits for, and since when; `nil` if a grant is on its way to it.
  func stay(of ticket: UInt32) -> (kind: Kind, since: Instant)? {
    state.withLock { state in
      let slot = state.slots[Int(ticket)]
      assert(slot.stage == .waiting || slot.stage == .granted)
      return slot.stage == .waiting ? (slot.waiter.kind, slot.since) : nil
    }
  }

  /// A grant has arrived. Returns whether its session still waits for it; if not, the caller gives the place
  /// back.
  func claim(_ ticket: UInt32) -> Bool {
    state.withLock { state in
      let isWanted = state.slots[Int(ticket)].stage == .granted
      assert(isWanted || state.slots[Int(ticket)].stage == .left)
      state.vacate(ticket)
      return isWanted
    }
  }

  // MARK: Handing out, on any thread

  /// Grants places to the sessions at the head that wait for `kind`, in order, at most `max` of them.
  /// `pick` finds and counts a place for a session. `post` leaves a grant for its worker and returns whether
  /// it could; if not, `release` gives the place back. Returns how many were granted, and whether it ended
  /// because everything is full.
  @discardableResult
  func handOut(
    _ kind: Kind, max: Int = .max, ignoringTried: Bool = false,
    pick: (_ key: UInt64, _ tried: UInt64) -> Pick,
    post: (Waiter, _ ticket: UInt32, EndpointIndex) -> Bool,
    release: (EndpointIndex) -> Void
  ) -> (granted: Int, isFull: Bool) {
    state.withLock { state in
      var granted = 0
      var next = state.head
      while next != 0, granted < max {
        let ticket = next - 1
        let slot = state.slots[Int(ticket)]
        guard slot.waiter.kind == kind else { break }
        next = slot.next
        switch pick(slot.waiter.key, ignoringTried ? 0 : slot.waiter.tried) {
        case .endpoint(let endpoint):
          if ignoringTried {
            state.slots[Int(ticket)].waiter.tried = 0
            state.slots[Int(ticket)].waiter.isProbe = true
          }
          if grant(ticket, &state, endpoint, post) { granted += 1 } else { release(endpoint) }
        case .tried: continue
        case .full where slot.waiter.tried != 0 && !ignoringTried: continue
        case .full: return (granted, true)
        case .unavailable: return (granted, false)
        }
      }
      return (granted, false)
    }
  }

  /// Passes a place, which stays counted, to the first session that waits for one and that `endpoint` has
  /// not failed. Returns whether there was such a session.
  func pass(
    _ endpoint: EndpointIndex, triedBit: UInt64,
    post: (Waiter, _ ticket: UInt32, EndpointIndex) -> Bool
  ) -> Bool {
    state.withLock { state in
      var next = state.head
      while next != 0 {
        let ticket = next - 1
        let slot = state.slots[Int(ticket)]
        guard slot.waiter.kind == .place else { return false }
        next = slot.next
        guard slot.waiter.tried & triedBit == 0 else { continue }
        if grant(ticket, &state, endpoint, post) { return true }
      }
      return false
    }
  }

  private func grant(
    _ ticket: UInt32, _ state: inout State, _ endpoint: EndpointIndex,
    _ post: (Waiter, _ ticket: UInt32, EndpointIndex) -> Bool
  ) -> Bool {
    let waiter = state.slots[Int(ticket)].waiter
    // A worker that takes no more messages ends its sessions, which then leave the queue.
    guard post(waiter, ticket, endpoint) else { return false }
    state.unlink(ticket)
    state.slots[Int(ticket)].stage = .granted
    count.subtract(1, ordering: .relaxed)
    return true
  }

  // MARK: On the control loop

  /// Changes what all waiting sessions wait for: an endpoint, since none is available, or a place, since all
  /// available endpoints are full.
  func setKind(_ kind: Kind, at now: Instant) {
    state.withLock { state in
      state.lastKind = kind
      guard (kind == .place ? state.counts.endpoint : state.counts.place) > 0 else { return }
      var next = state.head
      while next != 0 {
        let position = Int(next) - 1
        next = state.slots[position].next
        guard state.slots[position].waiter.kind != kind else { continue }
        state.slots[position].waiter.kind = kind
        state.slots[position].since = now
      }
      let all = state.counts.place + state.counts.endpoint
      state.counts = kind == .place ? (all, 0) : (0, all)
    }
  }

  /// Forgets which endpoints have failed the waiting sessions, so that they may try them again.
  func forgetTried() {
    state.withLock { state in
      var next = state.head
      while next != 0 {
        state.slots[Int(next) - 1].waiter.tried = 0
        next = state.slots[Int(next) - 1].next
      }
    }
  }

  /// The workers and tokens of all waiting sessions.
  func waiters() -> [(worker: Int, token: Token)] {
    state.withLock { state in
      var all: [(Int, Token)] = []
      var next = state.head
      while next != 0 {
        let slot = state.slots[Int(next) - 1]
        all.append((slot.waiter.worker, slot.waiter.token))
        next = slot.next
      }
      return all
    }
  }

  /// Ends attending, unless a session waits. Returns whether it has ended.
  func giveUpAttending() -> Bool {
    state.withLock { state in
      guard state.head == 0 else { return false }
      state.isAttended = false
      return true
    }
  }
}

extension WaitQueue.State {
  /// Puts an entry at its position and returns its ticket.
  mutating func add(_ slot: WaitQueue.Slot) -> UInt32 {
    let ticket: UInt32
    if firstVacant > 0 {
      ticket = firstVacant - 1
      firstVacant = slots[Int(ticket)].next
      slots[Int(ticket)] = slot
    } else {
      ticket = UInt32(slots.count)
      slots.append(slot)
    }
    link(ticket)
    return ticket
  }

  mutating func vacate(_ ticket: UInt32) {
    slots[Int(ticket)] = WaitQueue.Slot()
    slots[Int(ticket)].next = firstVacant
    firstVacant = ticket + 1
  }

  /// Links an entry by its sequence: newcomers at the tail, returning sessions near the head.
  mutating func link(_ ticket: UInt32) {
    let sequence = slots[Int(ticket)].sequence
    var next = head
    if tail != 0, isEarlier(slots[Int(tail) - 1].sequence, sequence) {
      next = 0
    } else {
      while next != 0, isEarlier(slots[Int(next) - 1].sequence, sequence) {
        next = slots[Int(next) - 1].next
      }
    }
    let previous = next == 0 ? tail : slots[Int(next) - 1].previous
    slots[Int(ticket)].next = next
    slots[Int(ticket)].previous = previous
    if next == 0 { tail = ticket + 1 } else { slots[Int(next) - 1].previous = ticket + 1 }
    if previous == 0 { head = ticket + 1 } else { slots[Int(previous) - 1].next = ticket + 1 }
    note(slots[Int(ticket)].waiter.kind, 1)
  }

  mutating func unlink(_ ticket: UInt32) {
    let slot = slots[Int(ticket)]
    assert(slot.stage == .waiting)
    if slot.next == 0 { tail = slot.previous }
    if slot.previous == 0 { head = slot.next }
    if slot.next != 0 { slots[Int(slot.next) - 1].previous = slot.previous }
    if slot.previous != 0 { slots[Int(slot.previous) - 1].next = slot.next }
    note(slot.waiter.kind, -1)
  }

  private mutating func note(_ kind: WaitQueue.Kind, _ change: Int) {
    switch kind {
    case .place: counts.place += change
    case .endpoint: counts.endpoint += change
    }
    assert(counts.place >= 0 && counts.endpoint >= 0)
  }

  /// Whether one number was given before another; they wrap around.
  private func isEarlier(_ one: UInt32, _ other: UInt32) -> Bool {
    Int32(bitPattern: one &- other) < 0
  }
}
