// SPDX-License-Identifier: Apache-2.0
// What all workers share about one tier of an upstream: which endpoints may be picked, with which weight, and
// their loads. A roster is kept from topology to topology as long as the tier's members are the same.
//
// The control thread updates which members may be picked (`noteChange`), workers update loads (`noteLoad`). The
// data that a pick reads is derived from both and kept in trees, so that no pick has to visit all members.
// The trees are correct when no update is in progress, and a pick verifies its choice.

import Balancing
import Synchronization

/// One tier of an upstream. Any thread may use it.
final class Roster: Sendable {
  /// An endpoint of the tier.
  struct Member: Sendable {
    let endpoint: EndpointIndex
    let state: EndpointState
    /// As in the configuration: 0 to 256.
    let weight: Int
    let sessionsMax: Int
    let triedBit: UInt64
    let identity: UInt64

    func isSame(as other: Member) -> Bool {
      endpoint == other.endpoint && state === other.state && weight == other.weight
        && sessionsMax == other.sessionsMax && triedBit == other.triedBit
    }
  }

  /// How many changes a worker may be behind before it reads all members again.
  static var changesMax: Int { 256 }

  let members: [Member]
  let upstream: UpstreamState
  /// The version of the topology that it was made for.
  let version: Int
  /// The sum of the configured weights.
  let weightTotal: Int
  /// How many members have a weight.
  let memberCount: Int

  /// Weight × share of the members that may be picked and have room, 0 for the others.
  let rooms: WeightTree
  /// The sessions per weight of the same members, if the policy needs them.
  let loads: LoadTree?
  /// The members of keys, if the policy is a hash.
  let places: PlaceTable?

  /// Weight × share of the members that may be picked, whether they have room or not.
  private let usable: SharedWords
  private let currentUsableTotal = Atomic<Int>(0)
  private let currentHealthyWeight = Atomic<Int>(0)
  private let currentUpCount = Atomic<Int>(0)
  /// The positions of the last changes, and the number of the next one. Each roster begins at another number, so
  /// that a worker notices when it gets another roster.
  private let changes = SharedWords(count: changesMax)
  private let currentChange: Atomic<UInt64>
  private let isUp: SharedWords

  /// A roster of the members' current states. There must be at least one member.
  init(
    _ members: [Member], of upstream: UpstreamState, version: Int, keepsLoads: Bool,
    places: PlaceTable? = nil
  ) {
    self.places = places
    self.members = members
    self.upstream = upstream
    self.version = version
    weightTotal = members.reduce(0) { $0 + $1.weight }
    memberCount = members.count { $0.weight > 0 }
    rooms = WeightTree(
      count: members.count,
      weightMax: UInt64(max(1, members.reduce(0) { max($0, $1.weight) }) * SlowStart.whole))
    loads = keepsLoads ? LoadTree(count: members.count) : nil
    usable = SharedWords(count: members.count)
    isUp = SharedWords(count: members.count)
    currentChange = Atomic(UInt64(version) << 40)
    noteChanges()
  }

  // MARK: Availability

  /// Weight × share of a member, 0 while it may not be picked.
  func usableWeight(_ position: Int) -> Int { Int(usable[position]) }

  /// The sum of the usable weights.
  var usableTotal: Int { currentUsableTotal.load(ordering: .relaxed) }

  /// The sum of the configured weights of the members that may be picked.
  var healthyWeight: Int { currentHealthyWeight.load(ordering: .relaxed) }

  /// Whether no member with a weight is up; false if no member has a weight.
  var isAllDown: Bool { memberCount > 0 && currentUpCount.load(ordering: .relaxed) == 0 }

  /// Reads all members' states again. The control thread.
  func noteChanges() {
    for position in members.indices { noteChange(position) }
  }

  /// Reads a member's state again. The control thread.
  func noteChange(_ position: Int) {
    let member = members[position]
    let isMemberUp = member.state.availability == .up
    let wasUp = isUp[position] != 0
    if isMemberUp != wasUp, member.weight > 0 {
      isUp[position] = isMemberUp ? 1 : 0
      currentUpCount.add(isMemberUp ? 1 : -1, ordering: .relaxed)
    }
    let mayBePicked = isMemberUp || upstream.serving == .panic
    let next = mayBePicked ? member.weight * member.state.share : 0
    let before = usableWeight(position)
    if next != before {
      usable[position] = UInt32(next)
      currentUsableTotal.add(next - before, ordering: .relaxed)
      if (next == 0) != (before == 0) {
        currentHealthyWeight.add(
          next == 0 ? -member.weight : member.weight, ordering: .relaxed)
      }
      let change = currentChange.load(ordering: .relaxed)
      changes[Int(change % UInt64(Roster.changesMax))] = UInt32(position)
      currentChange.store(change + 1, ordering: .releasing)
    }
    renewRoom(position)
    renewLoad(position)
  }

  /// The number of the latest change.
  var change: UInt64 { currentChange.load(ordering: .acquiring) }

  /// The member of the change with this number. The caller must read `change` afterwards: if it is `changesMax`
  /// further, the entry was overwritten.
  func changed(at change: UInt64) -> Int {
    Int(changes[Int(change % UInt64(Roster.changesMax))])
  }

  // MARK: Loads

  /// Counts a session at a member, unless it is full.
  func take(_ position: Int) -> Bool {
    let isTaken = members[position].state.sessions.take(below: members[position].sessionsMax)
    noteLoad(position)
    return isTaken
  }

