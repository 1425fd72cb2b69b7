// SPDX-License-Identifier: Apache-2.0
// Numbers that one thread writes and any thread reads, while it writes. Every worker has a block of
// its own for each route, listener and endpoint, so adding needs neither a lock nor an atomic
// read-modify-write: a load, an addition and a store, none of them ordered. Blocks begin on lines of
// their own, so that no worker takes a line away from another. Whoever reads adds the blocks up.
//
// A sum is exact once the writers rest. While they write, each number is right for some moment
// during the reading, and not the same moment for all of them.

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

  /// Adds one, and makes everything that this thread did before visible to whoever reads the new
  /// value with `CounterTable.settledSum`.
  func publishOne(to counter: Int) {
    counters[counter].store(self[counter] &+ 1, ordering: .releasing)
  }
}

/// The numbers of one entity, for all workers. They begin at zero.
final class CounterTable: Sendable {
  /// Two lines of cache, which processors fetch in pairs.
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

  /// Adds to a number that all threads share, and that no block is used for.
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
