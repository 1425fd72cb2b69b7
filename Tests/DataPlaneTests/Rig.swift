// SPDX-License-Identifier: Apache-2.0
// Workers on a fake kernel, turned by hand: what every test of the data plane starts from.

import Addressing
import Plan
import Reactor

@testable import Control
@testable import DataPlane

/// A plan with one route and one upstream, from which tests differ by what they are about.
struct RigPlan {
  var routes: [RoutePlan]
  var upstreams: [UpstreamPlan]
  var workers = 1
  var sessionsMax = 1000
  /// How many sessions workers have room for, whatever a later plan says; `nil`: `sessionsMax`.
  var sessionsCapacity: Int?
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
        halfCloseTimeout: halfClose, flushTimeout: .seconds(1))
    ]
    upstreams = [
      UpstreamPlan(name: "test", endpoints: ports.map { EndpointPlan(port: $0) })
    ]
  }
}

extension RigPlan {
  /// Has the last endpoint be tried after all others: which of several is tried next is left to chance.
  mutating func makeLastASpare() {
    upstreams[0].endpoints[upstreams[0].endpoints.count - 1].priority = 1
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
  var versions: [Int] {
    all.compactMap { if case .using(let version, _) = $0 { version } else { nil } }
  }
  /// The upstreams whose queues want to be attended to.
  var queuesOccupied: [UpstreamState] {
    all.compactMap { if case .waiting(let upstream) = $0 { upstream } else { nil } }
  }
  var refusals: [Errno] {
    all.compactMap { if case .listenRefused(_, let errno) = $0 { errno } else { nil } }
  }
}

/// Stands for the access log: a pass over the rings is whenever a test takes the records.
final class RecordTaker: RecordReader {
  private(set) var passes = 0

  func passAfterNow() -> Int { passes + 1 }

  func hasCompleted(_ pass: Int) -> Bool { passes >= pass }

  func notePass() { passes += 1 }
}

/// Workers, their kernel, and the clients' side of it.
final class Rig {
  let kernel: FakeKernel
  let ledger: TopologyLedger
  private(set) var topology: Topology
  /// What is in force, or will be when the workers have come to it.
  private(set) var plan: RigPlan
  private var open: [ListenAddress: OpenListener] = [:]
  /// Listeners that are gone, with the version from which on nobody may watch them.
  private var leaving: [(listener: OpenListener, version: Int)] = []
  private var lastGeneration: UInt32 = 0
  private(set) var workers: [Worker<FakeKernel>] = []
  private let rings: [RecordRing]
  private let taker = RecordTaker()
  let reports: [Reports]
  /// What attends to queues, as the control loop does, and when it is to look.
  private var pacers: [(pacer: QueuePacer, lookAt: Instant)] = []
  private var keptReports: [Int] = []
  private var notedReports: [Int] = []
  private var clientCount: UInt16 = 0
  /// The address of the client that arrived last.
  private(set) var lastClient = PeerAddress.unknown

  init(_ plan: RigPlan = RigPlan(), kernel: FakeKernel = FakeKernel()) throws {
    self.kernel = kernel
    self.plan = plan
    ledger = TopologyLedger(workers: plan.workers, records: taker)
    let listeners = Rig.openListeners(plan, kernel, &open, &lastGeneration)
    let topology = Rig.build(plan, listeners, ledger)
    self.topology = topology
    rings = (0..<plan.workers).map { _ in RecordRing(capacity: plan.recordsMax) {} }
    reports = (0..<plan.workers).map { _ in Reports() }
    for number in 0..<plan.workers {
      let reports = reports[number]
      workers.append(
        try Worker(
          kernel: kernel,
          settings: WorkerSettings(
            number: number, sessionsMax: plan.sessionsCapacity ?? plan.sessionsMax,
            pipesMax: plan.pipesMax,
            relay: plan.relay, seed: plan.seed &+ UInt64(number)),
          topology: topology, records: rings[number], report: { reports.all.append($0) }))
    }
    let links = workers.map(\.link)
    for worker in workers { try worker.begin(among: links) }
  }

