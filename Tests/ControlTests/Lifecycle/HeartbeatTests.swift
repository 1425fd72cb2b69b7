// SPDX-License-Identifier: Apache-2.0
// Rounds of questions: one at a time, complete or told.

import Reactor
import Testing

@testable import Control

@Suite("Heartbeat")
struct HeartbeatTests {
  private func at(_ nanoseconds: UInt64) -> Instant { Instant(nanoseconds: nanoseconds) }

  @Test("A round is complete when every worker has answered, and the next one waits for its time")
  func complete() {
    var heartbeat = Heartbeat(every: 100, workers: 2, now: at(1000))
    #expect(heartbeat.advance(to: at(1000)) == .ask)
    #expect(heartbeat.note(answerOf: 1) == false)
    #expect(heartbeat.note(answerOf: 0) == true)
    #expect(heartbeat.advance(to: at(1099)) == .rest)
    #expect(heartbeat.deadline == at(1100))
    #expect(heartbeat.advance(to: at(1100)) == .ask)
  }

  @Test("A worker that does not answer keeps its round open, and is named")
  func missing() {
    var heartbeat = Heartbeat(every: 100, workers: 3, now: at(0))
    #expect(heartbeat.advance(to: at(0)) == .ask)
    #expect(heartbeat.note(answerOf: 1) == false)
    #expect(heartbeat.advance(to: at(100)) == .miss(workers: [0, 2]))
    #expect(heartbeat.note(answerOf: 2) == false)
    #expect(heartbeat.advance(to: at(200)) == .miss(workers: [0]))
    #expect(heartbeat.note(answerOf: 0) == true)
    #expect(heartbeat.advance(to: at(300)) == .ask)
  }

  @Test("An answer that nobody waits for completes nothing")
  func unasked() {
    var heartbeat = Heartbeat(every: 100, workers: 1, now: at(0))
    #expect(heartbeat.note(answerOf: 0) == false)
  }
}
