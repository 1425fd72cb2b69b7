// SPDX-License-Identifier: Apache-2.0
// Programs that are run: how they end, what they get, and that nothing of them stays behind.

import CLinux
import EventLoop
import Glibc
import Reactor
import Testing

@Suite struct ProgramTests {
  fileprivate let pool = BlockingPool(name: "programs", threadsMax: 2)

  fileprivate func shell(_ script: String, _ arguments: [String] = []) -> Program {
    Program(
      path: "/bin/sh", arguments: ["-c", script, "sh"] + arguments,
      environment: ["A=b c", "PATH=/usr/bin:/bin"])
  }

  /// How it ended, and what it wrote, in one text.
  private func run(_ program: Program) async throws -> String {
    let end = try await program.run(on: pool)
    let output = String(decoding: end.output, as: UTF8.self)
    switch end.status {
    case .exited(let code): return "\(code): \(output)"
    case .killed(let signal): return "signal \(signal): \(output)"
    }
  }

  @Test func aProgramSaysHowItWent() throws {
    try Loop().run { () async throws in
      #expect(try await run(shell("exit 0")) == "0: ")
      #expect(try await run(shell("echo one; echo two >&2; exit 3")) == "3: one\ntwo\n")
      #expect(try await run(shell("kill -TERM $$")) == "signal 15: ")
      #expect(try await run(shell("echo \"$1|$2|$A|$HOME\"", ["x y", "*"])) == "0: x y|*|b c|\n")
      #expect(try await run(shell("wc -c")) == "0: 0\n")
    }
  }

