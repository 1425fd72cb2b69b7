// SPDX-License-Identifier: Apache-2.0
// The access log's thread: everything is written, and what cannot be is counted and told.

import Foundation
import Glibc
import Plan
import Reactor
import Testing

@testable import Control
@testable import DataPlane

@Suite("Access log")
struct AccessLogTests {
  @Test("Every record of every worker is written before it ends")
  func writesAll() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let log = try #require(try open("\(folder)/log", workers: 2))
    try log.start(.text, topology: sampleTopology())
    for _ in 0..<100 {
      for ring in log.rings { ring.write(sampleRecord()) }
    }
    log.stop()
    let text = try String(contentsOfFile: "\(folder)/log", encoding: .utf8)
    #expect(text.split(separator: "\n").count == 200)
  }

  @Test("A record is told with the names of the topology that was published before it was written")
  func names() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let log = try #require(try open("\(folder)/log"))
    try log.start(.text, topology: sampleTopology())
    for version in 2..<200 {
      log.use(sampleTopology(version: version, endpoint: "e\(version)"))
      log.rings[0].write(sampleRecord())
      if version % 10 == 0 {
        // What was named before must be read before the name goes.
        let pass = log.passAfterNow()
        #expect(eventually { log.hasCompleted(pass) })
      }
    }
    log.stop()
    // Names may be newer than their records, but never older, and none from before a pass that was
    // waited for is newer than that.
    let told = text("\(folder)/log").split(separator: "\n").compactMap { line in
      line.split(separator: " ").first { $0.hasPrefix("endpoint=e") }.flatMap {
        Int($0.dropFirst(10))
      }
    }
    #expect(told.count == 198)
    for (number, version) in told.enumerated() {
      let written = number + 2
      #expect(version >= written)
      #expect(version <= (written + 9) / 10 * 10)
    }
  }

  @Test("A pass is made for whoever wants one, also while the log sleeps")
  func passes() throws {
    let log = try #require(try open("/dev/null", workers: 2))
    try log.start(.text, topology: sampleTopology())
    for _ in 0..<20 {
      let pass = log.passAfterNow()
      #expect(eventually { log.hasCompleted(pass) })
    }
    #expect(!log.hasCompleted(log.passAfterNow() + 1_000_000))
    log.stop()
  }

  @Test("A file is made so that not everybody can read it")
  func mode() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let log = try #require(try open("\(folder)/log"))
    var status = stat()
    #expect(stat("\(folder)/log", &status) == 0)
    #expect(status.st_mode & 0o007 == 0)
    try log.start(.text, topology: sampleTopology())
    log.stop()
  }

  @Test("A file that cannot be opened is told by its name")
  func noFile() throws {
    let failure = #expect(throws: StartFailure.self) { _ = try open("/nowhere/log") }
    #expect(failure?.reasons[0].contains("/nowhere/log") == true)
  }

  @Test("Without a destination there is no log")
  func off() throws {
    let recorder = CollectedLog()
    let plan = LogPlan(access: .off)
    #expect(try AccessLog.open(plan, workers: 1, logger: recorder.logger) == nil)
  }

  @Test("On a full disk records are lost, counted and told")
  func fullDisk() throws {
    let recorder = CollectedLog()
    let log = try #require(try open("/dev/full", recorder: recorder))
    try log.start(.text, topology: sampleTopology())
    for _ in 0..<3 { log.rings[0].write(sampleRecord()) }
    log.stop()
    #expect(recorder.lostCount == 3)
    #expect(recorder.values(of: "cause").allSatisfy { $0 == "No space left on device" })
  }

  @Test("What is lost soon after a complaint is told without a further record")
  func laterLoss() throws {
    let recorder = CollectedLog()
    let log = try #require(try open("/dev/full", recorder: recorder))
    try log.start(.text, topology: sampleTopology(), lossPause: .milliseconds(500))
    for count in 1...2 {
      log.rings[0].write(sampleRecord())
      #expect(eventually { recorder.lostCount >= count })
    }
    log.stop()
  }

  @Test("What a slow reader costs is counted and told")
  func slowReader() throws {
    let recorder = CollectedLog()
    let log = try #require(try open("/dev/null", recorder: recorder, queue: 16))
    // The thread does not run yet: as slow as can be.
    for _ in 0..<20 { log.rings[0].write(sampleRecord()) }
    try log.start(.text, topology: sampleTopology())
    log.stop()
    #expect(recorder.lostCount == 4)
    #expect(recorder.values(of: "cause") == ["its reader is too slow"])
  }

  @Test("While its reader has stopped, losses are told by whoever asks for that, each of them once")
  func toldWhileStopped() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    ignoreBrokenPipes()
    #expect(mkfifo("\(folder)/log", 0o600) == 0)
    let reader = Glibc.open("\(folder)/log", O_RDWR | O_NONBLOCK | O_CLOEXEC)
    defer { close(reader) }
    while write(reader, [UInt8](repeating: 10, count: 4096), 4096) > 0 {}
    let recorder = CollectedLog()
    let log = try #require(try open("\(folder)/log", recorder: recorder, queue: 16))
    try log.start(.text, topology: sampleTopology())
    var sent = 0
    // The log's thread may take what waits at any moment, once; so records are sent until enough are lost.
    func lose(_ count: Int) {
      let wanted = log.droppedCount + count
      while log.droppedCount < wanted {
        log.rings[0].write(sampleRecord())
        sent += 1
      }
    }
    lose(5)
    log.tellLosses()
    let told = recorder.lostCount
    #expect(told == 5)
    lose(1)
    log.tellLosses()
    #expect(recorder.lostCount == told, "a moment ago it was told")
    log.tellLosses(lossPause: .zero)
    #expect(recorder.lostCount == 6)
    #expect(recorder.values(of: "cause").allSatisfy { $0 == "its reader is too slow" })
    var received = ""
    var buffer = [UInt8](repeating: 0, count: 65536)
    let isComplete = eventually {
      while case let count = read(reader, &buffer, buffer.count), count > 0 {
        received += String(decoding: buffer[..<count], as: UTF8.self)
      }
      return received.split(separator: "\n").count == sent - 6
    }
    #expect(isComplete)
    log.stop()
    #expect(recorder.lostCount == 6)
  }

  @Test("A reader that has stopped does not keep the log from ending, and that is told")
  func stoppedReader() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    ignoreBrokenPipes()
    #expect(mkfifo("\(folder)/log", 0o600) == 0)
    // Opened both ways, so that opening it for writing does not wait for a reader.
    let reader = Glibc.open("\(folder)/log", O_RDWR | O_NONBLOCK | O_CLOEXEC)
    defer { close(reader) }
    while write(reader, [UInt8](repeating: 10, count: 4096), 4096) > 0 {}
    let recorder = CollectedLog()
    let log = try #require(try open("\(folder)/log", recorder: recorder))
    try log.start(.text, topology: sampleTopology())
    log.rings[0].write(sampleRecord())
    log.stop()
    #expect(recorder.values(of: "cause") == ["its reader has stopped reading"])
  }

  @Test("A file that was renamed is opened again under its name, and no record is lost")
  func reopens() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let log = try #require(try open("\(folder)/log"))
    try log.start(.text, topology: sampleTopology())
    for number in 0..<20 {
      log.rings[0].write(sampleRecord())
      #expect(rename("\(folder)/log", "\(folder)/log.\(number)") == 0)
      log.reopen()
      #expect(eventually { access("\(folder)/log", F_OK) == 0 })
    }
    log.rings[0].write(sampleRecord())
    log.stop()
    let all = try FileManager.default.contentsOfDirectory(atPath: folder)
      .map { text("\(folder)/\($0)") }
    #expect(all.count == 21)
    #expect(all.allSatisfy { $0.isEmpty || $0.hasSuffix("\n") })
    #expect(all.joined().split(separator: "\n").count == 21)
  }

  @Test("When the new file cannot be opened, the old one goes on, and that is told")
  func cannotReopen() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let recorder = CollectedLog()
    let log = try #require(try open("\(folder)/log", recorder: recorder))
    try log.start(.text, topology: sampleTopology())
    #expect(rename("\(folder)/log", "\(folder)/old") == 0)
    #expect(mkdir("\(folder)/log", 0o700) == 0)
    log.reopen()
    #expect(eventually { recorder.values(of: "cause") == ["Is a directory"] })
    log.rings[0].write(sampleRecord())
    log.stop()
    #expect(text("\(folder)/old").split(separator: "\n").count == 1)
  }

  @Test("What is no file is not opened again", arguments: ["/dev/null", "fifo"])
  func reopensFilesOnly(path: String) throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let path = path == "fifo" ? "\(folder)/fifo" : path
    #expect(path == "/dev/null" || mkfifo(path, 0o600) == 0)
    let reader = Glibc.open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
    let output = try #require(try AccessOutput.open(.file(path: path)))
    // Without its reader, opening the pipe would fail.
    close(reader)
    #expect(output.reopen() == .noFile)
  }

  @Test("A file that was not renamed goes on, a line that a full disk has cut included")
  func unchangedFile() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let path = "\(folder)/log"
    let output = try #require(try AccessOutput.open(.file(path: path)))
    let writer = output.writer
    #expect(output.reopen() == .unchanged(path: path))
    #expect(output.writer === writer)
    #expect(rename(path, path + ".1") == 0)
    #expect(output.reopen() == .reopened(path: path))
    #expect(output.writer !== writer)
  }

  private func text(_ path: String) -> String {
    // Not `String(contentsOfFile:)`, which leaks when the file is empty (Swift 6.3).
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    while case let byte = getc(file), byte != EOF { bytes.append(UInt8(truncatingIfNeeded: byte)) }
    return String(decoding: bytes, as: UTF8.self)
  }

  private func open(
    _ path: String, workers: Int = 1, recorder: CollectedLog = CollectedLog(),
    queue: Int = 4096
  ) throws -> AccessLog? {
    try AccessLog.open(
      LogPlan(access: .file(path: path), queueMax: queue), workers: workers,
      logger: recorder.logger)
  }
}
