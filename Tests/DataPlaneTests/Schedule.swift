// SPDX-License-Identifier: Apache-2.0
// One random schedule: first anything in any order, then a time in which every party comes to an end
// or stands still for good (ScheduleEnding.swift), then the verdict (ScheduleVerdict.swift).

import Plan
import Reactor

@testable import DataPlane

/// Workers, clients, servers, network and clock, which take turns as a seed says.
final class Schedule {
  let seed: UInt64
  let kernel: FakeKernel
  let rig: Rig
  let world: ScheduleWorld
  let rules: ScheduleRules
  let hasIdleTimeout: Bool
  let chaos: FakeChaos
  var conversations: [Conversation] = []
  /// All clients and servers that have not gone.
  var parties: [Party] = []
  private(set) var serverParties: [ObjectIdentifier: Party] = [:]
  /// Where the connections of servers lead to, as endpoints are called.
  private(set) var serverNames: [ObjectIdentifier: String] = [:]
  private(set) var complaints: [String] = []
  /// What links sessions, connections and records (ScheduleJournal.swift).
  var journal = ScheduleJournal()
  /// All there have ever been, for sums over them.
  var routeStates: [ObjectIdentifier: RouteState] = [:]
  var endpointStates: [ObjectIdentifier: EndpointState] = [:]
  /// The endpoints whose failures can be seen: that one is busy or silent for too long cannot.
  var judgedEndpoints: [EndpointState] = []
  /// The routes that listeners have ever led to, by their names.
  var routesOfListeners: [String: Set<String>] = [:]
  /// The shortest times that routes have ever had, by their names.
  var shortestTimes: [String: RouteTimes] = [:]
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

  init(
    seed: UInt64, world: ScheduleWorld = .standard, rules: ScheduleRules = .standard,
    fault: FakeFaults.Kind? = nil
  ) throws {
    self.seed = seed
    self.world = world
    self.rules = rules
    chaos = FakeChaos(seed: seed ^ 0xFACE)
    let dice = chaos
    runsShort = dice.below(4) == 0
    hasIdleTimeout = dice.below(2) == 0
    changesPlan = dice.below(3) > 0
    let plan = RigPlan(dice, world, hasIdleTimeout: hasIdleTimeout, seed)
    let faults = FakeFaults(
      fault, after: dice.below(fault == .reset ? 20 : 200), victim: dice.below(plan.workers),
      jumpNanoseconds: UInt64(dice.within(1500...20_000)) * 1_000_000)
    kernel = FakeKernel(seed: seed, label: "seed \(seed)", faults: faults)
    kernel.socketBytes = dice.within(32...4096)
    kernel.fragmentBytes = dice.within(1...1500)
    rig = try Rig(plan, kernel: kernel)
    disturb(dice)
    openServers(dice)
    listen()
    remember()
  }

  /// Says all that happens to the connections of a client.
  func trace(_ number: Int, _ say: @escaping (String) -> Void) {
    kernel.world.onEvent = { [unowned self] stream, text in
      guard conversations.indices.contains(number) else { return }
      let conversation = conversations[number]
      let names: [(FakeStream?, String)] =
        [(conversation.client.stream, "client"), (conversation.arrival, "proxy's client side")]
        + conversation.attempts.enumerated().flatMap { position, ours in
          [(ours, "proxy's server side \(position)"), (ours.peer, "server \(position)")]
        }
      guard let name = names.first(where: { $0.0 === stream })?.1 else { return }
      let milliseconds = kernel.time.nanoseconds % 1_000_000_000_000 / 1_000_000
      say("\(milliseconds) ms: \(name): \(text)\n")
    }
  }

  /// Chooses what is done by chance.
  private func disturb(_ dice: FakeChaos) {
    if dice.below(2) == 0 {
      kernel.chaos.transferPerMille = dice.within(1...300)
      kernel.chaos.urgentPerMille = [0, 0, 20, 200][dice.below(4)]
      kernel.chaos.reportPerMille = dice.within(1...200)
      kernel.chaos.shufflesEvents = true
    }
    if runsShort {
      kernel.chaos.resourcePerMille = dice.within(1...200)
      kernel.descriptorsMax = kernel.openDescriptors.count + dice.within(3...30)
      if world.contains(.shortages) { kernel.chaos.shortagePerMille = dice.within(1...30) }
    }
    if world.contains(.slowNetwork), dice.below(3) > 0 {
      kernel.makePace = { .random(dice, receiveCapacity: $0) }
      if dice.below(2) == 0 { kernel.acceptedUnsentBytesMax = dice.within(16...2000) }
    }
  }

