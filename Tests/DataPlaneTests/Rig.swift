// SPDX-License-Identifier: Apache-2.0
// Workers on a fake kernel, turned by hand: what every test of the data plane starts from.

import Addressing
import Plan
import Reactor

@testable import DataPlane

/// A plan with one route and one upstream, from which tests differ by what they are about.
struct RigPlan {
  var routes: [RoutePlan]
  var upstreams: [UpstreamPlan]
  var workers = 1
  var sessionsMax = 1000
  var pipesMax = 0
  /// Small, so that tests reach the bounds.
  var relay = RelayPlan(
    bufferBytes: 4096, pipeBytes: 64 << 10, turnBytes: 64 << 10, coalesce: nil, acceptsPerTurn: 16,
    eventsPerTurn: 64)
  var recordsMax = 4096
  var seed: UInt64 = 1

  /// One route to the endpoints at `ports`.
  init(ports: [UInt16] = [9000], idle: Duration? = nil, halfClose: Duration? = .seconds(60)) {
    routes = [
      RoutePlan(
        name: "test", listen: [.port(1)], upstream: UpstreamIndex(0), idle: idle,
        halfClose: halfClose)
    ]
    upstreams = [
      UpstreamPlan(name: "test", endpoints: ports.map { EndpointPlan(port: $0) })
    ]
  }
}

extension EndpointPlan {
  /// An endpoint at a port of the fake network.
  init(port: UInt16, weight: Int = 1, sessionsMax: Int? = nil, priority: Int = 0) {
    let address = SocketAddress.v4(IPv4Address(rawValue: 0x0A00_0001), port: port)
    self.init(
      address: .socket(address), weight: weight, sessionsMax: sessionsMax, priority: priority)
  }
}

/// What workers have reported, in order.
final class Reports: @unchecked Sendable {
  // SAFETY: one thread turns all workers of a rig.
  var all: [WorkerReport] = []

  var finishedCount: Int { all.count { if case .finished = $0 { true } else { false } } }
  var pauses: [AcceptPause] {
    all.compactMap { if case .acceptPaused(let reason) = $0 { reason } else { nil } }
  }
  var resumes: [AcceptPause] {
    all.compactMap { if case .acceptResumed(let reason) = $0 { reason } else { nil } }
  }
}

/// Workers, their kernel, and the clients' side of it.
final class Rig {
  let kernel: FakeKernel
  let topology: Topology
  /// One listener per route.
  let listeners: [CInt]
  private(set) var workers: [Worker<FakeKernel>] = []
  private let rings: [RecordRing]
  let reports: [Reports]
  private var clientCount: UInt16 = 0
  /// The address of the client that arrived last.
  private(set) var lastClient = PeerAddress.unknown

  init(_ plan: RigPlan = RigPlan(), kernel: FakeKernel = FakeKernel()) throws {
    self.kernel = kernel
    var endpoints: [Endpoint] = []
    var upstreams: [Upstream] = []
    for upstream in plan.upstreams {
      let first = endpoints.count
      for endpoint in upstream.endpoints {
        guard case .socket(let address) = endpoint.address else { fatalError("not an address") }
        endpoints.append(Endpoint(endpoint, name: address.description, address: address))
      }
      upstreams.append(Upstream(upstream, endpoints: endpoints, range: first..<endpoints.count))
    }
    let listeners = plan.routes.map { _ in kernel.makeListener() }
    self.listeners = listeners
    let topology = Topology(
      listeners: listeners.enumerated().map {
        Listener(descriptor: $1, name: "listener \($0)", route: RouteIndex($0))
      },
      routes: plan.routes.map(Route.init), upstreams: upstreams, endpoints: endpoints,
      sessions: SessionCount(max: plan.sessionsMax))
    self.topology = topology
    rings = (0..<plan.workers).map { _ in RecordRing(capacity: plan.recordsMax) {} }
    reports = (0..<plan.workers).map { _ in Reports() }
    for number in 0..<plan.workers {
      let reports = reports[number]
      workers.append(
        try Worker(
          kernel: kernel,
          settings: WorkerSettings(
            number: number, sessionsMax: plan.sessionsMax, pipesMax: plan.pipesMax,
            relay: plan.relay, seed: plan.seed &+ UInt64(number)),
          topology: topology, records: rings[number], report: { reports.all.append($0) }))
    }
    let links = workers.map(\.link)
    for worker in workers { try worker.begin(among: links) }
  }

  var worker: Worker<FakeKernel> { workers[0] }

  /// A client that arrives at a route, told apart by its port.
  func connectClient(
    route: Int = 0, receiveCapacity: Int? = nil, sendCapacity: Int? = nil
  ) -> FakeStream {
    clientCount += 1
    let address = SocketAddress.v4(IPv4Address(rawValue: 0x7F00_0001), port: clientCount)
    lastClient = PeerAddress(address)
    return kernel.connectClient(
      to: listeners[route], from: lastClient, receiveCapacity: receiveCapacity,
      sendCapacity: sendCapacity)
  }

