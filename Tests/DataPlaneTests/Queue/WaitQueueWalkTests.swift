// SPDX-License-Identifier: Apache-2.0
// The queue beside a plain list, in random walks: both must tell the same after each step, and no place may
// be lost or be in two hands.

import Balancing
import Reactor
import Testing

@testable import DataPlane

@Suite struct WaitQueueWalkTests {
  @Test(arguments: 1...30 as ClosedRange<UInt64>)
  func theQueueIsAListAndEachPlaceIsInOneHand(seed: UInt64) throws {
    var walk = QueueWalk(seed: seed)
    for step in 0..<2000 {
      try walk.step()
      let faults = walk.faults
      try #require(faults == [], "seed \(seed), step \(step)")
    }
    try walk.finish()
    #expect(walk.faults == [], "seed \(seed)")
    #expect(walk.placesFree == [2, 3, 1], "seed \(seed)")
  }
}

/// A queue, a list that says what must be true of it, and endpoints with few places.
private struct QueueWalk {
  private struct Session {
    let number: Int
    let ticket: UInt32
    let sequence: UInt32
    let kind: WaitQueue.Kind
    let tried: UInt64
  }

  private let queue = WaitQueue()
  private var random: SplitMix64
  private var places = FreePlaces([2, 3, 1])
  /// Sessions that wait, in the order in which they are to go on.
  private var waiting: [Session] = []
  /// Grants under way, with the session's entry and whether that has left.
  private var underWay: [(grant: QueueGrant, session: Session, hasLeft: Bool)] = []
  /// Sessions at endpoints.
  private var served: [(session: Session, endpoint: Int)] = []
  private var lastNumber = 0
  private var complaints: [String] = []

  init(seed: UInt64) {
    random = SplitMix64(seed: seed)
  }

  var placesFree: [Int] { places.free }

  private mutating func below(_ bound: Int) -> Int { Int(random.next(below: UInt64(bound))) }

  // MARK: Steps

  mutating func step() throws {
    switch below(10) {
    case 0, 1, 2: try enter()
    case 3: leave()
    case 4, 5: claim()
    case 6, 7: try end()
    case 8: handOut(below(2) == 0 ? .place : .endpoint)
    default: if below(20) == 0 { changeKind() }
    }
  }

  /// Lets all that is left go on until nothing waits.
  mutating func finish() throws {
    queue.setKind(.place, at: Instant(nanoseconds: 7))
    waiting = waiting.map {
      Session(
        number: $0.number, ticket: $0.ticket, sequence: $0.sequence, kind: .place, tried: 0)
    }
    queue.forgetTried()
    while !waiting.isEmpty || !underWay.isEmpty || !served.isEmpty {
      handOut(.place)
      claim()
      if !served.isEmpty { endOne(0, passes: false) }
    }
  }

  private mutating func enter() throws {
    lastNumber += 1
    let kind: WaitQueue.Kind = below(3) == 0 ? .endpoint : .place
    // Now and then the place that one would have is wanted by a session that has failed at some endpoint.
    let tried = below(2) == 0 ? 0 : UInt64(below(8))
    let entry = try queue.enter(lastNumber, kind, tried: tried, max: .max)
    waiting.append(
      Session(
        number: lastNumber, ticket: entry.ticket, sequence: entry.sequence, kind: kind,
        tried: tried))
  }

  private mutating func leave() {
    let position = below(max(1, waiting.count + underWay.count))
    if position < waiting.count {
      queue.leave(waiting.remove(at: position).ticket)
    } else if position - waiting.count < underWay.count,
      !underWay[position - waiting.count].hasLeft
    {
      queue.leave(underWay[position - waiting.count].session.ticket)
      underWay[position - waiting.count].hasLeft = true
    }
  }