  @Test func nothingOfThisProcessIsOpenInIt() throws {
    try Loop().run {
      // Not marked to be closed.
      let kept = open("/dev/null", O_RDONLY)
      defer { close(kept) }
      // Its input and its two outputs.
      #expect(
        try await run(shell("ls /proc/$$/fd; true"))
          == "0: 0\n1\n2\n")
      // Signals are as at the beginning: none blocked, none ignored, but for two of the C library's own.
      let masks = try await run(
        shell("for name in Blk Ign; do grep ^Sig$name /proc/self/status | cut -f2; done"))
      let values = masks.dropFirst(3).split(separator: "\n").map { UInt64($0, radix: 16) ?? .max }
      #expect(values.map { $0 & 0x7FFF_FFFF } == [0, 0], "\(masks)")
    }
  }

  @Test func onlyTheEndOfWhatItWritesIsKept() throws {
    try Loop().run {
      let end = try await shell("head -c 3000000 /dev/zero; printf last").run(on: pool)
      #expect(end.status == .exited(0))
      #expect(end.output.count == Program.outputBytesMax)
      #expect(end.output.suffix(5).elementsEqual([0] + Array("last".utf8)))
    }
  }

  @Test func whatIsNoProgramIsNotRun() throws {
    try Loop().run {
      await #expect(throws: Errno.noSuchFileOrDirectory) {
        try await Program(path: "/nonexistent").run(on: pool)
      }
      await #expect(throws: Errno.permissionDenied) { try await Program(path: "/").run(on: pool) }
    }
  }

  /// Whether a process of this id is there, dead or alive.
  fileprivate func isThere(_ id: pid_t) -> Bool { kill(id, 0) == 0 }

  /// A program that starts another one and tells both ids by a file, once both run.
  fileprivate func family(_ file: String, then: String) -> Program {
    shell("sleep 1000 & echo $$ $! >\(file).new; mv \(file).new \(file); \(then)")
  }

  fileprivate func ids(_ file: String) async throws -> [pid_t] {
    for _ in 0..<20_000 {
      if let opened = fopen(file, "r") {
        defer { fclose(opened) }
        var text = [CChar](repeating: 0, count: 100)
        guard fgets(&text, 100, opened) != nil else { return [] }
        return text.map { UInt8(bitPattern: $0) }.split { !(0x30...0x39).contains($0) }
          .compactMap { pid_t(String(decoding: $0, as: UTF8.self)) }
      }
      try await Loop.current?.sleep(for: .milliseconds(1))
    }
    return []
  }

  private func gone(_ ids: [pid_t]) async throws -> Bool {
    for _ in 0..<20_000 {
      // Those that were started by it are reaped by whoever inherits them; dead is dead.
      if ids.allSatisfy({ !isThere($0) || isDead($0) }) { return true }
      try await Loop.current?.sleep(for: .milliseconds(1))
    }
    return false
  }

  private func isDead(_ id: pid_t) -> Bool {
    guard let file = fopen("/proc/\(id)/stat", "r") else { return true }
    defer { fclose(file) }
    var text = [CChar](repeating: 0, count: 200)
    guard fgets(&text, 200, file) != nil else { return true }
    let line = String(
      decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return line.contains(") Z ")
  }

  fileprivate func temporaryFile() -> String {
    "/tmp/sluice-program-\(String(UInt64.random(in: .min ... .max), radix: 36))"
  }

  @Test func whoseTimeIsUpIsKilledWithAllThatItStarted() throws {
    let file = temporaryFile()
    defer { unlink(file) }
    try Loop().run {
      let loop = try #require(Loop.current)
      let task = loop.spawn(name: "program") {
        _ = await #expect(throws: WaitError.cancelled) {
          try await family(file, then: "sleep 1000").run(on: pool)
        }
      }
      let ids = try await ids(file)
      #expect(ids.count == 2)
      #expect(ids.allSatisfy(isThere))
      task.cancel()
      try await task.value
      #expect(try await gone(ids))
      // The first is this process's own child, and is reaped by it.
      #expect(!isThere(ids[0]))
      await #expect(throws: WaitError.deadlinePassed) {
        try await shell("sleep 1000").run(on: pool, endedWithin: .milliseconds(50))
      }
      // There is nothing to hold against what has not run.
      await #expect(throws: ProgramDelay()) {
        try await shell("exit 0").run(on: pool, startedBy: loop.now)
      }
    }
  }

  @Test func whatItLeavesBehindEndsWithIt() throws {
    let file = temporaryFile()
    defer { unlink(file) }
    try Loop().run {
      // The other one has the output open still: nobody waits for that.
      #expect(try await family(file, then: "exit 4").run(on: pool).status == .exited(4))
      let ids = try await ids(file)
      #expect(ids.count == 2)
      #expect(!isThere(ids[0]))
      #expect(try await gone(ids))
    }
  }

  @Test func orphansAreReapedByWhoTakesThemIn() async {
    // As the first process of a container does. In a process of its own, since it is for all of it.
    await #expect(processExitsWith: .success) {
      typealias Control = @convention(c) (CInt, UInt, UInt, UInt, UInt) -> CInt
      // prctl(2) is variadic, which Swift does not import. PR_SET_CHILD_SUBREAPER is 36.
      let symbol = try #require(dlsym(nil, "prctl"))
      #expect(unsafeBitCast(symbol, to: Control.self)(36, 1, 0, 0, 0) == 0)
      let tests = ProgramTests()
      let file = tests.temporaryFile()
      defer { unlink(file) }
      try Loop().run { () async throws in
        for end in ["exit 4", "sleep 1000"] {
          let task = Loop.current?.spawn(name: "program") {
            try await tests.family(file, then: end).run(on: tests.pool)
          }
          let ids = try await tests.ids(file)
          unlink(file)
          #expect(ids.count == 2)
          if end == "exit 4" { _ = try await task?.value } else { task?.cancel() }
          for _ in 0..<20_000 where ids.contains(where: tests.isThere) {
            try await Loop.current?.sleep(for: .milliseconds(1))
          }
          // Not even as dead ones.
          #expect(!ids.contains(where: tests.isThere))
        }
      }
    }
  }

  @Test func whoseEndIsNotToldEndsAllTheSame() async {
    await #expect(processExitsWith: .success) {
      clinux_ignore_signal(SIGCHLD)
      let tests = ProgramTests()
      try Loop().run { () async throws in
        await #expect(throws: Errno.self) {
          try await tests.shell("sleep 0.1").run(on: tests.pool)
        }
        #expect(
          Loop.current?.listing.descriptors.allSatisfy { !$0.what.hasPrefix("process") } == true)
        clinux_reset_signal(SIGCHLD)
        #expect(try await tests.shell("exit 3").run(on: tests.pool).status == .exited(3))
      }
    }
  }

  @Test func theEndOfTheLoopIsTheEndOfItsPrograms() throws {
    let file = temporaryFile()
    defer { unlink(file) }
    let found = try Loop().run {
      Loop.current?.spawn(name: "program") {
        _ = try? await family(file, then: "sleep 1000").run(on: pool)
      }
      return try await ids(file)
    }
    #expect(found.count == 2)
    #expect(!isThere(found.first ?? 0))
    #expect(try Loop().run { try await gone(found) })
  }

  @Test func manyAtOnceAndNoneIsLost() throws {
    try Loop().run {
      let codes = await withTaskGroup(of: Int.self) { group in
        for code in 0..<40 {
          group.addTask(name: "program \(code)") {
            guard let end = try? await shell("exit \(code)").run(on: pool),
              case .exited(let found) = end.status
            else { return -1 }
            return found
          }
        }
        return await group.reduce(into: Set<Int>()) { $0.insert($1) }
      }
      #expect(codes == Set(0..<40))
      #expect(
        Loop.current?.listing.descriptors.allSatisfy { !$0.what.hasPrefix("process") } == true)
    }
  }
}