  var worker: Worker<FakeKernel> { workers[0] }

  /// The first listener of each route.
  var listeners: [CInt] { plan.routes.compactMap { $0.listen.first.flatMap(listener) } }

  /// All listeners that clients can still arrive at, by name, those included that are gone from the
  /// plan.
  var openListeners: [(name: String, descriptor: CInt)] {
    let all = Array(open.values) + leaving.map(\.listener)
    return all.map { ($0.name, $0.descriptor) }.sorted { $0.descriptor < $1.descriptor }
  }

  /// The listener at an address of the plan.
  func listener(_ address: ListenAddress) -> CInt? { open[address]?.descriptor }

  // MARK: Plans

  private static func openListeners(
    _ plan: RigPlan, _ kernel: FakeKernel, _ open: inout [ListenAddress: OpenListener],
    _ lastGeneration: inout UInt32
  ) -> [OpenListener] {
    var all: [OpenListener] = []
    for (position, route) in plan.routes.enumerated() {
      for address in route.listen {
        let known = open[address]
        if known == nil { lastGeneration += 1 }
        let listener = OpenListener(
          key: ListenerKey(address: address, ordinal: 0),
          descriptor: known?.descriptor ?? kernel.makeListener(isUnix: address.isUnix),
          generation: known?.generation ?? lastGeneration, name: "\(address)", route: position)
        open[address] = listener
        all.append(listener)
      }
    }
    return all
  }

  private static func build(
    _ plan: RigPlan, _ listeners: [OpenListener], _ ledger: TopologyLedger
  ) -> Topology {
    ledger.build(
      ProxyPlan(routes: plan.routes, upstreams: plan.upstreams), names: [:], builtins: [:],
      listeners: listeners, sessionsMax: plan.sessionsMax)
  }

  /// Has the workers go over to another plan at their next turn. `workers` leaves some of them for
  /// later, when they are told by `tellAll`.
  func change(only numbers: [Int]? = nil, _ body: (inout RigPlan) -> Void) {
    noteReports()
    body(&plan)
    let listeners = Rig.openListeners(plan, kernel, &open, &lastGeneration)
    topology = Rig.build(plan, listeners, ledger)
    let wanted = Set(listeners.map(\.key.address))
    for (address, listener) in open where !wanted.contains(address) {
      leaving.append((listener, topology.version))
      open[address] = nil
    }
    for number in numbers ?? Array(workers.indices) {
      precondition(workers[number].link.inbox.post(.use(topology)))
    }
  }

  /// Hears what workers have gone over to, and closes the listeners that nobody watches any more.
  func noteReports() {
    notedReports += Array(repeating: 0, count: reports.count - notedReports.count)
    for (number, reports) in reports.enumerated() where notedReports[number] < reports.all.count {
      for case .using(let version, _) in reports.all[notedReports[number]...] {
        ledger.note(worker: number, isUsing: version)
      }
      notedReports[number] = reports.all.count
    }
    guard !leaving.isEmpty else { return }
    for entry in leaving where entry.version <= ledger.confirmedVersion {
      kernel.close(entry.listener.descriptor)
    }
    leaving.removeAll { $0.version <= ledger.confirmedVersion }
  }

  /// Looks at the queues whose time has come. Returns whether any was looked at.
  @discardableResult
  func paceQueues() -> Bool {
    keptReports += Array(repeating: 0, count: reports.count - keptReports.count)
    for (number, reports) in reports.enumerated() {
      guard keptReports[number] < reports.all.count else { continue }
      for case .waiting(let upstream) in reports.all[keptReports[number]...] {
        precondition(!pacers.contains { $0.pacer.upstream === upstream }, "attended to twice")
        pacers.append((QueuePacer(upstream, now: kernel.time), kernel.time))
      }
      keptReports[number] = reports.all.count
    }
    var hasLooked = false
    for position in pacers.indices where pacers[position].lookAt <= kernel.time {
      hasLooked = true
      let next = pacers[position].pacer.look(topology, now: kernel.time) { worker, message in
        workers[worker].link.inbox.post(message)
      }
      pacers[position].lookAt = next ?? .distantFuture
    }
    pacers.removeAll { $0.lookAt == .distantFuture }
    return hasLooked
  }

