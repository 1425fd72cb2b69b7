// SPDX-License-Identifier: Apache-2.0
// A queue between threads: the same steps as a worker's, without sockets, so that many of them happen at
// the same moment. No control loop looks after the queue: a place that is not passed on is lost, and what
// waits for it waits for ever.

import Balancing
import Glibc
import Plan
import Reactor
import Synchronization
import Testing

@testable import DataPlane

@Suite struct WaitQueueThreadTests {
  @Test(arguments: [nil, 3] as [Int?])
  func noPlaceIsLostAndNoSessionIsForgotten(upstreamMax: Int?) throws {
    var plan = UpstreamPlan(
      name: "u",
      endpoints: (1...2).map { EndpointPlan(port: UInt16($0), sessionsMax: 2) })
    plan.sessionsMax = upstreamMax
    let topology = try Topology.of(plan)
    let yard = SharerYard(topology, sessionsLeft: 4 * 6000)
    let sharers = (0..<4).map { QueueSharer($0, yard) }
    yard.all = sharers
    // They hold each other.
    defer { yard.all = [] }
    var threads: [SharerThread] = []
    for sharer in sharers {
      threads.append(SharerThread(try LoopThread(name: "sharer") { sharer.run(6000) }))
    }
    for thread in threads { thread.join() }
    // Grants may still be under way to sessions that have left.
    for sharer in sharers { sharer.receive() }
    #expect(sharers.map(\.complaints).flatMap { $0 } == [])
    #expect(sharers.map { $0.served + $0.gone } == [6000, 6000, 6000, 6000])
    #expect(sharers.map(\.served).reduce(0, +) > 12_000)
    let upstream = topology.upstreams[0]
    #expect(!upstream.state.queue.isOccupied)
    #expect(upstream.state.queue.head == nil)
    #expect(upstream.state.sessions.value == 0)
    #expect(topology.endpoints.map(\.state.sessions.value) == [0, 0])
    #expect(topology.rosterFaults == [])
  }
}

/// What the threads share.
private final class SharerYard: @unchecked Sendable {
  // SAFETY: `all` is set before the threads start.
  let topology: Topology
  var all: [QueueSharer] = []
  /// Sessions that are not over yet.
  let sessionsLeft: Atomic<Int>
  let deadline = LinuxKernel().now().advanced(by: 120_000_000_000)

  init(_ topology: Topology, sessionsLeft: Int) {
    self.topology = topology
    self.sessionsLeft = Atomic(sessionsLeft)
  }

  var queue: WaitQueue { topology.upstreams[0].state.queue }
}

/// A thread's share: sessions that want a place one after another, each for a moment.
private final class QueueSharer: @unchecked Sendable {
  // SAFETY: `inbox` is behind a lock, everything else is used by one thread at a time.
  private struct Entry {
    let ticket: UInt32
    let sequence: UInt32
  }

  private let number: Int
  private let yard: SharerYard
  private let inbox = Lock([Grant]())
  private(set) var served = 0
  private(set) var gone = 0
  private(set) var complaints: [String] = []
  private var waiting: [Token: Entry] = [:]
  private var held: [(token: Token, endpoint: EndpointIndex)] = []
  private var picker: EndpointPicker
  private var random: SplitMix64

  init(_ number: Int, _ yard: SharerYard) {
    self.number = number
    self.yard = yard
    picker = EndpointPicker(yard.topology.upstreams[0], offset: number)
    random = SplitMix64(seed: UInt64(number) + 1)
  }

  func run(_ sessions: Int) {
    for index in 0..<sessions {
      begin(Token(.downstream, index: index, generation: UInt32(number)))
      if random.next(below: 8) == 0 { leaveOne() }
      receive()
      while held.count > Int(random.next(below: 3)) { endOne() }
      // Few at a time, so that most of them need not be turned away.
      guard serve(until: { waiting.count < 5 }) else { return }
    }
    _ = serve(until: { yard.sessionsLeft.load(ordering: .relaxed) <= 0 })
  }

  /// Goes on with the sessions there are. Returns whether the condition came true in time.
  private func serve(until isDone: () -> Bool) -> Bool {
    while !isDone() {
      receive()
      while !held.isEmpty { endOne() }
      guard LinuxKernel().now() < yard.deadline else {
        complaints.append("\(waiting.count) sessions of thread \(number) still wait")
        return false
      }
      sched_yield()
    }
    return true
  }

  private func post(_ worker: Int, _ message: WorkerMessage) -> Bool {
    guard case .grant(let grant) = message else { return false }
    yard.all[worker].inbox.withLock { $0.append(grant) }
    return true
  }

  private func begin(_ token: Token) {
    guard !yard.queue.isOccupied else { return wait(token) }
    let pick = yard.topology.take(
      ofUpstream: 0, picker: &picker, tried: 0, key: 0, at: Instant(nanoseconds: 1),
      random: &random)
    if case .endpoint(let endpoint) = pick {
      held.append((token, endpoint))
    } else {
      // As a worker does: the upstream's count may have included this session for a moment.
      handOut()
      wait(token)
    }
  }

  private func wait(_ token: Token, _ sequence: UInt32? = nil, tried: UInt64 = 0) {
    let entry = yard.queue.enter(
      WaitQueue.Waiter(worker: number, token: token, kind: .place, key: 0, tried: tried),
      max: 18, sequence: sequence, at: Instant(nanoseconds: 1))
    guard case .entered(let ticket, let sequence, _) = entry else { return noteGone() }
    waiting[token] = Entry(ticket: ticket, sequence: sequence)
    handOut()
  }

  private func handOut() {
    yard.topology.handOut(
      .place, ofUpstream: 0, picker: &picker, at: Instant(nanoseconds: 1), random: &random,
      post: post)
  }

  private func free(_ endpoint: EndpointIndex) {
    yard.topology.free(
      endpoint, ofUpstream: 0, picker: &picker, at: Instant(nanoseconds: 1), random: &random,
      post: post)
  }

  /// A session that waits, or to which a grant is under way, wants to wait no more.
  private func leaveOne() {
    guard let (token, entry) = waiting.first else { return }
    waiting[token] = nil
    yard.queue.leave(entry.ticket)
    noteGone()
  }

  private func endOne() {
    let (_, endpoint) = held.removeLast()
    served += 1
    yard.sessionsLeft.subtract(1, ordering: .relaxed)
    free(endpoint)
  }

  private func noteGone() {
    gone += 1
    yard.sessionsLeft.subtract(1, ordering: .relaxed)
  }

  func receive() {
    let grants = inbox.withLock { inbox in
      defer { inbox = [] }
      return inbox
    }
    for grant in grants {
      guard yard.queue.claim(grant.ticket) else {
        free(grant.endpoint)
        continue
      }
      guard let entry = waiting.removeValue(forKey: grant.token), entry.ticket == grant.ticket
      else {
        complaints.append("\(grant.token) was granted a place and does not wait")
        continue
      }
      guard random.next(below: 8) == 0 else {
        held.append((grant.token, grant.endpoint))
        continue
      }
      // Its attempt has failed: it is back in the queue, and its place is free.
      let triedBit = yard.topology.endpoints[grant.endpoint.position].triedBit
      free(grant.endpoint)
      wait(grant.token, entry.sequence, tried: grant.tried == 0 ? triedBit : 0)
    }
  }
}

/// A thread that is joined once.
private final class SharerThread {
  private var thread: LoopThread?

  init(_ thread: consuming LoopThread) {
    self.thread = consume thread
  }

  func join() {
    thread.take()?.join()
  }
}
