// SPDX-License-Identifier: Apache-2.0
// Programs that are run: how they end, what they get, and that nothing of them stays behind.

import CLinux
import EventLoop
import Glibc
import Reactor
import Testing

@Suite struct ProgramTests {
  fileprivate let launcher = ProgramLauncher(name: "programs", threadsMax: 2)

  fileprivate func shell(_ script: String, _ arguments: [String] = []) -> Program {
    Program(
      path: "/bin/sh", arguments: ["-c", script, "sh"] + arguments,
      environment: ["A=b c", "PATH=/usr/bin:/bin"])
  }

  /// How it ended, and what it wrote, in one text.
  fileprivate func run(_ program: Program) async throws -> String {
    let end = try await program.run(on: launcher)
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
      let end = try await shell("head -c 3000000 /dev/zero; printf last").run(on: launcher)
      #expect(end.status == .exited(0))
      #expect(end.output.count == Program.outputBytesMax)
      #expect(end.output.suffix(5).elementsEqual([0] + Array("last".utf8)))
    }
  }

  @Test func whatIsNoProgramIsNotRun() throws {
    try Loop().run {
      await #expect(throws: Errno.noSuchFileOrDirectory) {
        try await Program(path: "/nonexistent").run(on: launcher)
      }
      await #expect(throws: Errno.permissionDenied) {
        try await Program(path: "/").run(on: launcher)
      }
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
          try await family(file, then: "sleep 1000").run(on: launcher)
        }
      }
      let ids = try await ids(file)
      #expect(ids.count == 2)
      #expect(ids.allSatisfy(isThere))
      task.cancel()
      try await task.value
      #expect(try await gone(ids))
      // The first is this process's own child, and is reaped by it.
      for _ in 0..<20_000 where isThere(ids[0]) { try await loop.sleep(for: .milliseconds(1)) }
      #expect(!isThere(ids[0]))
      await #expect(throws: WaitError.deadlinePassed) {
        try await shell("sleep 1000").run(on: launcher, endedWithin: .milliseconds(50))
      }
      // There is nothing to hold against what has not run.
      await #expect(throws: ProgramDelay()) {
        try await shell("exit 0").run(on: launcher, startedBy: loop.now)
      }
    }
  }

  @Test func whatItLeavesBehindEndsWithIt() throws {
    let file = temporaryFile()
    defer { unlink(file) }
    try Loop().run {
      // The other one has the output open still: nobody waits for that.
      #expect(try await family(file, then: "exit 4").run(on: launcher).status == .exited(4))
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
            try await tests.family(file, then: end).run(on: tests.launcher)
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
          try await tests.shell("sleep 0.1").run(on: tests.launcher)
        }
        #expect(
          Loop.current?.listing.descriptors.allSatisfy { !$0.what.hasPrefix("process") } == true)
        clinux_reset_signal(SIGCHLD)
        #expect(try await tests.shell("exit 3").run(on: tests.launcher).status == .exited(3))
      }
    }
  }

  @Test func theEndOfTheLoopIsTheEndOfItsPrograms() throws {
    let file = temporaryFile()
    defer { unlink(file) }
    let found = try Loop().run {
      Loop.current?.spawn(name: "program") {
        _ = try? await family(file, then: "sleep 1000").run(on: launcher)
      }
      return try await ids(file)
    }
    #expect(found.count == 2)
    #expect(try Loop().run { try await gone(found) })
    // The loop has reaped it, or, if it did not know yet that it runs, a thread does.
    for _ in 0..<20_000 where isThere(found.first ?? 0) { usleep(1000) }
    #expect(!isThere(found.first ?? 0))
  }

  @Test func itsDirectoryIsThatOfThisProcess() throws {
    try Loop().run { () async throws in
      let path = try #require(getcwd(nil, 0))
      defer { free(path) }
      #expect(try await run(shell("pwd -P")) == "0: \(String(cString: path))\n")
      #expect(try await run(shell("[ $(cut -d' ' -f5 /proc/$$/stat) = $$ ]")) == "0: ")
    }
  }

  @Test func whyAProgramIsNotRunIsTold() throws {
    let file = temporaryFile()
    defer { unlink(file) }
    // Executable, and neither a binary nor a script.
    let number = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0o700)
    #expect(write(number, "text\n", 5) == 5)
    close(number)
    try Loop().run { () async throws in
      await #expect(throws: Errno.execFormatError) {
        try await Program(path: file).run(on: launcher)
      }
      await #expect(throws: Errno.argListTooLong) {
        let argument = String(repeating: "a", count: 4 << 20)
        return try await Program(path: "/bin/true", arguments: [argument]).run(on: launcher)
      }
      // The launcher goes on.
      #expect(try await run(shell("exit 7")) == "7: ")
    }
  }

  /// The open descriptors of this process of the kinds that starting a program opens, each as its number
  /// and what it is. The library of the tests may open others at any time.
  private static func openDescriptors() -> Set<String> {
    guard let folder = opendir("/proc/self/fd") else { return [] }
    defer { closedir(folder) }
    var found: Set<String> = []
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard let number = CInt(name), number != dirfd(folder) else { continue }
      var target = [CChar](repeating: 0, count: 200)
      let count = readlink("/proc/self/fd/\(name)", &target, target.count - 1)
      let bytes = target.prefix(max(0, count)).map { UInt8(bitPattern: $0) }
      let what = String(decoding: bytes, as: UTF8.self)
      if ["pipe:", "/dev/null", "anon_inode:[pidfd]"].contains(where: what.hasPrefix) {
        found.insert("\(name) \(what)")
      }
    }
    return found
  }

  /// Opens descriptors until the numbers have come to `count`.
  private static func openMany(_ count: CInt) {
    _ = raiseOpenFilesLimit()
    var last: CInt = 0
    while last >= 0, last < count { last = open("/dev/null", O_RDONLY | O_CLOEXEC) }
    #expect(last == count)
  }

  /// How many descriptors the table of a program has room for (proc_pid_status(5)). It has not shrunk
  /// since the kernel made it as a copy.
  fileprivate static let tableSize = "grep ^FDSize /proc/$$/status | tr -cd 0-9"

  @Test func startingDoesNotCopyTheTableOfDescriptors() async {
    // In processes of their own, where it is known which descriptors are open.
    await #expect(processExitsWith: .success) {
      let tests = ProgramTests()
      ProgramTests.openMany(3000)
      try Loop().run { () async throws in
        // The smallest table that there is.
        #expect(try await tests.run(tests.shell(ProgramTests.tableSize)) == "0: 64")
      }
    }
  }

  @Test func withoutReservedDescriptorsProgramsAreStartedAllTheSame() async {
    await #expect(processExitsWith: .success) {
      ProgramTests.openMany(3000)
      let tests = ProgramTests()
      try Loop().run { () async throws in
        // There is no low number left.
        let found = try await tests.run(tests.shell(ProgramTests.tableSize))
        #expect(found == "0: 3072" || found == "0: 4096", "\(found)")
        #expect(try await tests.run(tests.shell("ls /proc/$$/fd; true")) == "0: 0\n1\n2\n")
      }
    }
  }

  @Test func noDescriptorStaysOpenWhateverHappens() async {
    await #expect(processExitsWith: .success) {
      let before = ProgramTests.openDescriptors()
      do {
        let tests = ProgramTests()
        try Loop().run { () async throws in
          for _ in 0..<5 {
            #expect(try await tests.run(tests.shell("echo x")) == "0: x\n")
            await #expect(throws: Errno.self) {
              try await Program(path: "/nonexistent").run(on: tests.launcher)
            }
            await #expect(throws: WaitError.deadlinePassed) {
              try await tests.shell("sleep 1000").run(
                on: tests.launcher, endedWithin: .milliseconds(1))
            }
          }
        }
        tests.launcher.close()
      }
      // The launcher is held by its threads until they have ended.
      let patience = LinuxKernel().now().advanced(by: 20_000_000_000)
      while !ProgramTests.openDescriptors().isSubset(of: before), LinuxKernel().now() < patience {
        usleep(1000)
      }
      let left = ProgramTests.openDescriptors().subtracting(before)
      #expect(left.isEmpty, "\(left)")
    }
  }

  @Test(arguments: [EPERM, ENOSYS])
  func whereTheKernelRefusesAProgramIsStartedTheOldWay(_ refusal: CInt) async {
    await #expect(processExitsWith: .success) { [refusal] in
      let tests = ProgramTests()
      ProgramTests.openMany(3000)
      try Loop().run { () async throws in
        // The launcher's threads are started from here and inherit it.
        ProgramTests.refuseCloseRange(with: refusal)
        for _ in 0..<2 {
          let size = try await tests.run(tests.shell(ProgramTests.tableSize))
          #expect(size == "0: 3072" || size == "0: 4096", "\(size)")
        }
        #expect(try await tests.run(tests.shell("ls /proc/$$/fd; true")) == "0: 0\n1\n2\n")
        await #expect(throws: Errno.noSuchFileOrDirectory) {
          try await Program(path: "/nonexistent").run(on: tests.launcher)
        }
      }
    }
  }

  /// Has close_range(2) fail on this thread and those that it starts (seccomp(2)).
  private static func refuseCloseRange(with refusal: CInt) {
    // The instructions of a filter (struct sock_filter): code, two jumps, a value.
    func instruction(_ code: UInt64, _ isTrue: UInt64, _ isFalse: UInt64, _ value: UInt64) -> UInt64
    {
      code | isTrue << 16 | isFalse << 24 | value << 32
    }
    var filter = [
      instruction(0x20, 0, 0, 0),  // Load the number of the call.
      instruction(0x15, 0, 1, 436),  // Is it close_range?
      instruction(0x06, 0, 0, 0x0005_0000 | UInt64(refusal)),  // SECCOMP_RET_ERRNO
      instruction(0x06, 0, 0, 0x7FFF_0000),  // SECCOMP_RET_ALLOW
    ]
    typealias Control = @convention(c) (CInt, UInt, UInt, UInt, UInt) -> CInt
    guard let symbol = dlsym(nil, "prctl") else { return }
    let control = unsafeBitCast(symbol, to: Control.self)
    let result = filter.withUnsafeMutableBytes { instructions in
      // struct sock_fprog: a count of 16 bits, and a pointer.
      var program: (UInt64, UnsafeMutableRawPointer?) = (4, instructions.baseAddress)
      return withUnsafeMutableBytes(of: &program) { program in
        control(38, 1, 0, 0, 0)  // PR_SET_NO_NEW_PRIVS
          | control(22, 2, UInt(bitPattern: program.baseAddress), 0, 0)  // PR_SET_SECCOMP, a filter
      }
    }
    #expect(result == 0)
  }

  @Test(arguments: [1, 8]) func manyAreStartedAtOnceByFewThreadsAndByMany(_ threads: Int) throws {
    let launcher = ProgramLauncher(name: "programs", threadsMax: threads)
    try Loop().run {
      let outputs = await withTaskGroup(of: String.self) { group in
        for number in 0..<60 {
          group.addTask(name: "program \(number)") {
            let end = try? await shell("echo \(number)").run(on: launcher)
            return String(decoding: end?.output ?? [], as: UTF8.self)
          }
        }
        return await group.reduce(into: Set<String>()) { $0.insert($1) }
      }
      // Each has got its own output.
      #expect(outputs == Set((0..<60).map { "\($0)\n" }))
    }
  }

  @Test func manyAtOnceAndNoneIsLost() throws {
    try Loop().run {
      let codes = await withTaskGroup(of: Int.self) { group in
        for code in 0..<40 {
          group.addTask(name: "program \(code)") {
            guard let end = try? await shell("exit \(code)").run(on: launcher),
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
