// SPDX-License-Identifier: Apache-2.0
// One random schedule: first anything in any order, then a time in which everybody comes to an end
// or stands still for good, then the reckoning (ScheduleVerdict.swift).

import Plan
import Reactor

@testable import DataPlane

/// A client's life through the proxy: itself, and every server it was connected with.
final class Conversation {
  let client: Party
  let address: PeerAddress
  /// The name of the listener that it arrived at, and the proxy's end of the connection there.
  let listener: String
  let arrival: FakeStream
  /// The last is the one that served, the others were given up before a byte had moved.
  var servers: [FakeStream] = []

  init(_ client: Party, _ address: PeerAddress, _ listener: String, _ arrival: FakeStream) {
    self.client = client
    self.address = address
    self.listener = listener
    self.arrival = arrival
  }
}

/// A record as the access log would tell it: with names instead of slots.
struct NamedRecord {
  let record: SessionRecord
  let listener: String
  let route: String
  let endpoint: String?

  init(_ record: SessionRecord, _ topology: Topology) {
    self.record = record
    listener = topology.listeners[record.listener.position].name
    route = topology.routes[record.route.position].name
    endpoint = record.endpoint.map { topology.endpoints[$0.position].name }
  }
}

final class Schedule {
  let seed: UInt64
  let kernel: FakeKernel
  let rig: Rig
  let hasIdleTimeout: Bool
  let chaos: FakeChaos
  private(set) var conversations: [Conversation] = []
  private var conversationsByAddress: [PeerAddress: Conversation] = [:]
  private(set) var serverParties: [ObjectIdentifier: Party] = [:]
  /// Where the connections of servers lead to, as endpoints are called.
  private(set) var serverNames: [ObjectIdentifier: String] = [:]
  private var servers: [FakeServer] = []
  private(set) var complaints: [String] = []
  private(set) var ends: [NamedRecord] = []
  /// All there have ever been, for sums over them.
  var routeStates: [ObjectIdentifier: RouteState] = [:]
  var endpointStates: [ObjectIdentifier: EndpointState] = [:]
  /// The routes that listeners have ever led to, by their names.
  var routesOfListeners: [String: Set<String>] = [:]
  /// What was last given to something new.
  var lastNumber = 100
  private(set) var changes = 0
  /// Whether the plan changes now and then.
  let changesPlan: Bool
  private(set) var handedOver = 0
  private(set) var staleEvents = 0
  /// Whether the proxy may fail for want of something.
  let runsShort: Bool
  var wasKilled = false

  init(seed: UInt64) throws {
    self.seed = seed
    kernel = FakeKernel(seed: seed, label: "seed \(seed)")
    chaos = FakeChaos(seed: seed ^ 0xFACE)
    let dice = chaos
    runsShort = dice.below(4) == 0
    hasIdleTimeout = dice.below(2) == 0
    changesPlan = dice.below(3) > 0
    kernel.socketBytes = dice.within(32...4096)
    kernel.fragmentBytes = dice.within(1...1500)
    rig = try Rig(Schedule.plan(dice, hasIdleTimeout: hasIdleTimeout, seed), kernel: kernel)
    if dice.below(2) == 0 {
      kernel.chaos.transferPerMille = dice.within(1...300)
      kernel.chaos.urgentPerMille = [0, 0, 20, 200][dice.below(4)]
      kernel.chaos.reportPerMille = dice.within(1...200)
      kernel.chaos.shufflesEvents = true
    }
    if runsShort {
      kernel.chaos.resourcePerMille = dice.within(1...200)
      kernel.descriptorsMax = kernel.openDescriptors.count + dice.within(3...30)
    }
    let manners: [FakeServer.Manner] = [
      .accepts, .accepts, .accepts, .acceptsAtOnce, .refuses, .refusesAtOnce, .isSilent, .resets,
      .hasNoPorts, .isUnreachable, .isBusy,
    ]
    for upstream in 0..<2 {
      for number in 0..<3 {
        // The first of each is sound, as a rule.
        let manner = number == 0 ? manners[dice.below(5)] : manners[dice.below(manners.count)]
        let server = kernel.serve(UInt16(9000 + 10 * upstream + number), manner)
        server.receiveCapacity = dice.within(32...4096)
        server.sendCapacity = dice.within(32...4096)
        let name = "10.0.0.1:\(9000 + 10 * upstream + number)"
        server.onAccept = { [unowned self] stream in
          serverParties[ObjectIdentifier(stream)] = Party(stream, chaos: chaos)
          serverNames[ObjectIdentifier(stream)] = name
        }
        servers.append(server)
      }
    }
    remember()
  }

