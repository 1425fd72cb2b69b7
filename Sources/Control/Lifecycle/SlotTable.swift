// SPDX-License-Identifier: Apache-2.0
// Which entity has which slot. An entity is its key; it keeps slot and state as long as anybody may
// refer to it, and takes both up again if it comes back before that. A slot goes to another entity
// only after it was vacated.

/// Slots of one kind of entity, with the state that each keeps.
struct SlotTable<Key: Hashable, State> {
  /// One slot that is taken.
  struct Entry {
    let key: Key
    let state: State
    /// The last topology with which a worker can come to the entity anew.
    fileprivate(set) var reachableUntil: Int
    /// The pass over the records after which none names the entity; `nil` while there may still be
    /// new ones.
    fileprivate(set) var lastPass: Int?
  }

  private(set) var entries: [Entry?] = []
  private var positions: [Key: Int] = [:]
  /// Descending: the first slots are used again first.
  private var vacant: [Int] = []

  /// Makes room for `count` entities at once.
  mutating func reserveCapacity(_ count: Int) {
    entries.reserveCapacity(count)
    positions.reserveCapacity(count)
  }

  /// The slot of `key` in the topology `version`; its own one, or one that nobody has, with a state
  /// that is made for it.
  mutating func claim(_ key: Key, in version: Int, _ makeState: () -> State) -> Int {
    if let position = positions[key] {
      keepReachable(position, in: version)
      return position
    }
    let entry = Entry(key: key, state: makeState(), reachableUntil: version)
    let position = vacant.popLast() ?? entries.count
    if position < entries.count { entries[position] = entry } else { entries.append(entry) }
    positions[key] = position
    return position
  }

  /// The state of a slot that is taken.
  func state(_ position: Int) -> State {
    guard let state = entries[position]?.state else { preconditionFailure("a vacant slot") }
    return state
  }

  /// Says that the entity can be come to in the topology `version`.
  mutating func keepReachable(_ position: Int, in version: Int) {
    entries[position]?.reachableUntil = version
    entries[position]?.lastPass = nil
  }

  /// The slots that no worker can come to anew, where `isQuiet` says that no session is left either,
  /// and for which no pass is set yet.
  func quiet(beyond confirmedVersion: Int, where isQuiet: (State) -> Bool) -> [Int] {
    entries.indices.filter { position in
      guard let entry = entries[position], entry.lastPass == nil else { return false }
      return entry.reachableUntil < confirmedVersion && isQuiet(entry.state)
    }
  }

  /// Sets the pass that quiet slots wait for.
  mutating func await(_ pass: Int, for positions: [Int]) {
    for position in positions { entries[position]?.lastPass = pass }
  }

  /// Gives up the slots whose pass is over.
  mutating func vacate(where isOver: (_ pass: Int) -> Bool) {
    for position in entries.indices {
      guard let entry = entries[position], let pass = entry.lastPass, isOver(pass) else { continue }
      positions[entry.key] = nil
      entries[position] = nil
      vacant.append(position)
    }
    vacant.sort(by: >)
  }
}
