// SPDX-License-Identifier: Apache-2.0
// Whether all workers are alive, and how fast: each is asked now and then, and answers when its turn comes
// to its inbox, which is after it has served what was ready. A worker that hangs does not answer, however
// well the thread that asks may be.

import Reactor

/// Questions to the workers, one round at a time.
struct AnswerRounds {
  private var beganAt: Instant?
  private var awaited: Set<Int> = []
  /// How long the last answer of each worker took, in nanoseconds.
  private var times: [UInt64?]

  /// No round yet.
  init(workers: Int) {
    precondition(workers > 0)
    times = Array(repeating: nil, count: workers)
  }

  /// Whether some worker has not answered yet.
  var isOpen: Bool { !awaited.isEmpty }

  /// Begins a round, and returns whether the workers are to be asked: not while one is open, or a worker
  /// that hangs would find its inbox full of questions.
  mutating func begin(at now: Instant) -> Bool {
    guard !isOpen else { return false }
    beganAt = now
    awaited = Set(times.indices)
    return true
  }

  /// Notes an answer. Returns whether it was the last one of its round: all are alive.
  mutating func note(answerOf worker: Int, at now: Instant) -> Bool {
    guard let beganAt, awaited.remove(worker) != nil else { return false }
    times[worker] = now.nanoseconds(since: beganAt)
    return awaited.isEmpty
  }

  /// The workers that have not answered a round that began so long ago.
  func missing(after nanoseconds: UInt64, at now: Instant) -> [Int] {
    guard let beganAt, now.nanoseconds(since: beganAt) >= nanoseconds else { return [] }
    return awaited.sorted()
  }

  /// How long each worker takes to answer, in nanoseconds: the last time, or, while it has not answered,
  /// at least so long; `nil` before it was asked.
  func answerTimes(at now: Instant) -> [UInt64?] {
    times.indices.map { worker in
      guard awaited.contains(worker), let beganAt else { return times[worker] }
      return max(times[worker] ?? 0, now.nanoseconds(since: beganAt))
    }
  }
}
