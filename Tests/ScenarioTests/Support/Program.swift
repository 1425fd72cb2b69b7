// SPDX-License-Identifier: Apache-2.0
// A program as a process: started with posix_spawn(3), its output read through pipes, its end
// noticed through a third one that closes when the process is gone. So every wait is a poll(2) with
// a deadline, and none is a sleep.

import CLinux
import Foundation
import Glibc

/// How long anything may take before a test gives up: generous, since machines may be slow and
/// sanitizers make them slower.
let patience: Double = 30

/// Something that a test cannot go on without.
struct ScenarioFailure: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) {
    self.description = description
  }
}

/// How a process ended.
enum Exit: Equatable {
  case code(Int32)
  case signal(Int32)
}

/// The built `sluice`, beside the test executable.
var sluicePath: String {
  let tests = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
  return (tests as NSString).deletingLastPathComponent + "/sluice"
}

/// A running process and what it has written so far.
final class Program {
  /// Where a stream of the process goes.
  enum Output {
    /// To the test, which reads it while it waits for something.
    case captured
    /// To a descriptor of the test.
    case descriptor(Int32)
  }

  let processID: pid_t
  private(set) var outputText = ""
  private(set) var errorText = ""
  private(set) var exit: Exit?
  /// Read ends: standard output, standard error, and one that closes with the process.
  private var pipes: [Int32]

  /// Starts `path`. `descriptors` are handed over, by their number in the new process.
  init(
    _ path: String, _ arguments: [String], environment: [String: String] = [:],
    descriptors: [Int32: Int32] = [:], output: Output = .captured, errors: Output = .captured
  ) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    // Copies with high numbers, so that placing one does not overwrite another.
    var copies: [Int32] = []
    defer { for copy in copies { close(copy) } }
    func place(_ descriptor: Int32, as number: Int32) {
      let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 200)
      copies.append(copy)
      posix_spawn_file_actions_adddup2(&actions, copy, number)
    }
    pipes = []
    for (number, kind) in [(1, output), (2, errors), (99, .captured)] as [(Int32, Output)] {
      switch kind {
      case .descriptor(let descriptor):
        place(descriptor, as: number)
        pipes.append(-1)
      case .captured:
        var ends: [Int32] = [-1, -1]
        guard clinux_pipe(&ends) == 0 else { throw ScenarioFailure("no pipe") }
        // The write end is the process's own and blocks, as a terminal would.
        _ = fcntl(ends[1], F_SETFL, 0)
        place(ends[1], as: number)
        close(ends[1])
        pipes.append(ends[0])
      }
    }
    for (number, descriptor) in descriptors { place(descriptor, as: number) }

    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    var changed = sigset_t()
    sigemptyset(&changed)
    sigaddset(&changed, SIGPIPE)
    posix_spawnattr_setsigdefault(&attributes, &changed)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

    let everything = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let argv = ([path] + arguments).map { strdup($0) } + [nil]
    let envp = everything.map { strdup("\($0)=\($1)") } + [nil]
    defer { for text in argv + envp { free(text) } }
    var child = pid_t()
    let result = posix_spawn(&child, path, &actions, &attributes, argv, envp)
    processID = child
    guard result == 0 else {
      exit = .code(127)
      throw ScenarioFailure("cannot start \(path): \(String(cString: strerror(result)))")
    }
  }

  deinit {
    if exit == nil {
      kill(processID, SIGKILL)
      waitpid(processID, nil, 0)
    }
    for pipe in pipes where pipe >= 0 { close(pipe) }
  }

  /// Sends a signal.
  func send(_ signal: Int32) {
    if exit == nil { kill(processID, signal) }
  }

  /// Closes the test's end of a captured stream: 1 or 2.
  func closeReader(of stream: Int) {
    close(pipes[stream - 1])
    pipes[stream - 1] = -1
  }

  /// Reads what the process writes until `condition` gives something. `nil` when the deadline has
  /// come or the process has ended before that.
  func wait<Value>(within seconds: Double = patience, for condition: () -> Value?) -> Value? {
    let end = Date(timeIntervalSinceNow: seconds)
    var isOver = false
    while true {
      if let value = condition() { return value }
      if isOver { return nil }
      isOver = !readSome(until: end)
    }
  }

  /// Waits until the process has ended.
  func waitForExit(within seconds: Double = patience) throws -> Exit {
    if let exit { return exit }
    _ = wait(within: seconds) { self.pipes[2] < 0 ? () : nil }
    guard let exit else {
      throw ScenarioFailure("the process has not ended within \(seconds) s:\n\(errorText)")
    }
    return exit
  }

  /// Waits for output and takes it. Returns false at the deadline, and when the process has ended
  /// and everything was read.
  private func readSome(until end: Date) -> Bool {
    guard pipes[2] >= 0 else { return false }
    let milliseconds = end.timeIntervalSinceNow * 1000
    guard milliseconds > 0 else { return false }
    var items = pipes.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    _ = poll(&items, 3, Int32(milliseconds) + 1)
    outputText += drain(0)
    errorText += drain(1)
    guard items[2].revents != 0 else { return true }
    close(pipes[2])
    pipes[2] = -1
    var status: Int32 = 0
    waitpid(processID, &status, 0)
    exit = status & 0x7F == 0 ? .code(status >> 8 & 0xFF) : .signal(status & 0x7F)
    outputText += drain(0)
    errorText += drain(1)
    return false
  }

  private func drain(_ index: Int) -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while pipes[index] >= 0 {
      let count = read(pipes[index], &buffer, buffer.count)
      if count > 0 {
        bytes += buffer[..<count]
      } else {
        if count == 0 {
          close(pipes[index])
          pipes[index] = -1
        }
        break
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// What a finished run of `sluice` came to.
struct Outcome {
  let exit: Exit
  let output: String
  let errors: String
}

/// Runs `sluice` to its end.
func sluice(_ arguments: String..., environment: [String: String] = [:]) throws -> Outcome {
  let program = try Program(sluicePath, arguments, environment: environment)
  let exit = try program.waitForExit()
  return Outcome(exit: exit, output: program.outputText, errors: program.errorText)
}
