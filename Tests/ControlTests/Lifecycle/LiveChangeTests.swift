// SPDX-License-Identifier: Apache-2.0
// All parts of a change together, on real threads and sockets: listeners, ledger, access log and
// workers, while clients exchange numbered records and new ones come. What they share is looked at
// by the thread sanitizer here.

import Addressing
import Balancing
import Foundation
import Glibc
import Logging
import Plan
import Reactor
import Synchronization
import Testing

@testable import Control
@testable import DataPlane

/// A proxy that is made of its parts, without signals and without a loop.
private final class LiveProxy {
  private(set) var plan: ProxyPlan
  private(set) var topology: Topology
  let log: AccessLog
  let ledger: TopologyLedger
  private let listeners: Listeners
  private let builtins: BuiltinServer
  private let workers: [WorkerThread]
  private let reports: Inbox<(worker: Int, report: WorkerReport)>

  init(_ plan: ProxyPlan, workers count: Int, logTo path: String) throws {
    self.plan = plan
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    log = try #require(
      try AccessLog.open(LogPlan(access: .file(path: path)), workers: count, logger: logger))
    listeners = try Listeners(plan, activation: SocketActivation(processID: 1) { _ in nil })
    builtins = try BuiltinServer([.echo], connectionsMax: 500)
    ledger = TopologyLedger(workers: count, records: log)
    let topology = ledger.build(
      plan, names: [:], builtins: builtins.addresses, listeners: listeners.all, sessionsMax: 500)
    self.topology = topology
    let reports = Inbox<(worker: Int, report: WorkerReport)>(messagesMax: 10_000) {}
    self.reports = reports
    workers = try [RecordRing](log.rings).enumerated().map { number, ring in
      try WorkerThread(
        settings: WorkerSettings(
          number: number, sessionsMax: 500, pipesMax: 8, relay: plan.relay,
          seed: UInt64(number)), topology: topology, records: ring,
        report: { _ = reports.post((number, $0)) })
    }
    try log.start(.text, topology: topology)
    for (number, worker) in workers.enumerated() {
      try worker.start(number: number, among: workers.map(\.link))
    }
  }

  /// Where clients connect to.
  func name(of listener: Int) -> String { listeners.all[listener].name }

  func change(_ body: (inout ProxyPlan) -> Void) throws {
    noteReports()
    body(&plan)
    let prepared = try listeners.prepare(plan)
    topology = ledger.build(
      plan, names: [:], builtins: builtins.addresses, listeners: prepared.all, sessionsMax: 500)
    #expect(listeners.commit(prepared, in: topology.version).isEmpty)
    log.use(topology)
    for worker in workers { #expect(worker.link.inbox.post(.use(topology))) }
  }

  func noteReports() {
    var arrived: [(worker: Int, report: WorkerReport)] = []
    reports.drain(into: &arrived)
    for (worker, report) in arrived {
      if case .using(let version, _) = report { ledger.note(worker: worker, isUsing: version) }
    }
    listeners.closeRemoved(upTo: ledger.confirmedVersion)
  }

  func stop() {
    for worker in workers { _ = worker.link.inbox.post(.stop) }
    for worker in workers { worker.join() }
    listeners.close()
    builtins.stop()
    log.stop()
  }
}

/// A client that blocks, but not for ever.
private final class Client {
  private let socket: Descriptor