  /// A grant arrives at its session's worker.
  private mutating func claim() {
    guard !underWay.isEmpty else { return }
    let (grant, session, hasLeft) = underWay.remove(at: below(underWay.count))
    if queue.claim(grant.ticket) != !hasLeft { complaints.append("\(session.number) claimed") }
    if hasLeft {
      places.free[grant.endpoint] += 1
    } else {
      served.append((session, grant.endpoint))
    }
  }

  private mutating func end() throws {
    guard !served.isEmpty else { return }
    let position = below(served.count)
    guard below(4) == 0 else { return endOne(position, passes: below(2) == 0) }
    // Its attempt has failed: it is back at its place in the order.
    let (session, endpoint) = served.remove(at: position)
    places.free[endpoint] += 1
    let tried = session.tried | 1 << UInt64(endpoint)
    let entry = try queue.enter(
      session.number, session.kind, tried: tried, max: 0, sequence: session.sequence)
    let place = waiting.firstIndex { $0.sequence > session.sequence } ?? waiting.count
    waiting.insert(
      Session(
        number: session.number, ticket: entry.ticket, sequence: session.sequence,
        kind: session.kind, tried: tried), at: place)
  }

  /// A session is over, and its place is passed on or given back.
  private mutating func endOne(_ position: Int, passes: Bool) {
    let endpoint = served.remove(at: position).endpoint
    guard passes else { return places.free[endpoint] += 1 }
    let expected = waiting.prefix { $0.kind == .place }
      .first { $0.tried & (1 << UInt64(endpoint)) == 0 }
    let grant = queue.pass(endpoint)
    if grant?.number != expected?.number { complaints.append("passed to another") }
    if let grant { noteGrant(grant) } else { places.free[endpoint] += 1 }
  }

  private mutating func handOut(_ kind: WaitQueue.Kind) {
    let most = below(3) == 0 ? 1 : Int.max
    let expected = sessionsToBeServed(kind, most)
    let grants = queue.handOut(&places, kind, max: most)
    if grants.map(\.number) != expected { complaints.append("handed out to others") }
    for grant in grants { noteGrant(grant) }
  }

  private func sessionsToBeServed(_ kind: WaitQueue.Kind, _ most: Int) -> [Int] {
    var places = places
    var numbers: [Int] = []
    for session in waiting.prefix(while: { $0.kind == kind }) where numbers.count < most {
      switch places.pick(session.tried) {
      case .endpoint: numbers.append(session.number)
      case .full where session.tried == 0: return numbers
      case .full, .tried, .unavailable: continue
      }
    }
    return numbers
  }

  private mutating func noteGrant(_ grant: QueueGrant) {
    guard let position = waiting.firstIndex(where: { $0.number == grant.number }) else {
      return complaints.append("\(grant.number) does not wait")
    }
    underWay.append((grant, waiting.remove(at: position), false))
  }

  private mutating func changeKind() {
    let kind: WaitQueue.Kind = below(2) == 0 ? .place : .endpoint
    queue.setKind(kind, at: Instant(nanoseconds: 3))
    waiting = waiting.map {
      Session(
        number: $0.number, ticket: $0.ticket, sequence: $0.sequence, kind: kind, tried: $0.tried)
    }
  }

  // MARK: What must be true

  var faults: [String] {
    var faults = complaints
    let counts = queue.waiting
    if counts.queued != waiting.count(where: { $0.kind == .place }) { faults.append("queued") }
    if counts.held != waiting.count(where: { $0.kind == .endpoint }) { faults.append("held") }
    if queue.isOccupied != !waiting.isEmpty { faults.append("occupied") }
    if queue.head?.sequence != waiting.first?.sequence { faults.append("head") }
    if queue.waiters().map(\.token.index) != waiting.map(\.number) { faults.append("order") }
    var all = places.free
    for (grant, _, _) in underWay { all[grant.endpoint] += 1 }
    for (_, endpoint) in served { all[endpoint] += 1 }
    if all != [2, 3, 1] { faults.append("\(all) places") }
    return faults
  }
}
