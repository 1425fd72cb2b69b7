// SPDX-License-Identifier: Apache-2.0
// A ledger with what it needs around it: listeners that are only numbers, and a reader of records
// that reads when it is told to.

import Addressing
import Plan

@testable import Control
@testable import DataPlane

/// Reads records, as far as the ledger can tell.
final class BookReader: RecordReader {
  private var passes = 0
  /// How often somebody has asked for a pass.
  private(set) var wanted = 0

  func passAfterNow() -> Int {
    wanted += 1
    return passes + 1
  }

  func hasCompleted(_ pass: Int) -> Bool { passes >= pass }

  func read() { passes += 1 }
}

/// Plans, one after another, with a listener for each address that is only a number.
final class Book {
  let ledger: TopologyLedger
  let reader = BookReader()
  private let workers: Int
  private let builtins: [BuiltinService: SocketAddress]

  init(
    workers: Int = 1, builtins: [BuiltinService: SocketAddress] = [:]
  ) {
    self.workers = workers
    ledger = TopologyLedger(workers: workers, records: reader)
    self.builtins = builtins
  }

  /// All workers use the latest topology.
  func confirm() {
    guard let version = ledger.current?.version else { return }
    for worker in 0..<workers { ledger.note(worker: worker, isUsing: version) }
  }

  @discardableResult
  func build(_ plan: ProxyPlan, names: [NameQuestion: Resolution] = [:]) -> Topology {
    var listeners: [OpenListener] = []
    for (position, route) in plan.routes.enumerated() {
      for address in route.listen {
        listeners.append(
          OpenListener(
            key: ListenerKey(address: address, ordinal: 0), descriptor: 0, generation: 1,
            name: "\(address)", route: position))
      }
    }
    return ledger.build(
      plan, names: names, builtins: builtins, listeners: listeners, sessionsMax: 10)
  }
}