  private static func plan(_ dice: FakeChaos, hasIdleTimeout: Bool, _ seed: UInt64) -> RigPlan {
    var plan = RigPlan()
    plan.seed = seed
    plan.workers = dice.within(1...2)
    plan.sessionsMax = dice.within(1...20)
    plan.sessionsCapacity = 20
    plan.relay.bufferBytes = dice.within(8...2048)
    plan.pipesMax = [0, 1, 8][dice.below(3)]
    plan.relay.turnBytes = dice.within(64...8192)
    plan.relay.coalesce = dice.below(2) == 0 ? nil : .microseconds(200)
    plan.relay.acceptsPerTurn = dice.within(1...8)
    plan.relay.eventsPerTurn = dice.within(1...32)
    plan.routes = (0..<2).map { number in
      RoutePlan(
        name: "route \(number)", listen: [.port(UInt16(number + 1))],
        upstream: UpstreamIndex(number), idle: hasIdleTimeout ? .seconds(5) : nil,
        halfCloseTimeout: hasIdleTimeout && dice.below(3) == 0 ? nil : .seconds(3),
        flushTimeout: .seconds(20),
        sessionsMax: dice.below(3) == 0 ? dice.within(1...5) : nil,
        access: AccessMoments(start: true, every: dice.below(2) == 0 ? .seconds(1) : nil))
    }
    plan.upstreams = (0..<2).map { upstream in
      // Bounds of both kinds, and somewhere to wait: where one of them lets sessions in and the other does
      // not, those who wait must not keep each other busy.
      let isTight = dice.below(4) == 0
      return UpstreamPlan(
        name: "upstream \(upstream)",
        balance: ChoosingTests.all[dice.below(ChoosingTests.all.count)],
        connect: .seconds(2), attempt: .milliseconds(500), retry: someRetry(dice),
        sessionsMax: isTight || dice.below(4) == 0 ? dice.within(1...4) : nil,
        queue: isTight || dice.below(3) == 0 ? someQueue(dice) : nil,
        hold: dice.below(3) == 0 ? someHold(dice) : nil,
        endpoints: (0..<dice.within(1...3)).map { number in
          EndpointPlan(
            port: UInt16(9000 + 10 * upstream + number), weight: dice.within(1...3),
            sessionsMax: isTight || dice.below(4) == 0 ? dice.within(1...3) : nil,
            priority: dice.below(3) == 0 ? 1 : 0)
        })
    }
    return plan
  }

  static func someRetry(_ dice: FakeChaos) -> RetryPlan {
    RetryPlan(
      attemptsMax: dice.below(2) == 0 ? nil : dice.within(1...5),
      budgetPercent: dice.below(2) == 0 ? nil : dice.within(0...50), budgetMin: dice.within(0...3),
      backOff: dice.below(3) == 0 ? nil : .milliseconds(dice.within(1...50)),
      backOffMax: .milliseconds(dice.within(1...300)))
  }

  static func someQueue(_ dice: FakeChaos) -> QueuePlan {
    QueuePlan(length: dice.within(1...6), timeout: .milliseconds(dice.within(100...4000)))
  }

  static func someHold(_ dice: FakeChaos) -> HoldPlan {
    HoldPlan(
      timeout: .milliseconds(dice.within(100...4000)), length: dice.within(1...6),
      ratePerSecond: dice.within(1...500))
  }

  func complain(_ text: String) {
    if complaints.count < 10 { complaints.append(text) }
  }

  // MARK: Running

  func run() {
    for _ in 0..<chaos.within(50...600) { step() }
    if chaos.below(10) == 0 {
      wasKilled = true
    } else {
      comeToAnEnd()
      collect()
      for left in rig.leftovers + rig.sessionsInWords { complain("left over: \(left)") }
    }
    for worker in rig.workers {
      handedOver += worker.counters[.handedOver]
      staleEvents += worker.counters[.staleEvents]
    }
    kernel.chaos.resourcePerMille = 0
    // Connections may be on their way from one worker to another at this moment.
    if wasKilled { chaos.below(2) == 0 ? turn() : rig.post(.resetAll(.killed)) }
    let left = rig.tearDown()
    if !left.isEmpty { complain("descriptors left open: \(left)") }
    collect()
    reckon()
  }