  private func openServers(_ dice: FakeChaos) {
    var manners: [FakeServer.Manner] = [
      .accepts, .accepts, .accepts, .acceptsAtOnce, .refuses, .refusesAtOnce, .isSilent, .resets,
      .hasNoPorts, .isUnreachable, .isBusy,
    ]
    if world.contains(.selfConnections) { manners.append(.isCaller) }
    for upstream in 0..<2 {
      for number in 0..<3 {
        // The first of each is sound, as a rule.
        let manner = number == 0 ? manners[dice.below(5)] : manners[dice.below(manners.count)]
        let server = kernel.serve(UInt16(40000 + 10 * upstream + number), manner)
        server.receiveCapacity = dice.within(32...4096)
        server.sendCapacity = dice.within(32...4096)
        let port = 40000 + 10 * upstream + number
        server.onAccept = { [unowned self] stream in
          serverParties[ObjectIdentifier(stream)] = makeParty(stream)
          serverNames[ObjectIdentifier(stream)] =
            stream.isUnix ? "unix:/\(port)" : "10.0.0.1:\(port)"
          if let ours = stream.peer { link(ours) }
        }
      }
    }
  }

  private func makeParty(_ stream: FakeStream) -> Party {
    let isSlow = world.contains(.slowReaders)
    let party = Party(stream, chaos: chaos, isSlow: isSlow, hasNewManners: isSlow)
    parties.append(party)
    return party
  }

  /// The server at the other end of a connection of the proxy.
  func server(of ours: FakeStream) -> Party? {
    ours.peer.flatMap { serverParties[ObjectIdentifier($0)] }
  }

  /// The name of the endpoint that a connection of the proxy leads to.
  func serverName(of ours: FakeStream) -> String? {
    ours.peer.flatMap { serverNames[ObjectIdentifier($0)] }
  }

  func complain(_ text: String) {
    if complaints.count < 10 { complaints.append(text) }
  }

  /// Complains if that is asked.
  func complain(_ rule: ScheduleRules, _ text: @autoclosure () -> String) {
    guard rules.contains(rule) else { return }
    let name = ScheduleRules.names.first { $0.1 == rule }?.0 ?? "?"
    complain("[\(name)] \(text())")
  }

  // MARK: Running

  func run() {
    for _ in 0..<chaos.within(50...600) { step() }
    if chaos.below(10) == 0 {
      wasKilled = true
    } else {
      comeToAnEnd()
      collect()
      for left in rig.sessionsInWords + rig.leftovers { complain("left over: \(left)") }
    }
    for worker in rig.workers {
      handedOver += worker.counters[.handedOver]
      staleEvents += worker.counters[.staleEvents]
    }
    kernel.chaos.resourcePerMille = 0
    kernel.chaos.shortagePerMille = 0
    // Connections may be on their way from one worker to another at this moment.
    if wasKilled { chaos.below(2) == 0 ? turnSomeWorker() : rig.post(.resetAll(.killed)) }
    let left = rig.tearDown()
    if !left.isEmpty { complain("descriptors left open: \(left)") }
    collect()
    reckon()
  }

  private func step() {
    switch chaos.below(20) {
    case 0, 1: arrive()
    case 2...7: turnSomeWorker()
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
    let client = makeParty(stream)
    let conversation = Conversation(
      client, arrival.isUnix ? .unix : rig.lastClient, listener.name, arrival,
      number: conversations.count)
    arrival.conversation = conversation.number
    conversations.append(conversation)
    noteArrival(conversation)
    guard world.contains(.earlyEnds), chaos.below(8) == 0 else { return }
    if chaos.below(2) == 0 { client.fail() } else { client.finishEarly() }
    if chaos.below(2) == 0 { stream.carry() }
  }

  private func turnSomeWorker() {
    turn(chaos.below(rig.workers.count))
  }

  private func actSomebody() {
    for _ in 0..<8 where !parties.isEmpty {
      let position = chaos.below(parties.count)
      parties[position].act()
      if parties[position].isGone { parties.swapRemove(position) }
    }
  }

  private func breakSomebody() {
    for _ in 0..<chaos.within(1...2) where !parties.isEmpty {
      parties[chaos.below(parties.count)].fail()
    }
  }
}