  /// Turns and carries until nothing moves any more. Time stands still. Returns how many turns it
  /// took; traps when there is no end to it, which is what spinning looks like.
  @discardableResult
  func settle(turnsMax: Int = 100_000) -> Int {
    var turns = 0
    while true {
      var isQuiet = !kernel.carryAll()
      for worker in workers {
        worker.turn()
        turns += 1
        if kernel.lastWait.count > 0 || kernel.lastWait.timeoutMilliseconds == 0 { isQuiet = false }
      }
      if isQuiet, !kernel.carryAll() { return turns }
      precondition(turns < turnsMax, "no rest after \(turns) turns; \(kernel.label)")
    }
  }

  /// Lets time pass in steps, everything settling in between.
  func advance(milliseconds: Int, step: Int = 10) {
    var left = milliseconds
    while left > 0 {
      kernel.advance(milliseconds: min(step, left))
      left -= step
      settle()
    }
  }

  /// Tells every worker something.
  func post(_ message: WorkerMessage) {
    for worker in workers { precondition(worker.link.inbox.post(message)) }
  }

  /// The records that were written since the last call.
  func takeRecords() -> [SessionRecord] {
    var records: [SessionRecord] = []
    for ring in rings { while let record = ring.read() { records.append(record) } }
    return records
  }

  /// The records of sessions that are over, since the last call.
  func takeEnds() -> [SessionRecord] {
    takeRecords().filter { $0.moment == .end }
  }

  /// Ends the workers and lets go of them. Returns the descriptors that were left behind.
  func tearDown() -> [CInt] {
    for worker in workers where worker.link.inbox.post(.stop) { worker.run() }
    workers = []
    for listener in listeners { kernel.close(listener) }
    return kernel.openDescriptors
  }

  /// The sessions there are, in words.
  var sessionsInWords: [String] {
    workers.flatMap { worker in
      var found: [String] = []
      var next = worker.sessions.nextIndex(from: 0)
      while let index = next {
        next = worker.sessions.nextIndex(from: index + 1)
        guard let session = worker.sessions.find(index) else { continue }
        let (up, down) = (session.pointee.upload, session.pointee.download)
        let sides = (session.pointee.downstream.flags, session.pointee.upstream.flags)
        let age = worker.now.nanoseconds(since: session.pointee.lastMovedAt) / 1_000_000
        let timer = worker.timers.isScheduled(index)
        found.append(
          """
          \(session.pointee.client) \(session.pointee.state) \
          up \(up.stage) kept \(up.keptBytes) down \(down.stage) kept \(down.keptBytes) \
          flags \(sides.0.rawValue) \(sides.1.rawValue) still for \(age) ms, timer \(timer)
          """)
      }
      return found
    }
  }

  /// What should be nothing once no session is left, in words.
  var leftovers: [String] {
    var found: [String] = []
    if topology.sessions.value != 0 { found.append("\(topology.sessions.value) in the process") }
    for route in topology.routes where route.sessions.value != 0 {
      found.append("\(route.sessions.value) at the route \(route.name)")
    }
    for endpoint in topology.endpoints where endpoint.sessions.value != 0 {
      found.append("\(endpoint.sessions.value) at \(endpoint.name)")
    }
    for worker in workers {
      if worker.link.load.value != 0 { found.append("\(worker.link.load.value) as load") }
      if worker.sessions.count != 0 { found.append("\(worker.sessions.count) in the slab") }
      if worker.relay.keptBytes != 0 { found.append("\(worker.relay.keptBytes) bytes kept") }
      if worker.timers.count > 1 { found.append("\(worker.timers.count) timers") }
    }
    return found
  }
}

// MARK: What tests do with an end of a connection.

extension FakeStream {
  /// Sends text, which must fit.
  func write(_ text: String) {
    let sent = send(Array(text.utf8), withChance: false)
    precondition(sent == .moved(text.utf8.count), "\(sent) instead of \(text.utf8.count)")
  }

  /// Sends as much of `bytes` as fits and returns how much that was.
  func writeSome(_ bytes: [UInt8]) -> Int {
    if case .moved(let count) = send(bytes, withChance: false) { count } else { 0 }
  }

  /// Reads all that is there.
  func readBytes(max: Int = .max) -> [UInt8] {
    var all: [UInt8] = []
    while all.count < max, !receiveQueue.isEmpty {
      let (transfer, bytes) = receive(bytesMax: max - all.count, withChance: false)
      guard case .moved = transfer else { return all }
      all += bytes
    }
    return all
  }

  func readText() -> String { String(decoding: readBytes(), as: UTF8.self) }

  /// What reading finds when there are no bytes.
  func readEnd() -> Transfer {
    receive(bytesMax: 1, withChance: false).0
  }
}
