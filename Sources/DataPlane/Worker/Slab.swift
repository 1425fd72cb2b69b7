// SPDX-License-Identifier: Apache-2.0
// Slots for values that are neither copied nor moved: allocated once, at a fixed address, found by index.
// Slots that were never used are in pages that were never touched, so the table can be sized for the worst case.

import Reactor

/// A fixed number of slots. Not thread-safe: a worker owns it.
struct Slab<Element: ~Copyable>: ~Copyable {
  private static var occupiedMark: UInt32 { .max }

  let capacity: Int
  private(set) var count = 0
  private let elements: UnsafeMutablePointer<Element>
  /// For each slot the next vacant one plus one, or `occupiedMark`.
  private let links: UnsafeMutablePointer<UInt32>
  /// The vacant slot that was used last, plus one; 0 if there is none below `touched`.
  private var firstVacant: UInt32 = 0
  /// Slots from here on have never been used.
  private var touched = 0

  /// Makes an empty slab. Throws when there is no address space for `capacity` slots.
  init(capacity: Int) throws(Errno) {
    precondition(capacity > 0)
    precondition(capacity < Int(UInt32.max) - 1)
    self.capacity = capacity
    let memory = try zeroedMemory(capacity * MemoryLayout<Element>.stride)
    let linkMemory: UnsafeMutableRawPointer
    do throws(Errno) {
      linkMemory = try zeroedMemory(capacity * MemoryLayout<UInt32>.stride)
    } catch {
      freeZeroedMemory(memory)
      throw error
    }
    elements = memory.bindMemory(to: Element.self, capacity: capacity)
    links = linkMemory.bindMemory(to: UInt32.self, capacity: capacity)
  }

  deinit {
    for index in 0..<touched where links[index] == Slab.occupiedMark {
      (elements + index).deinitialize(count: 1)
    }
    freeZeroedMemory(elements)
    freeZeroedMemory(links)
  }

  var isFull: Bool { count == capacity }

  /// The value at `index`, `nil` if the slot is vacant. The pointer is valid until `remove`.
  func find(_ index: Int) -> UnsafeMutablePointer<Element>? {
    guard index < touched, links[index] == Slab.occupiedMark else { return nil }
    return elements + index
  }

  /// Puts a value into a vacant slot, the one vacated last. The slab must not be full.
  mutating func insert(_ element: consuming Element) -> Int {
    precondition(!isFull, "the slab is full")
    let index: Int
    if firstVacant > 0 {
      index = Int(firstVacant) - 1
      firstVacant = links[index]
    } else {
      index = touched
      touched += 1
    }
    assert(links[index] != Slab.occupiedMark)
    (elements + index).initialize(to: element)
    links[index] = Slab.occupiedMark
    count += 1
    return index
  }

  /// Takes the value out of an occupied slot.
  mutating func remove(_ index: Int) -> Element {
    precondition(index < touched && links[index] == Slab.occupiedMark, "the slot is vacant")
    let element = (elements + index).move()
    links[index] = firstVacant
    firstVacant = UInt32(index) + 1
    count -= 1
    return element
  }

  /// An occupied index that is not below `start`, `nil` if there is none.
  func nextIndex(from start: Int) -> Int? {
    var index = start
    while index < touched {
      if links[index] == Slab.occupiedMark { return index }
      index += 1
    }
    return nil
  }
}
