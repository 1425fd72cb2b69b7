// SPDX-License-Identifier: Apache-2.0
// The operational log: its two forms, its levels, and that logging never waits.

import Foundation
import Logging
import Plan
import Testing

@testable import Control

@Suite("Event log")
struct EventLogTests {
  @Test("A text line has time, level, message and sorted pairs")
  func text() throws {
    let pipe = Pipe()
    let log = try EventLog(LogPlan(), to: pipe.writer)
    log.logger("test").info("hello", metadata: ["b": "two words", "a": "1"])
    log.stop()
    let line = pipe.read { $0.hasSuffix("\n") }
    #expect(line.dropFirst(24) == " info hello a=1 b=\"two words\"\n")
  }

  @Test("A JSON line is an object, whatever the values hold")
  func json() throws {
    let pipe = Pipe()
    let log = try EventLog(LogPlan(format: .json), to: pipe.writer)
    log.logger("test").warning("say \"hi\"", metadata: ["key \n": "\u{1}\\"])
    log.stop()
    let line = pipe.read { $0.hasSuffix("\n") }
    let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String]
    #expect(object?["level"] == "warning")
    #expect(object?["message"] == "say \"hi\"")
    #expect(object?["key \n"] == "\u{1}\\")
  }

  @Test("What is below the level is left out", arguments: LogPlan.Level.allCases)
  func levels(level: LogPlan.Level) throws {
    let pipe = Pipe()
    let log = try EventLog(LogPlan(level: level), to: pipe.writer)
    let logger = log.logger("test")
    logger.debug("debug")
    logger.info("info")
    logger.warning("warning")
    logger.error("error")
    log.stop()
    let text = pipe.read { $0.hasSuffix(" error error\n") }
    let position = LogPlan.Level.allCases.firstIndex(of: level) ?? 0
    #expect(text.split(separator: "\n").count == 4 - position)
  }

  @Test("A reader that has stopped makes nobody wait, and what is lost is counted")
  func stoppedReader() throws {
    let pipe = Pipe()
    pipe.fill()
    let log = try EventLog(LogPlan(format: .json, queueMax: 16), to: pipe.writer)
    let logger = log.logger("test")
    // The thread holds a line or more in its hands; whatever it took, this is too much.
    for number in 0..<100 { logger.info("line \(number)") }
    // It may tell of losses more than once.
    let text = pipe.read { text in
      let (written, lost) = tally(text)
      return text.hasSuffix("}\n") && written + lost == 100
    }
    log.stop()
    let (written, lost) = tally(text)
    #expect(written + lost == 100)
    #expect(lost > 0)
  }

  /// How many lines stand there, and how many are told to be lost.
  private func tally(_ text: String) -> (written: Int, lost: Int) {
    var (written, lost) = (0, 0)
    for line in text.split(separator: "\n") where line.hasSuffix("}") {
      let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String]
      if let count = object?["count"] { lost += Int(count) ?? 0 } else { written += 1 }
    }
    return (written, lost)
  }
}
