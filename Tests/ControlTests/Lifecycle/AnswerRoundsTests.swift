// SPDX-License-Identifier: Apache-2.0
// Rounds of questions: one at a time, complete or told.

import Reactor
import Testing

@testable import Control

@Suite("AnswerRounds")
struct AnswerRoundsTests {
  private func at(_ nanoseconds: UInt64) -> Instant { Instant(nanoseconds: nanoseconds) }

  @Test("A round is complete when every worker has answered, and only then the next one begins")
  func complete() {
    var rounds = AnswerRounds(workers: 2)
    #expect(rounds.begin(at: at(1000)) == true)
    #expect(rounds.begin(at: at(1001)) == false)
    #expect(rounds.note(answerOf: 1, at: at(1010)) == false)
    #expect(rounds.isOpen)
    #expect(rounds.note(answerOf: 0, at: at(1030)) == true)
    #expect(rounds.isOpen == false)
    #expect(rounds.answerTimes(at: at(9999)) == [30, 10])
    #expect(rounds.begin(at: at(2000)) == true)
  }

  @Test("Who does not answer is named once the round is old enough, until it does")
  func missing() {
    var rounds = AnswerRounds(workers: 3)
    #expect(rounds.begin(at: at(0)) == true)
    #expect(rounds.note(answerOf: 1, at: at(5)) == false)
    #expect(rounds.missing(after: 100, at: at(99)) == [])
    #expect(rounds.missing(after: 100, at: at(100)) == [0, 2])
    #expect(rounds.note(answerOf: 2, at: at(150)) == false)
    #expect(rounds.missing(after: 100, at: at(150)) == [0])
    #expect(rounds.note(answerOf: 0, at: at(160)) == true)
    #expect(rounds.missing(after: 100, at: at(500)) == [])
  }

  @Test("An answer that was not asked for, or comes twice, counts for nothing")
  func unasked() {
    var rounds = AnswerRounds(workers: 2)
    #expect(rounds.note(answerOf: 0, at: at(1)) == false)
    #expect(rounds.begin(at: at(10)) == true)
    #expect(rounds.note(answerOf: 0, at: at(11)) == false)
    #expect(rounds.note(answerOf: 0, at: at(12)) == false)
    #expect(rounds.note(answerOf: 1, at: at(13)) == true)
    #expect(rounds.answerTimes(at: at(20)) == [1, 3])
  }

  @Test("While an answer is due, its time grows")
  func due() {
    var rounds = AnswerRounds(workers: 1)
    #expect(rounds.answerTimes(at: at(5)) == [nil])
    #expect(rounds.begin(at: at(10)) == true)
    #expect(rounds.answerTimes(at: at(15)) == [5])
    #expect(rounds.note(answerOf: 0, at: at(20)) == true)
    #expect(rounds.begin(at: at(30)) == true)
    #expect(rounds.answerTimes(at: at(31)) == [10])
    #expect(rounds.answerTimes(at: at(45)) == [15])
  }
}