  private func step() {
    switch chaos.below(20) {
    case 0, 1: arrive()
    case 2...7: turn()
    case 8...11: kernel.carrySomething()
    case 12: kernel.advance(milliseconds: chaos.below(chaos.below(20) == 0 ? 1000 : 5))
    case 13 where chaos.below(10) == 0: breakSomebody()
    case 14 where runsShort: kernel.nextAcceptError = .tooManyOpenFiles
    case 15 where chaos.below(4) == 0: kernel.nextAcceptAbort = .connectionAbort
    case 16 where changesPlan && chaos.below(2) == 0:
      changePlan()
      changes += 1
    case 17 where chaos.below(2) == 0: rig.post(.use(rig.topology))
    case 18 where chaos.below(4) == 0: collect()
    case 19: rig.paceQueues()
    default: actSomebody()
    }
    rig.noteReports()
  }

  private func arrive() {
    guard conversations.count < 200 else { return }
    let listeners = rig.openListeners
    let listener = listeners[chaos.below(listeners.count)]
    let stream = rig.connectClient(
      to: listener.descriptor, receiveCapacity: chaos.within(32...4096),
      sendCapacity: chaos.within(32...4096))
    guard let arrival = stream.peer else { fatalError("it has just been connected") }
    let conversation = Conversation(
      Party(stream, chaos: chaos), rig.lastClient, listener.name, arrival)
    conversations.append(conversation)
    conversationsByAddress[rig.lastClient] = conversation
  }

  private func turn() {
    rig.workers[chaos.below(rig.workers.count)].turn()
    pairUp()
    for worker in rig.workers where worker.relay.keptBytes > worker.sessions.count * 4096 {
      complain("\(worker.relay.keptBytes) bytes kept for \(worker.sessions.count) sessions")
    }
  }

  private func actSomebody() {
    let parties = conversations.map(\.client) + serverParties.values
    guard !parties.isEmpty else { return }
    for _ in 0..<8 { parties[chaos.below(parties.count)].act() }
  }

  private func breakSomebody() {
    if let one = conversations.indices.last { conversations[chaos.within(0...one)].client.fail() }
    let parties = serverParties.values.filter { !$0.isGone }
    if chaos.below(2) == 0, !parties.isEmpty { parties[chaos.below(parties.count)].fail() }
  }

  /// Remembers whose bytes go where, from the sessions as they are now.
  private func pairUp() {
    for worker in rig.workers {
      var next = worker.sessions.nextIndex(from: 0)
      while let index = next {
        next = worker.sessions.nextIndex(from: index + 1)
        guard let session = worker.sessions.find(index), session.pointee.upstream.socket.isOpen,
          let conversation = conversationsByAddress[session.pointee.client],
          let ours = kernel.stream(session.pointee.upstream.socket.rawValue)
        else { continue }
        if conversation.servers.last !== ours { conversation.servers.append(ours) }
      }
    }
  }

  /// From here on nobody new comes, and everybody either hurries or stands still for good.
  private func comeToAnEnd() {
    kernel.chaos.transferPerMille = 0
    kernel.chaos.reportPerMille = 0
    kernel.chaos.resourcePerMille = 0
    kernel.descriptorsMax = 1_000_000
    kernel.nextAcceptError = nil
    rig.post(.use(rig.topology))
    comeToRest()
    // Without any timeout a session ends by its peers alone.
    let standStill = hasIdleTimeout && chaos.below(2) == 0
    for round in 0..<40_000 {
      // Those who hurry are done after a while; from then on it is all waiting for deadlines.
      kernel.advance(milliseconds: round < 1000 ? 5 : round < 2000 ? 50 : 250)
      for worker in rig.workers { worker.turn() }
      rig.noteReports()
      pairUp()
      kernel.carryAll()
      var isOver = rig.topology.sessions.value == 0
      for listener in rig.openListeners
      where kernel.listener(listener.descriptor).waitingCount > 0 {
        isOver = false
      }
      if isOver { break }
      let everybody = conversations.map(\.client) + serverParties.values
      for party in everybody where !standStill || party.isEager { party.hurry() }
    }
    // What is still under way reaches its goal, and is read.
    for _ in 0..<10 {
      kernel.carryAll()
      for party in conversations.map(\.client) + serverParties.values {
        if !standStill || party.isEager { party.read(max: .max) }
      }
    }
  }

  /// Whatever was going on, it comes to rest while time stands still and nobody does anything.
  private func comeToRest() {
    for _ in 0..<20_000 {
      var isQuiet = !kernel.carryAll()
      for worker in rig.workers {
        worker.turn()
        if kernel.lastWait.count > 0 || kernel.lastWait.timeoutMilliseconds == 0 { isQuiet = false }
      }
      rig.noteReports()
      pairUp()
      if isQuiet, !kernel.carryAll() { return }
    }
    complain("no rest: \(rig.sessionsInWords)")
  }

  private func collect() {
    for record in rig.takeRecords() where record.moment == .end {
      ends.append(NamedRecord(record, rig.topology))
    }
  }
}
