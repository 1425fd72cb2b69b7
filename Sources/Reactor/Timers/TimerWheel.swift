// SPDX-License-Identifier: Apache-2.0
// A hierarchical timing wheel (Varghese and Lauck, 1987): scheduling and cancelling take constant
// time however many timers there are, which is what a proxy needs that sets deadlines for every
// session and almost never lets one pass.
//
// Timers have no identity of their own: there is at most one per index, and the index is the
// caller's (a session's slot). So no timer is ever allocated, and one whose owner is gone cannot
// fire for its successor: removing the owner cancels it.
//
// Six levels of 64 slots over a tick of one millisecond reach 2.2 years. A timer is on the level of
// the highest group of six bits in which its tick differs from the current one. Hence all timers of
// a level come before those of the next, and the next due slot is found with one bit scan per level.
// What differs above the last level (and any two ticks do that lie on both sides of a turn-over of
// all levels, however near) waits in a list of its own until the levels turn over.

/// Deadlines by index, at most one for each. Not thread-safe: a loop owns it.
public struct TimerWheel: ~Copyable {
  private static let levels = 6
  private static let slotBits = 6
  private static let slots = 1 << slotBits
  /// The list of timers that are due and not yet taken.
  private static let dueList = levels * slots
  /// The list of timers that come after the levels have turned over.
  private static let laterList = dueList + 1
  private static let nanosecondsPerTick: UInt64 = 1_000_000
  private static let reach: UInt64 = 1 << UInt64(levels * slotBits) - 1

  /// A timer's place in its list. A zeroed node is a timer that is not scheduled, so indexes that
  /// were never used cost no memory.
  private struct Node {
    /// The next index plus one, 0 at the end.
    var next: Int32
    /// The previous index plus one; at the head the list's number as `-1 - list`; 0: not scheduled.
    var previous: Int32
    var tick: UInt64
  }

  /// How many indexes there are.
  public let capacity: Int
  /// How many timers are scheduled.
  public private(set) var count = 0
  private let nodes: UnsafeMutablePointer<Node>
  /// The first index plus one of each list, 0 if it is empty.
  private let heads: UnsafeMutablePointer<Int32>
  private var occupied: [6 of UInt64] = .init(repeating: 0)
  private var currentTick: UInt64

  /// A wheel for the indexes 0..<`capacity`, none of them scheduled. Throws when there is no address
  /// space for so many.
  public init(capacity: Int, now: Instant) throws(Errno) {
    precondition(capacity > 0)
    precondition(capacity < Int(Int32.max))
    self.capacity = capacity
    let zeroed = try zeroedMemory(capacity * MemoryLayout<Node>.stride)
    nodes = zeroed.bindMemory(to: Node.self, capacity: capacity)
    heads = .allocate(capacity: TimerWheel.laterList + 1)
    heads.initialize(repeating: 0, count: TimerWheel.laterList + 1)
    currentTick = now.nanoseconds / TimerWheel.nanosecondsPerTick
  }

  deinit {
    freeZeroedMemory(nodes)
    heads.deallocate()
  }

  /// Whether a timer is scheduled for `index`.
  public func isScheduled(_ index: Int) -> Bool {
    assert(index >= 0 && index < capacity)
    return nodes[index].previous != 0
  }

  /// The deadline of `index`, rounded up to the tick; `nil` if none is scheduled.
  public func deadline(of index: Int) -> Instant? {
    guard isScheduled(index) else { return nil }
    return instant(nodes[index].tick)
  }

  /// Schedules `index`, in place of what was scheduled for it before. It fires at the first tick
  /// that is not before `deadline`.
  public mutating func schedule(_ index: Int, at deadline: Instant) {
    assert(index >= 0 && index < capacity)
    if nodes[index].previous != 0 { unlink(index) }
    let (quotient, remainder) = deadline.nanoseconds.quotientAndRemainder(
      dividingBy: TimerWheel.nanosecondsPerTick)
    nodes[index].tick = quotient + (remainder > 0 ? 1 : 0)
    place(index)
    count += 1
  }

  /// Forgets the timer of `index`, if there is one.
  public mutating func cancel(_ index: Int) {
    assert(index >= 0 && index < capacity)
    guard nodes[index].previous != 0 else { return }
    unlink(index)
    nodes[index].previous = 0
  }