  /// Counts a session at the first member that may be picked, has not failed the session and has room according to
  /// its count. Visits all members.
  func takeOpen(_ tried: UInt64) -> EndpointIndex? {
    for (position, member) in members.enumerated()
    where member.triedBit & tried == 0 && usableWeight(position) > 0
      && sessions(position) < member.sessionsMax
    {
      if take(position) { return member.endpoint }
    }
    return nil
  }

  /// The number of sessions of a member has changed.
  func noteLoad(_ position: Int) {
    if loads != nil { renewLoad(position) }
    if members[position].sessionsMax != .max { renewRoom(position) }
  }

  func sessions(_ position: Int) -> Int { members[position].state.sessions.value }

  private func room(_ position: Int) -> UInt64 {
    sessions(position) < members[position].sessionsMax ? UInt64(usable[position]) : 0
  }

  private func load(_ position: Int) -> UInt64? {
    let weight = Int(room(position))
    return weight == 0 ? nil : LoadTree.load(sessions: sessions(position), weight: weight)
  }

  /// Updates a member's leaf. Reads again after writing: a thread that has changed the count in between may have
  /// read the leaf before it was written.
  private func renewRoom(_ position: Int) {
    while true {
      atomicMemoryFence(ordering: .sequentiallyConsistent)
      let next = room(position)
      if rooms[position] == next { return }
      rooms[position] = next
    }
  }

  func renewLoad(_ position: Int) {
    guard let loads else { return }
    while true {
      atomicMemoryFence(ordering: .sequentiallyConsistent)
      let next = load(position)
      if loads[position] == next { return }
      loads[position] = next
    }
  }

  /// Whether the leaf of a member is correct; if not, corrects it.
  func verifyLoad(_ position: Int) -> Bool {
    guard let loads, loads[position] != load(position) else { return true }
    renewLoad(position)
    return false
  }
}

/// The position of an endpoint in its roster.
struct Seat: Sendable {
  let roster: Roster
  let position: Int
}

extension Upstream {
  /// Makes the rosters of its tiers, or keeps those of `previous` where the members are the same, and sets the
  /// seats of its endpoints. `previous` is the same upstream in the topology before, if it was there.
  public mutating func seat(
    _ endpoints: inout [Endpoint], version: Int, previous: Upstream? = nil
  ) {
    rosters = tiers.enumerated().map { number, tier in
      let members = tier.map { member in
        let endpoint = endpoints[member.endpoint.position]
        return Roster.Member(
          endpoint: member.endpoint, state: endpoint.state, weight: member.weight,
          sessionsMax: endpoint.sessionsMax, triedBit: endpoint.triedBit,
          identity: endpoint.identity)
      }
      var known: Roster?
      if let previous, previous.balance == balance, previous.rosters.indices.contains(number) {
        known = previous.rosters[number]
      }
      // The rosters of a retired upstream are not updated.
      if let known, previous?.isRetired == false, known.upstream === state,
        known.members.count == members.count,
        zip(known.members, members).allSatisfy({ $0.isSame(as: $1) })
      {
        return known
      }
      return Roster(
        members, of: state, version: version, keepsLoads: balance == .leastConnections,
        places: places(of: members, known))
    }
    for roster in rosters {
      for (position, member) in roster.members.enumerated() {
        endpoints[member.endpoint.position].seat = Seat(roster: roster, position: position)
      }
    }
  }
}

extension Upstream {
  /// The table of a hash, the known one if it has the same endpoints. Making one takes milliseconds.
  private func places(of members: [Roster.Member], _ known: Roster?) -> PlaceTable? {
    guard let hash else { return nil }
    let entries = members.map { PlaceTable.Entry(identity: $0.identity, weight: $0.weight) }
    if let known,
      known.members.map({ ($0.identity, $0.weight) }).elementsEqual(
        entries, by: { $0 == ($1.identity, $1.weight) })
    {
      return known.places
    }
    if case .maglev = balance { return .maglev(entries, places: hash.tableSize) }
    return .rendezvous(entries, places: hash.tableSize)
  }
}

extension Topology {
  /// A session at an endpoint is over.
  package func giveBack(_ endpoint: EndpointIndex) {
    let position = endpoint.position
    endpoints[position].state.sessions.giveBack()
    guard let seat = endpoints[position].seat else { return }
    seat.roster.noteLoad(seat.position)
  }

  /// Publishes a change of an endpoint's `availability` or `share`: workers pick by it from now on.
  /// The control thread calls it after it has set them.
  public func noteChange(of endpoint: EndpointIndex) {
    guard let seat = endpoints[endpoint.position].seat else { return }
    seat.roster.noteChange(seat.position)
  }

  /// Publishes a change that concerns all endpoints of an upstream, such as its state's `serving`. Visits all its
  /// endpoints. The control thread.
  public func noteChange(ofUpstream position: Int) {
    for roster in upstreams[position].rosters { roster.noteChanges() }
  }

  /// The oldest topology that a worker uses is `confirmed` now, after `before`. Workers that changed late
  /// have counted sessions in rosters of earlier topologies, where members were different: the rosters that all
  /// workers use now are corrected. The control thread.
  public func settle(from before: Int, to confirmed: Int) {
    for upstream in upstreams where !upstream.isRetired {
      for roster in upstream.rosters where roster.version > before && roster.version <= confirmed {
        roster.noteChanges()
      }
    }
  }

  /// Whether an upstream has endpoints with a weight, and none of them is up. The cost does not depend on the
  /// number of endpoints.
  func isAllDown(_ upstream: Upstream) -> Bool {
    var isAnyDown = false
    for roster in upstream.rosters where roster.memberCount > 0 {
      guard roster.isAllDown else { return false }
      isAnyDown = true
    }
    return isAnyDown
  }
}
