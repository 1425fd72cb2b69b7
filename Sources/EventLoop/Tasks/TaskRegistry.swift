// SPDX-License-Identifier: Apache-2.0
// The tasks that were spawned on a loop and have not ended, so that stopping can cancel them and wait
// for them, and so that a listing can name them.

import Reactor

/// Tasks by number. Any thread.
final class TaskRegistry: Sendable {
  private struct Record {
    let name: String
    /// `nil` for the moment in which the task is being made.
    var cancel: (@Sendable () -> Void)?
  }

  private struct State: ~Copyable {
    var records: [UInt64: Record] = [:]
    var lastNumber: UInt64 = 0
    var isCancelling = false
  }

  private let state = Lock(State())

  /// Announces a task, before it can run.
  func add(_ name: String) -> UInt64 {
    state.withLock { state in
      state.lastNumber += 1
      state.records[state.lastNumber] = Record(name: name)
      return state.lastNumber
    }
  }

  /// Says how a task that was announced is cancelled; at once, if all are being cancelled.
  func attach(_ number: UInt64, cancel: @escaping @Sendable () -> Void) {
    let mustCancel = state.withLock { state in
      // It may have ended meanwhile, on the loop's thread.
      state.records[number]?.cancel = cancel
      return state.isCancelling
    }
    if mustCancel { cancel() }
  }

  /// The task has ended.
  func remove(_ number: UInt64) {
    state.withLock { state in _ = state.records.removeValue(forKey: number) }
  }

  /// Cancels every task, and those that come later.
  func cancelAll() {
    let cancels = state.withLock { state in
      state.isCancelling = true
      return state.records.values.compactMap(\.cancel)
    }
    for cancel in cancels { cancel() }
  }

  /// New tasks may run again.
  func reopen() {
    state.withLock { $0.isCancelling = false }
  }

  var hasTasks: Bool { state.withLock { !$0.records.isEmpty } }

  /// The names, in the order of spawning.
  var names: [String] {
    state.withLock { state in
      state.records.sorted { $0.key < $1.key }.map(\.value.name)
    }
  }
}
