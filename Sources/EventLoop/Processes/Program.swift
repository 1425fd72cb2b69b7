// SPDX-License-Identifier: Apache-2.0
// Running a program as a step of a task. It is started off the loop, because the kernel holds up the thread
// that starts one until it runs; its end is a descriptor that becomes readable (pidfd_open(2)), so nobody
// blocks or looks for it. A program is the first of a process group of its own, and nothing of that group
// outlives the program: not when it ends by itself, and not when its time is up.
//
// What a program has started becomes the child of whoever takes in orphans when the program ends. In a
// container that is this process, if it is the first one there. So the group is reaped as well: behind its
// leader, until nothing of it is left. Its id is not used again before that, since its members have it.

import CLinux
import Glibc
import Reactor

/// A program to be run.
public struct Program: Hashable, Sendable {
  /// Where it is: an absolute path. It is not looked for anywhere else.
  public var path: String
  /// What it is told, without its name.
  public var arguments: [String]
  /// Its whole environment, as `NAME=value`. Nothing of this process's own is passed on.
  public var environment: [String]

  /// Makes a program to be run.
  public init(path: String, arguments: [String] = [], environment: [String] = []) {
    self.path = path
    self.arguments = arguments
    self.environment = environment
  }
}

/// How a program has ended.
public struct ProgramEnd: Hashable, Sendable {
  /// By itself, or by a signal.
  public enum Status: Hashable, Sendable {
    /// With this code.
    case exited(Int)
    /// By the signal of this number.
    case killed(signal: Int)
  }

  /// How.
  public let status: Status
  /// The end of what it wrote, to both of its outputs, as they came.
  public let output: [UInt8]
}

/// The program was not started in time, for want of a thread that starts it. Nothing of it has run, or what
/// has was ended.
public struct ProgramDelay: Error, Hashable, Sendable {
  /// Says so.
  public init() {}
}

extension Program {
  /// How much is kept of what a program writes.
  public static let outputBytesMax = 4096

  /// Runs the program, started by a thread of `launcher`, while the calling task of a loop waits. It reads
  /// nothing; what it writes is read all the time, and the last `outputBytesMax` bytes are kept. No signal
  /// is blocked or ignored in it, and no descriptor of this process is open.
  ///
  /// It must run by `deadline`, and may then take as long as `patience` says. Throws `ProgramDelay`
  /// when it does not run by then, and `WaitError` when the task is cancelled or its time is up: then
  /// the program and all of its group have been sent SIGKILL, and will be reaped without anybody
  /// waiting. Throws `Errno` when it cannot be started, or something else has taken notice of its end,
  /// and `BlockingPoolError` when the launcher does not start it.
  public func run(
    on launcher: ProgramLauncher, startedBy deadline: Instant = .distantFuture,
    endedWithin patience: Duration? = nil
  ) async throws -> ProgramEnd {
    let loop = Loop.ofTask
    // What is late already is not begun.
    guard loop.now < deadline else { throw ProgramDelay() }
    var ends: [CInt] = [-1, -1]
    let made = clinux_pipe(&ends)
    guard made == 0 else { throw Errno(rawValue: -made) }
    let writer = OutputEnd(owning: ends[1])
    let reader = Descriptor(owning: ends[0])
    let output = try PipeTail(owning: reader, bytesMax: Program.outputBytesMax, on: loop)
    defer { output.close() }
    let process = try await start(on: launcher, until: deadline, writer)
    let watch = try ProcessWatch(process, on: loop)
    let end = patience.map { loop.now.advanced(by: $0.wholeNanoseconds) } ?? .distantFuture
    let status = try await watch.waitEnded(until: end)
    output.readNow()
    return ProgramEnd(status: status, output: output.bytes)
  }

  private func start(
    on launcher: ProgramLauncher, until deadline: Instant, _ output: OutputEnd
  ) async throws -> StartedProcess {
    do {
      return try await launcher.pool.run(until: deadline) {
        let process = try StartedProcess(self, output: output, launcher)
        output.close()
        return process
      }
    } catch WaitError.deadlinePassed {
      throw ProgramDelay()
    }
  }
}

/// The end of a pipe that a program writes to, while this process has it. Any thread.
private final class OutputEnd: Sendable {
  private let descriptor: Lock<CInt>
  let rawValue: CInt

  init(owning descriptor: CInt) {
    // Programs do not expect an output that refuses.
    _ = fcntl(descriptor, F_SETFL, 0)
    self.descriptor = Lock(descriptor)
    rawValue = descriptor
  }

  deinit {
    close()
  }

  func close() {
    let open = descriptor.withLock { open in
      defer { open = -1 }
      return open
    }
    if open >= 0 { _ = Glibc.close(open) }
  }
}

/// A process that runs, and that whoever drops this ends and reaps. Any thread.
private final class StartedProcess: @unchecked Sendable {
  // SAFETY: constants but for `isTakenOver`, which one thread writes before it lets go of this.
  let id: CInt
  let descriptor: CInt
  private var isTakenOver = false

  /// Starts a program. Blocks until it runs.
  init(_ program: Program, output: OutputEnd, _ launcher: ProgramLauncher) throws(Errno) {
    (descriptor, id) = try launcher.start(program, output: output.rawValue)
  }

