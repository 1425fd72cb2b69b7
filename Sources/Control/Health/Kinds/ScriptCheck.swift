// SPDX-License-Identifier: Apache-2.0
// A program that is run and says by its exit code what it thinks of an endpoint. It gets to know the
// endpoint by its environment, which holds nothing else of this process's own but where programs are,
// the language and the time zone: what is in there may be secret.

import Addressing
import EventLoop
import Glibc
import Plan
import Reactor

/// Starts scripts, and not too many at once. Any loop's thread.
final class ScriptRunner: Sendable {
  /// How many run at once.
  static let runningMax = 32

  fileprivate let launcher: ProgramLauncher
  let places = EventLoop.Semaphore(ScriptRunner.runningMax)

  /// A runner whose scripts are started by a launcher.
  init(
    launcher: ProgramLauncher = ProgramLauncher(name: "scripts", threadsMax: 2, waitingMax: 4096)
  ) {
    self.launcher = launcher
  }
}

/// A script, ready to be run for one endpoint.
struct ScriptCheck: Sendable {
  /// How much of a last line is told.
  private static let lineBytesMax = 200

  private let program: Program
  private let runner: ScriptRunner
  private let timeout: Duration

  init(
    _ plan: ScriptCheckPlan, _ subject: HealthSubject, target: SocketAddress, runner: ScriptRunner
  ) {
    precondition(!plan.command.isEmpty)
    let names: [String] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ"]
    var environment = names.compactMap { name in
      getenv(name).map { "\(name)=\(String(cString: $0))" }
    }
    environment += [
      "SLUICE_UPSTREAM=\(subject.id.upstream)", "SLUICE_ENDPOINT=\(subject.name)",
      "SLUICE_ADDRESS=\(target)",
    ]
    if let ip = target.ip { environment.append("SLUICE_HOST=\(ip)") }
    if let port = target.port { environment.append("SLUICE_PORT=\(port)") }
    program = Program(
      path: plan.command[0], arguments: Array(plan.command.dropFirst()), environment: environment)
    self.runner = runner
    timeout = subject.check.timeout
  }

  /// Runs it, and waits for its end. That it waits for its turn until `deadline` is nothing that the
  /// endpoint has done: its time counts from when it runs.
  func run(until deadline: Instant) async -> CheckOutcome {
    do throws(WaitError) {
      try await runner.places.acquire(until: deadline)
    } catch {
      return error == .cancelled ? .cancelled : .impossible(.busy)
    }
    defer { runner.places.release() }
    do {
      let end = try await program.run(
        on: runner.launcher, startedBy: deadline, endedWithin: timeout)
      guard end.status != .exited(0) else { return .good }
      return .failed(.script(end.status, lastLine: ScriptCheck.lastLine(end.output)))
    } catch WaitError.cancelled {
      return .cancelled
    } catch WaitError.deadlinePassed {
      return .failed(.scriptTimeout(timeout))
    } catch let errno as Errno {
      return .impossible(.script(errno))
    } catch {
      // It was not started in time, or there is no thread that would.
      return .impossible(.busy)
    }
  }

  /// The last line that is not empty, cut, with what is no text replaced.
  static func lastLine(_ output: [UInt8]) -> String {
    let ends = [UInt8(ascii: "\n"), UInt8(ascii: "\r")]
    let lines = output.split { ends.contains($0) }
    let line = lines.last { line in line.contains { $0 > 0x20 } } ?? []
    let text = String(decoding: line.prefix(lineBytesMax), as: UTF8.self)
    var view = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      view.append(scalar.value < 0x20 || scalar.value == 0x7F ? "?" : scalar)
    }
    return String(view)
  }
}