  /// A client that arrives at a route, told apart by its port.
  func connectClient(
    route: Int = 0, receiveCapacity: Int? = nil, sendCapacity: Int? = nil
  ) -> FakeStream {
    connectClient(
      to: listeners[route], receiveCapacity: receiveCapacity, sendCapacity: sendCapacity)
  }

  /// A client that arrives at a listener.
  func connectClient(
    to listener: CInt, receiveCapacity: Int? = nil, sendCapacity: Int? = nil
  ) -> FakeStream {
    clientCount += 1
    let address = SocketAddress.v4(IPv4Address(rawValue: 0x7F00_0001), port: clientCount)
    lastClient = PeerAddress(address)
    return kernel.connectClient(
      to: listener, from: lastClient, receiveCapacity: receiveCapacity, sendCapacity: sendCapacity)
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
      if paceQueues() { isQuiet = false }
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
    defer { notePass() }
    return readRecords()
  }

  /// The same, but the pass over the rings is not over yet: what the records name keeps its slot.
  func readRecords() -> [SessionRecord] {
    var records: [SessionRecord] = []
    for ring in rings { while let record = ring.read() { records.append(record) } }
    return records
  }

  /// A pass over the rings is over.
  func notePass() { taker.notePass() }

  /// The records of sessions that are over, since the last call.
  func takeEnds() -> [SessionRecord] {
    takeRecords().filter { $0.moment == .end }
  }

  /// Ends the workers and lets go of them. Returns the descriptors that were left behind.
  func tearDown() -> [CInt] {
    for (number, worker) in workers.enumerated() where worker.link.inbox.post(.stop) {
      kernel.turningWorker = number
      worker.run()
    }
    workers = []
    for listener in open.values { kernel.close(listener.descriptor) }
    for entry in leaving { kernel.close(entry.listener.descriptor) }
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
        let timer = worker.sessions.timers.isScheduled(index)
        found.append(
          """
          \(session.pointee.client) \(session.pointee.state) \
          up \(up.stage) pending \(up.pendingBytes) down \(down.stage) pending \(down.pendingBytes) \
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
    for route in topology.routes where route.state.sessions.value != 0 {
      found.append("\(route.state.sessions.value) at the route \(route.name)")
    }
    for listener in topology.listeners where listener.state.isNamed {
      found.append("the listener \(listener.name) is named")
    }
    for upstream in topology.upstreams {
      let (state, queue) = (upstream.state, upstream.state.queue)
      if state.sessions.value != 0 { found.append("\(state.sessions.value) at \(upstream.name)") }
      if state.retrying.value != 0 { found.append("\(state.retrying.value) retries") }
      if queue.isOccupied || queue.head != nil { found.append("something waits") }
    }
    for endpoint in topology.endpoints {
      let count = endpoint.state.sessions.value
      if count != 0 { found.append("\(count) at \(endpoint.name)") }
      if endpoint.state.isNamed { found.append("\(endpoint.name) is named") }
    }
    for worker in workers {
      if worker.link.load.value != 0 { found.append("\(worker.link.load.value) as load") }
      if worker.sessions.count != 0 { found.append("\(worker.sessions.count) in the slab") }
      if worker.relay.keptBytes != 0 { found.append("\(worker.relay.keptBytes) bytes kept") }
      if worker.sessions.timers.count > 0 { found.append("\(worker.sessions.timers.count) timers") }
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

extension Inbox {
  /// Takes out what is there, as its owner would.
  func takeAll() -> [Message] {
    var messages: [Message] = []
    drain(into: &messages)
    return messages
  }
}

extension ListenAddress {
  var isUnix: Bool {
    if case .socket(.unix) = self { true } else { false }
  }
}

extension Topology {
  /// Sets an endpoint's availability, as the control plane does.
  func mark(_ endpoint: Int, _ availability: Availability) {
    endpoints[endpoint].state.availability = availability
    noteChange(of: EndpointIndex(endpoint))
  }
}