  /// Somebody else reaps it.
  func takeOver() -> (id: CInt, descriptor: CInt) {
    isTakenOver = true
    return (id, descriptor)
  }

  deinit {
    guard !isTakenOver else { return }
    // Nobody waited until it had been started. It is dropped on a thread that may block, or on the loop's,
    // which may not.
    let (id, descriptor) = (id, descriptor)
    _ = clinux_kill_group(id)
    do throws(Errno) {
      try LoopThread(name: "reaper") {
        var status: CInt = 0
        while clinux_reap(descriptor, &status, 1) == -EINTR {}
        _ = Glibc.close(descriptor)
        var result: CInt = 1
        while result == 1 || result == -EINTR { result = clinux_reap_group(id, 1) }
      }.detach()
    } catch {
      // Without threads it is left to whoever inherits it.
      _ = Glibc.close(descriptor)
    }
  }
}

/// A process, by its descriptor. The loop holds it until the process has ended, whoever waits for it or
/// not, and so every process is reaped.
private final class ProcessWatch: Watch, @unchecked Sendable {
  // SAFETY: as its base class.
  /// How long the rest of a group that was killed is given before it is looked at again; doubled each time.
  private static let orphanPause = Duration.milliseconds(5)
  private static let orphanPauseMax = Duration.seconds(1)

  private let id: CInt
  private var outcome: Result<ProgramEnd.Status, Errno>?
  override var what: String { "process \(id)" }

  init(_ process: StartedProcess, on loop: Loop) throws(Errno) {
    id = process.id
    // When this throws, the process is still the other one's to end.
    try super.init(watching: process.descriptor, on: loop)
    _ = process.takeOver()
  }

  override func becameReadable() {
    guard reap(waits: false), !reapGroup() else { return }
    let id = id
    loop.spawn(name: "orphans of process \(id)") { [loop] in
      var pause = ProcessWatch.orphanPause
      repeat {
        try await loop.sleep(for: pause)
        pause = min(pause * 2, ProcessWatch.orphanPauseMax)
      } while !ProcessWatch.reapGroup(id)
    }
  }

  /// Takes notice of the end. Returns whether it has come, and was not known.
  private func reap(waits: Bool) -> Bool {
    guard isOpen, outcome == nil else { return false }
    // As long as it is not reaped, its group is its own. What it has left behind ends with it.
    endGroup()
    var code: CInt = 0
    var result = clinux_reap(descriptor, &code, waits ? 1 : 0)
    while result == -EINTR { result = clinux_reap(descriptor, &code, waits ? 1 : 0) }
    guard result != 0 else { return false }
    outcome =
      result < 0
      ? .failure(Errno(rawValue: -result))
      : .success(code >= 0 ? .exited(Int(code)) : .killed(signal: Int(-code)))
    close()
    return true
  }

  /// Takes notice of the ends of what has become this process's child. Returns whether there is no more
  /// of it.
  private static func reapGroup(_ id: CInt) -> Bool {
    var result: CInt = 1
    while result == 1 || result == -EINTR { result = clinux_reap_group(id, 0) }
    return result < 0
  }

  private func reapGroup() -> Bool { ProcessWatch.reapGroup(id) }

  private func endGroup() {
    _ = clinux_kill_group(id)
  }

  /// Waits until the process has ended; ends it when the wait ends before that. Throws `WaitError`, or
  /// what the kernel says when it does not tell how it has ended.
  func waitEnded(until deadline: Instant) async throws -> ProgramEnd.Status {
    while true {
      if let outcome { return try outcome.get() }
      switch await waitReadable("end of a program", until: deadline) {
      case .ready: continue
      case .cancelled:
        if outcome == nil { endGroup() }
        throw WaitError.cancelled
      case .deadlinePassed:
        if outcome == nil { endGroup() }
        throw WaitError.deadlinePassed
      }
    }
  }

  /// The loop is over. What has been sent SIGKILL does not keep anybody waiting.
  override func wasDropped() {
    guard isOpen else { return }
    endGroup()
    _ = reap(waits: true)
    _ = reapGroup()
    close()
  }
}

/// What comes out of a pipe, read as it comes, the end of it kept.
private final class PipeTail: Watch, @unchecked Sendable {
  // SAFETY: as its base class.
  /// How often it is read before others have their turn.
  private static let readsPerTurn = 4

  private let bytesMax: Int
  private(set) var bytes: [UInt8] = []
  override var what: String { "output of a program" }

  init(owning descriptor: consuming Descriptor, bytesMax: Int, on loop: Loop) throws(Errno) {
    self.bytesMax = bytesMax
    try super.init(watching: descriptor.rawValue, on: loop)
    _ = descriptor.release()
  }

  override func becameReadable() {
    readNow()
  }

  /// Reads what is there; when that is much, the rest later.
  func readNow() {
    for _ in 0..<PipeTail.readsPerTurn {
      guard isOpen else { return }
      let room = loop.engine.scratch
      let count = read(descriptor, room.baseAddress, room.count)
      guard count > 0 else { return }
      let end = room[(count - min(count, bytesMax))..<count]
      bytes.removeFirst(max(0, min(bytes.count, bytes.count + end.count - bytesMax)))
      bytes += end
    }
    loop.call(name: "output of a program") { self.readNow() }
  }
}
