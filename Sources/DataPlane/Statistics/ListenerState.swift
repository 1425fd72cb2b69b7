// SPDX-License-Identifier: Apache-2.0
// The state of a listener that is kept from one topology to the next: whether sessions that came through it go on.
// Their records refer to it, also long after it was closed.

/// The part of a listener that outlives a topology.
public final class ListenerState: Sendable {
  private let table: CounterTable

  /// A listener without sessions, for `workers` workers.
  public init(workers: Int) {
    table = CounterTable(counters: ListenerCounters.count, workers: workers)
  }

  func counters(of worker: Int) -> ListenerCounters {
    ListenerCounters(block: table.block(of: worker))
  }

  /// Whether a session that came through it goes on. Once no worker accepts here any more, false is
  /// final, and all records of those sessions are visible.
  public var isNamed: Bool {
    // In this order: a session comes before it leaves.
    let left = table.settledSum(ListenerCounters.left)
    return table.settledSum(ListenerCounters.came) != left
  }
}

/// One worker's numbers of a listener.
struct ListenerCounters {
  fileprivate static var came: Int { 0 }
  fileprivate static var left: Int { 1 }
  fileprivate static var count: Int { 2 }

  fileprivate let block: CounterBlock

  /// A connection was accepted. It may be counted as gone by another worker.
  func noteCame() {
    block.add(1, to: ListenerCounters.came)
  }

  /// A session is over, and has written its last record.
  func noteLeft() {
    block.publishOne(to: ListenerCounters.left)
  }
}
