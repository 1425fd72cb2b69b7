// SPDX-License-Identifier: Apache-2.0
// Whether all workers are alive: each is asked now and then, and answers when its turn comes to its
// inbox, which is after it has served what was ready. A worker that hangs does not answer, however
// well the thread that asks may be.

import Reactor

/// Questions to the workers, one round at a time.
struct Heartbeat {
  /// What there is to do.
  enum Step: Equatable {
    /// Nothing before `deadline`.
    case rest
    /// Ask every worker.
    case ask
    /// These workers have not answered since the last round: do not ask again.
    case miss(workers: [Int])
  }

  /// When the next round is due.
  private(set) var deadline: Instant
  private let nanoseconds: UInt64
  private let workers: Int
  private var awaited: Set<Int> = []

  /// Rounds `nanoseconds` apart, the first one at once.
  init(every nanoseconds: UInt64, workers: Int, now: Instant) {
    precondition(nanoseconds > 0 && workers > 0)
    self.nanoseconds = nanoseconds
    self.workers = workers
    deadline = now
  }

  /// Begins a round when it is due.
  mutating func advance(to now: Instant) -> Step {
    guard now >= deadline else { return .rest }
    deadline = now.advanced(by: nanoseconds)
    guard awaited.isEmpty else { return .miss(workers: awaited.sorted()) }
    awaited = Set(0..<workers)
    return .ask
  }

  /// Notes an answer. Returns whether it was the last one of its round: all are alive.
  mutating func note(answerOf worker: Int) -> Bool {
    awaited.remove(worker) != nil && awaited.isEmpty
  }
}