  init?(to name: String) {
    let number = Glibc.socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    socket = Descriptor(owning: number)
    guard let address = SocketAddress(name) else { return nil }
    var patience = timeval(tv_sec: 30, tv_usec: 0)
    setsockopt(
      number, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    guard KernelAddress(address).withSockaddr({ connect(number, $0, $1) }) == 0 else { return nil }
  }

  /// Sends a numbered record, and returns whether it came back.
  func exchange(_ number: UInt64) -> Bool {
    var sent = [number, ~number]
    var received: [UInt64] = [0, 0]
    guard send(socket.rawValue, &sent, 16, CInt(MSG_NOSIGNAL)) == 16 else { return false }
    guard recv(socket.rawValue, &received, 16, CInt(MSG_WAITALL)) == 16 else {
      return false
    }
    return sent == received
  }
}

private final class Tally: Sendable {
  let exchanged = Atomic<Int>(0)
  let lost = Atomic<Int>(0)
  let refused = Atomic<Int>(0)
  let isOver = Atomic<Bool>(false)
}

@Suite("Changes while sessions go on")
struct LiveChangeTests {
  @Test("No record is lost, and no connect to a listener that stays is refused")
  func changes() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var plan = samplePlan(
      [.builtin(.echo), .builtin(.echo)], listen: [.socket(.v4(.loopback, port: 0))])
    plan.routes[0].name = "stays"
    let proxy = try LiveProxy(plan, workers: 2, logTo: "\(folder)/log")
    let name = proxy.name(of: 0)
    let tally = Tally()
    let threads = try [LoopThreadHolder](
      (0..<4).map { number in
        LoopThreadHolder(
          try LoopThread(name: "client-\(number)") { Self.exchange(number, name, tally) })
      })
    var random = SplitMix64(seed: 1)
    for round in 0..<50 {
      try proxy.change { Self.change(&$0, round, &random) }
      // Some changes follow at once, others when sessions have had the one before.
      let goal = tally.exchanged.load(ordering: .relaxed) + Int(random.next(below: 30))
      #expect(eventually { tally.exchanged.load(ordering: .relaxed) >= goal })
      _ = proxy.topology.routes.map { $0.state.statistics() }
    }
    tally.isOver.store(true, ordering: .relaxed)
    for thread in threads { thread.join() }
    #expect(tally.lost.load(ordering: .relaxed) == 0)
    #expect(tally.refused.load(ordering: .relaxed) == 0)
    #expect(eventually { proxy.topology.sessions.value == 0 })
    #expect(
      eventually {
        proxy.noteReports()
        return proxy.ledger.confirmedVersion == proxy.topology.version
      })
    expectSums(proxy, tally)
    proxy.stop()
    let lines = try String(contentsOfFile: "\(folder)/log", encoding: .utf8).split(separator: "\n")
    #expect(!lines.isEmpty)
    #expect(lines.allSatisfy { $0.contains(" route=stays ") && $0.contains(" end=finished ") })
    #expect(lines.allSatisfy { $0.contains(" endpoint=builtin:echo ") })
  }

  /// All exchanges went through the one route that stays.
  private func expectSums(_ proxy: LiveProxy, _ tally: Tally) {
    guard let route = proxy.topology.routes.first(where: { $0.name == "stays" }) else { return }
    let counted = route.state.statistics()
    let bytes = UInt64(tally.exchanged.load(ordering: .relaxed) * 16)
    #expect(counted.uploadBytes == bytes)
    #expect(counted.downloadBytes == bytes)
    #expect(counted.ends.map(\.reason).allSatisfy { $0 == .finished })
    #expect(counted.accepted == counted.ends.reduce(0) { $0 + $1.count })
  }

  private static func change(_ plan: inout ProxyPlan, _ round: Int, _ random: inout SplitMix64) {
    plan.routes[0].idle = random.next(below: 2) == 0 ? nil : .seconds(60)
    plan.routes[0].backlog = 100 + round
    let count = 1 + Int(random.next(below: 4))
    if random.next(below: 3) > 0 { plan.upstreams[0].name = "u\(random.next(below: 3))" }
    plan.upstreams[0].endpoints = (0..<count).map { _ in
      EndpointPlan(address: .builtin(.echo), weight: 1 + Int(random.next(below: 3)))
    }
    plan.upstreams[0].balance = random.next(below: 2) == 0 ? .roundRobin : .leastConnections
    plan.routes.removeLast(plan.routes.count - 1)
    for number in 0..<Int(random.next(below: 3)) {
      plan.routes.append(
        RoutePlan(
          name: "r\(round)-\(number)", listen: [.port(0)], upstream: UpstreamIndex(0)))
    }
  }

  /// Clients that stay and clients that come and go.
  private static func exchange(_ number: Int, _ name: String, _ tally: Tally) {
    guard let lasting = Client(to: name) else {
      tally.refused.add(1, ordering: .relaxed)
      return
    }
    var record = UInt64(number) << 32
    while !tally.isOver.load(ordering: .relaxed) {
      guard let brief = Client(to: name) else {
        tally.refused.add(1, ordering: .relaxed)
        continue
      }
      for _ in 0..<2 {
        record += 1
        let both = lasting.exchange(record) && brief.exchange(~record)
        tally.lost.add(both ? 0 : 1, ordering: .relaxed)
        tally.exchanged.add(2, ordering: .relaxed)
      }
    }
  }
}

/// Makes a thread something that arrays can hold.
private final class LoopThreadHolder {
  private var thread: LoopThread?

  init(_ thread: consuming LoopThread) { self.thread = consume thread }

  func join() { thread.take()?.join() }
}
