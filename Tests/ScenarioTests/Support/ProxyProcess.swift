// SPDX-License-Identifier: Apache-2.0
// The proxy with a configuration that stands in the test: started and ready when made, killed when
// let go. Its own log says where it listens, so that no test needs a fixed port.

import Foundation
import Glibc

/// A running `sluice run`.
final class ProxyProcess {
  let program: Program
  private let folder: Folder
  private let file: String

  /// Starts the proxy and waits until it is ready. `shell` is put before the command, for what only
  /// a shell can do.
  init(
    _ configuration: String, environment: [String: String] = [:],
    descriptors: [Int32: Int32] = [:], output: Program.Output = .captured, shell: String? = nil
  ) throws {
    folder = try Folder()
    file = folder.path("config.yaml")
    try configuration.write(toFile: file, atomically: false, encoding: .utf8)
    var command = [sluicePath, "run", "--config", file]
    if let shell { command = ["/bin/sh", "-c", "\(shell) exec \"$0\" \"$@\""] + command }
    program = try Program(
      command[0], Array(command.dropFirst()), environment: environment, descriptors: descriptors,
      output: output)
    guard event("ready") != nil else {
      throw ScenarioFailure("the proxy has not started:\n\(program.errorText)")
    }
  }

  /// The address that a route listens at, as the log tells it; `:PORT` as an address to connect to.
  func address(_ route: String = "r", number: Int = 0) throws -> String {
    let lines = logLines(program.errorText).filter {
      $0.message == "listening" && $0["route"] == route
    }
    guard lines.indices.contains(number), let at = lines[number]["at"] else {
      throw ScenarioFailure("route \(route) does not listen:\n\(program.errorText)")
    }
    let address = at.contains("=") ? String(at.split(separator: "=")[1]) : at
    return address.hasPrefix(":") ? "127.0.0.1" + address : address
  }

  /// Waits for a line of the operational log that begins with these words.
  func event(_ message: String, within seconds: Double = patience) -> LogLine? {
    program.wait(within: seconds) {
      logLines(program.errorText).first { $0.message.hasPrefix(message) }
    }
  }

  /// Waits for access records on standard output, and gives all that are there.
  func records(_ count: Int = 1, _ moment: String = "end") throws -> [LogLine] {
    let records = program.wait { () -> [LogLine]? in
      let lines = logLines(program.outputText).filter { $0.message == moment }
      return lines.count >= count ? lines : nil
    }
    guard let records else {
      throw ScenarioFailure("not \(count) records:\n\(program.outputText)\(program.errorText)")
    }
    return records
  }

  /// Waits for the first access record.
  func record(_ moment: String = "end") throws -> LogLine {
    try records(1, moment)[0]
  }

  /// Puts another configuration in the place of the one it runs with, has it read, and waits for what
  /// came of that: `reloaded`, or the first reason why not.
  func reload(_ configuration: String) throws -> LogLine {
    func outcomes() -> [LogLine] {
      logLines(program.errorText).filter {
        $0.message == "reloaded" || $0.message == "the configuration was not reloaded"
      }
    }
    let before = outcomes().count
    try configuration.write(toFile: file, atomically: true, encoding: .utf8)
    program.send(SIGHUP)
    let outcome = program.wait { () -> LogLine? in
      let all = outcomes()
      return all.count > before ? all[before] : nil
    }
    guard let outcome else { throw ScenarioFailure("no reload:\n\(program.errorText)") }
    return outcome
  }

  /// Tells it to end.
  func terminate() {
    program.send(SIGTERM)
  }

  /// Tells it to end and waits for that.
  func end() throws -> Exit {
    terminate()
    return try program.waitForExit()
  }
}

/// A folder that lives as long as this value.
final class Folder {
  let root: String

  init() throws {
    var template = Array("/tmp/sluice-XXXXXX".utf8CString)
    guard let made = mkdtemp(&template) else { throw ScenarioFailure("no folder") }
    root = String(cString: made)
  }

  deinit {
    try? FileManager.default.removeItem(atPath: root)
  }

  func path(_ name: String) -> String {
    root + "/" + name
  }

  func exists(_ name: String) -> Bool {
    FileManager.default.fileExists(atPath: path(name))
  }

  func text(_ name: String) -> String {
    (try? String(contentsOfFile: path(name), encoding: .utf8)) ?? ""
  }
}
