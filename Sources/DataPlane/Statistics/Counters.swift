// SPDX-License-Identifier: Apache-2.0
// Numbers that one thread writes and any thread may read at the same time. Every worker has a block of
// its own for each route, listener and endpoint, so adding needs neither a lock nor an atomic
// read-modify-write: a load, an addition and a store, none of them ordered. Blocks begin on cache lines of
// their own, so that workers do not share lines. A reader adds the blocks up.
//
// A sum is exact when no writer is active. While they write, each number is exact for some moment
// during the reading, but not for the same moment.

import Synchronization

/// One worker's numbers: only that worker's thread may add to them. Valid as long as their table.
struct CounterBlock: Sendable {
  // SAFETY: the memory is the table's; every access to it is atomic.
  fileprivate nonisolated(unsafe) let counters: UnsafeMutablePointer<Atomic<UInt64>>

  subscript(counter: Int) -> UInt64 {
    get { counters[counter].load(ordering: .relaxed) }
    nonmutating set { counters[counter].store(newValue, ordering: .relaxed) }
  }

  func add(_ amount: UInt64, to counter: Int) {
    self[counter] = self[counter] &+ amount
  }

  /// Adds one, and makes everything that this thread did before visible to a thread that reads the new value
  /// with `CounterTable.settledSum`.
  func publishOne(to counter: Int) {
    counters[counter].store(self[counter] &+ 1, ordering: .releasing)
  }
}

/// The numbers of one entity, for all workers. They begin at zero.
final class CounterTable: Sendable {
  /// Two cache lines, which processors fetch in pairs.
  private static let alignment = 128

  let workers: Int
  private let stride: Int
  // SAFETY: allocated by `init`, freed by `deinit`; every access in between is atomic.
  private nonisolated(unsafe) let memory: UnsafeMutableRawPointer

  init(counters: Int, workers: Int) {
    precondition(counters > 0 && workers > 0)
    self.workers = workers
    let bytes = counters * MemoryLayout<UInt64>.stride
    stride = (bytes + CounterTable.alignment - 1) / CounterTable.alignment * CounterTable.alignment
    memory = .allocate(byteCount: stride * workers, alignment: CounterTable.alignment)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: stride * workers)
  }

  deinit {
    memory.deallocate()
  }

  func block(of worker: Int) -> CounterBlock {
    precondition(worker >= 0 && worker < workers)
    let start = (memory + worker * stride).assumingMemoryBound(to: Atomic<UInt64>.self)
    return CounterBlock(counters: start)
  }

  /// Adds to a number that all threads share, and that no block is written for.
  func addShared(_ amount: UInt64, to counter: Int) {
    block(of: 0).counters[counter].wrappingAdd(amount, ordering: .relaxed)
  }

  /// A number, over all workers. Any thread.
  func sum(_ counter: Int) -> UInt64 {
    (0..<workers).reduce(0) { $0 &+ block(of: $1)[counter] }
  }

  /// A number that is added to with `publishOne`, over all workers.
  func settledSum(_ counter: Int) -> UInt64 {
    (0..<workers).reduce(0) {
      $0 &+ block(of: $1).counters[counter].load(ordering: .acquiring)
    }
  }
}
