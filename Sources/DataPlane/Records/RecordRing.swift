// SPDX-License-Identifier: Apache-2.0
// From a worker to the thread that writes the access log: a ring with one writer and one reader, so that a
// record costs the worker a copy and two atomics, no lock, no allocation, no system call. A full
// ring drops the new record and counts it: a slow disk must never stop a worker.
//
// The reader is woken by a bell only when it has announced that it sleeps; while records keep coming it reads
// again by itself, so that a busy worker never rings.

import Reactor
import Synchronization

/// A bounded queue of records from one worker to one reader.
public final class RecordRing: Sendable {
  private let capacity: Int
  // SAFETY: the writer alone touches places from `tail` on, the reader alone those from `head` to
  // `tail`; both counters are published with release and read with acquire.
  private nonisolated(unsafe) let places: UnsafeMutablePointer<SessionRecord>
  private let head = Atomic<Int>(0)
  private let tail = Atomic<Int>(0)
  private let dropped = Atomic<Int>(0)
  private let isReaderAsleep = Atomic<Bool>(false)
  private let wakeReader: @Sendable () -> Void

  /// An empty ring for up to `capacity` records. `wakeReader` is called by the writer when the
  /// reader sleeps; it must not block.
  public init(capacity: Int, wakeReader: @escaping @Sendable () -> Void) {
    precondition(capacity > 0)
    self.capacity = capacity
    self.wakeReader = wakeReader
    guard let memory = try? zeroedMemory(capacity * MemoryLayout<SessionRecord>.stride) else {
      fatalError("no memory for \(capacity) access records that wait; lower log: queue")
    }
    places = memory.bindMemory(to: SessionRecord.self, capacity: capacity)
  }

  deinit {
    // Records are plain data and need no deinitialisation.
    freeZeroedMemory(places)
  }

  /// Writer: adds a record, or drops it when the ring is full.
  func write(_ record: SessionRecord) {
    let end = tail.load(ordering: .relaxed)
    guard end - head.load(ordering: .acquiring) < capacity else {
      dropped.add(1, ordering: .relaxed)
      return
    }
    (places + end % capacity).initialize(to: record)
    // Sequentially consistent with `prepareToSleep`: either the reader sees this record, or the writer
    // sees that the reader sleeps.
    tail.store(end + 1, ordering: .sequentiallyConsistent)
    if isReaderAsleep.load(ordering: .sequentiallyConsistent),
      isReaderAsleep.exchange(false, ordering: .sequentiallyConsistent)
    {
      wakeReader()
    }
  }

  /// Reader: takes the oldest record, `nil` when there is none.
  public func read() -> SessionRecord? {
    let start = head.load(ordering: .relaxed)
    guard start < tail.load(ordering: .acquiring) else { return nil }
    let record = (places + start % capacity).pointee
    head.store(start + 1, ordering: .releasing)
    return record
  }

  /// Reader: announces that it will wait for the bell. Returns false when there are records already; then
  /// it must not wait.
  public func prepareToSleep() -> Bool {
    isReaderAsleep.store(true, ordering: .sequentiallyConsistent)
    let isEmpty =
      head.load(ordering: .relaxed) == tail.load(ordering: .sequentiallyConsistent)
    if !isEmpty { isReaderAsleep.store(false, ordering: .relaxed) }
    return isEmpty
  }

  /// How many records were dropped since the start. Any thread.
  public var droppedCount: Int { dropped.load(ordering: .relaxed) }
}
