// SPDX-License-Identifier: Apache-2.0
// The descriptors that a loop watches, by slot. A slot's generation tells an event for what was closed
// earlier in the same batch from one for its successor; see `Token`.

import Reactor

/// Watches by slot, each held until it is removed. Not thread-safe: a loop owns it.
struct WatchTable {
  private struct Place {
    var generation: UInt32 = 0
    var watch: Watch?
  }

  private let capacity: Int
  private var places: [Place] = []
  private var vacant: [Int] = []

  init(capacity: Int) {
    precondition(capacity > 0)
    precondition(capacity <= Token.indexMax)
    self.capacity = capacity
  }

  var isFull: Bool { vacant.isEmpty && places.count == capacity }

  /// Holds a watch. The table must not be full.
  mutating func insert(_ watch: Watch) -> Token {
    precondition(!isFull, "the table is full")
    let slot: Int
    if let last = vacant.popLast() {
      slot = last
    } else {
      slot = places.count
      places.append(Place())
    }
    assert(places[slot].watch == nil)
    places[slot].watch = watch
    return Token(.descriptor, index: slot, generation: places[slot].generation)
  }

  /// The watch that a token was made for, `nil` if it was removed.
  func find(_ token: Token) -> Watch? {
    assert(token.kind == .descriptor)
    guard token.index < places.count, places[token.index].generation == token.generation
    else { return nil }
    return places[token.index].watch
  }

  /// Lets a watch go, and no event find its slot's next one.
  mutating func remove(_ token: Token) {
    precondition(find(token) != nil, "the watch was removed")
    places[token.index].watch = nil
    places[token.index].generation &+= 1
    vacant.append(token.index)
  }

  /// All that is watched, in the order of slots.
  var all: [Watch] { places.compactMap(\.watch) }
}
