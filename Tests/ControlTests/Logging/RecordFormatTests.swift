// SPDX-License-Identifier: Apache-2.0
// Session records as lines.

import Foundation
import Plan
import Reactor
import Testing

@testable import Control
@testable import DataPlane

/// A record as a line without its time and line end.
private func line(
  _ record: SessionRecord, _ format: LogPlan.Format = .text,
  topology: Topology = sampleTopology()
) -> String {
  var lines = LineBuffer()
  var recordFormat = RecordFormat(format, topology: topology)
  recordFormat.append(record, now: record.at, to: &lines)
  return String(decoding: lines.bytes, as: UTF8.self)
}

/// A JSON line as an object.
private func object(_ record: SessionRecord, topology: Topology = sampleTopology()) throws
  -> [String: Any]
{
  let data = Data(line(record, .json, topology: topology).utf8)
  return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
}

@Suite("Record format")
struct RecordFormatTests {
  @Test("A text record has every fact in its place")
  func text() {
    #expect(
      line(sampleRecord()).dropFirst(24) == """
         access end route=r listener=:80 client=127.0.0.1:43480 endpoint=10.0.0.1:5432 up=1204 \
        down=88210 connect_ms=0.412 duration_ms=1530.118 attempts=1 end=finished by=downstream \
        phase=downstream_finished

        """)
  }

  @Test("A JSON record has the same facts")
  func json() throws {
    let object = try object(sampleRecord())
    #expect(
      Set(object.keys) == [
        "time", "access", "route", "listener", "client", "endpoint", "up", "down", "connect_ms",
        "duration_ms", "attempts", "end", "by", "phase",
      ])
    #expect(object["up"] as? Int == 1204)
    #expect(object["connect_ms"] as? Double == 0.412)
    #expect(object["endpoint"] as? String == "10.0.0.1:5432")
  }

  @Test("What there is not is a dash, and null in JSON")
  func absent() throws {
    let record = sampleRecord(endpoint: nil, connect: nil)
    #expect(line(record).contains(" endpoint=- "))
    #expect(line(record).contains(" connect_ms=- "))
    let object = try object(record)
    #expect(object["endpoint"] is NSNull)
    #expect(object["connect_ms"] is NSNull)
  }

  @Test("Before the end nothing is said of it", arguments: [LogPlan.Format.text, .json])
  func noEnd(format: LogPlan.Format) {
    let text = line(sampleRecord(.start, end: nil), format)
    #expect(!text.contains("phase"))
    #expect(text.contains("start"))
  }

  @Test("Every end has a word of its own that the manual explains", arguments: [false, true])
  func ends(isJSON: Bool) throws {
    let manual = try String(contentsOfFile: repositoryPath("docs/logs.md"), encoding: .utf8)
    var words: Set<String> = []
    for reason in SessionEnd.Reason.allCases {
      let record = sampleRecord(end: SessionEnd(origin: .proxy, reason: reason, phase: .relaying))
      let word =
        isJSON
        ? try object(record)["end"] as? String
        : line(record).split(separator: " ").first { $0.hasPrefix("end=") }.map {
          String($0.dropFirst(4))
        }
      words.insert(try #require(word))
      #expect(manual.contains("`\(word ?? "")`"))
    }
    #expect(words.count == SessionEnd.Reason.allCases.count)
  }

  @Test("Origins and phases have words that the manual explains")
  func originsAndPhases() throws {
    let manual = try String(contentsOfFile: repositoryPath("docs/logs.md"), encoding: .utf8)
    for origin in SessionEnd.Origin.allCases {
      #expect(manual.contains("`\(origin.word.description)`"))
    }
    for phase in SessionEnd.Phase.allCases {
      #expect(manual.contains("`\(phase.word.description)`"))
    }
  }

  @Test("The kernel's word is told where there is one")
  func error() throws {
    let record = sampleRecord(
      end: SessionEnd(
        origin: .upstream, reason: .reset, phase: .relaying, errno: .connectionReset))
    #expect(line(record).hasSuffix(" error=\"Connection reset by peer\"\n"))
    #expect(try object(record)["error"] as? String == "Connection reset by peer")
  }

  @Test("Another topology brings other names")
  func otherNames() {
    var format = RecordFormat(.text, topology: sampleTopology())
    format.use(sampleTopology(version: 7, listener: ":81", endpoint: "other"))
    #expect(format.version == 7)
    var lines = LineBuffer()
    format.append(sampleRecord(), now: Instant(nanoseconds: 0), to: &lines)
    let text = String(decoding: lines.bytes, as: UTF8.self)
    #expect(text.contains(" listener=:81 "))
    #expect(text.contains(" endpoint=other "))
  }

  @Test("A name can neither end its value nor its line")
  func names() throws {
    let name = "unix:/tmp/a \"b\"\nc"
    let topology = sampleTopology(listener: name, endpoint: name)
    let text = line(sampleRecord(), topology: topology)
    #expect(text.split(separator: "\n").count == 1)
    #expect(text.contains(#" listener="unix:/tmp/a \"b\"\u000ac" "#))
    #expect(try object(sampleRecord(), topology: topology)["endpoint"] as? String == name)
  }
}