  /// Takes one index whose deadline has come, `nil` when there is none left. Its timer is then no
  /// longer scheduled. Indexes of one tick come in no particular order.
  public mutating func popDue(at now: Instant) -> Int? {
    let nowTick = now.nanoseconds / TimerWheel.nanosecondsPerTick
    while heads[TimerWheel.dueList] == 0 {
      guard let (list, tick) = nextOccupied(), tick <= nowTick else {
        if nowTick > currentTick { currentTick = nowTick }
        return nil
      }
      currentTick = tick
      spill(list)
    }
    let index = Int(heads[TimerWheel.dueList]) - 1
    unlink(index)
    nodes[index].previous = 0
    return index
  }

  /// When `popDue` should be asked next. It may be early, when timers only move to a finer level,
  /// but never late.
  public func nextDeadline() -> Instant? {
    if heads[TimerWheel.dueList] != 0 { return instant(currentTick) }
    return nextOccupied().map { instant($0.tick) }
  }

  // MARK: Lists

  private func instant(_ tick: UInt64) -> Instant {
    let (product, overflow) = tick.multipliedReportingOverflow(by: TimerWheel.nanosecondsPerTick)
    return overflow ? .distantFuture : Instant(nanoseconds: product)
  }

  /// The first list that holds timers, and the tick at which its time comes.
  private func nextOccupied() -> (list: Int, tick: UInt64)? {
    for level in 0..<TimerWheel.levels where occupied[level] != 0 {
      let slot = occupied[level].trailingZeroBitCount
      let shift = UInt64(level * TimerWheel.slotBits)
      let upper = currentTick >> (shift + UInt64(TimerWheel.slotBits))
      let tick = (upper << UInt64(TimerWheel.slotBits) | UInt64(slot)) << shift
      assert(tick > currentTick)
      return (level * TimerWheel.slots + slot, tick)
    }
    guard heads[TimerWheel.laterList] != 0 else { return nil }
    return (TimerWheel.laterList, (currentTick | TimerWheel.reach) + 1)
  }

  /// Puts the timers of a list, whose time has come, where they now belong.
  private mutating func spill(_ list: Int) {
    // Timers of the list of later ones may go back to it: each is looked at once.
    var next = heads[list]
    while next != 0 {
      let index = Int(next) - 1
      next = nodes[index].next
      unlink(index)
      place(index)
      count += 1
    }
  }

  private mutating func place(_ index: Int) {
    let tick = nodes[index].tick
    guard tick > currentTick else { return link(index, TimerWheel.dueList) }
    let difference = tick ^ currentTick
    guard difference <= TimerWheel.reach else { return link(index, TimerWheel.laterList) }
    let level = (63 - difference.leadingZeroBitCount) / TimerWheel.slotBits
    let slot = Int(tick >> UInt64(level * TimerWheel.slotBits)) & (TimerWheel.slots - 1)
    link(index, level * TimerWheel.slots + slot)
  }

  private mutating func link(_ index: Int, _ list: Int) {
    let head = heads[list]
    nodes[index].next = head
    nodes[index].previous = -1 - Int32(list)
    if head != 0 { nodes[Int(head) - 1].previous = Int32(index) + 1 }
    heads[list] = Int32(index) + 1
    if list < TimerWheel.dueList {
      occupied[list >> TimerWheel.slotBits] |= 1 << UInt64(list & (TimerWheel.slots - 1))
    }
  }

  /// Takes a timer out of its list; the caller marks it as not scheduled or places it anew.
  private mutating func unlink(_ index: Int) {
    let node = nodes[index]
    assert(node.previous != 0)
    if node.next != 0 { nodes[Int(node.next) - 1].previous = node.previous }
    if node.previous > 0 {
      nodes[Int(node.previous) - 1].next = node.next
    } else {
      let list = Int(-1 - node.previous)
      heads[list] = node.next
      if node.next == 0, list < TimerWheel.dueList {
        occupied[list >> TimerWheel.slotBits] &= ~(1 << UInt64(list & (TimerWheel.slots - 1)))
      }
    }
    count -= 1
  }
}
