// SPDX-License-Identifier: Apache-2.0
// What is remembered of a listener from one topology to the next: which sessions came through it.
// Their records name it, also when it is long closed.

/// The part of a listener that outlives a topology.
public final class ListenerState: Sendable {
  private let table: CounterTable

  /// A listener that nobody has come through, for `workers` workers.
  public init(workers: Int) {
    table = CounterTable(counters: ListenerCounters.count, workers: workers)
  }

  func counters(of worker: Int) -> ListenerCounters {
    ListenerCounters(block: table.block(of: worker))
  }

  /// Whether some session that came through it goes on. Once no worker accepts here any more, false
  /// is for good, and all that those sessions have recorded is visible.
  public var isNamed: Bool {
    // In this order: who leaves has come before.
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

  /// A connection was accepted. Another worker may be the one that it leaves from.
  func noteCame() {
    block.add(1, to: ListenerCounters.came)
  }

  /// A session is over, and has written its last record.
  func noteLeft() {
    block.publishOne(to: ListenerCounters.left)
  }
}
