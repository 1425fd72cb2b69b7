// SPDX-License-Identifier: Apache-2.0
// `log`: what is written where, in which form, and that nobody waits for a reader.

import CLinux
import Foundation
import Glibc
import Testing

/// A proxy that echoes, with these settings of `log` for the process and for the route.
private func proxy(
  log: String = "{}", route: String = "{}", output: Program.Output = .captured,
  shell: String? = nil
) throws -> ProxyProcess {
  try ProxyProcess(
    """
    log: \(log)
    routes:
      r: {listen: "127.0.0.1:0", to: "builtin:echo", log: \(route)}
    """, output: output, shell: shell)
}

@Suite("log")
struct LogTests {
  @Test("A record tells the whole session")
  func record() throws {
    let proxy = try proxy()
    _ = try Connection(proxy.address()).ask("hello")
    let record = try proxy.record()
    #expect(record["route"] == "r")
    #expect(record["listener"] == (try proxy.address()))
    #expect(record["endpoint"] == "builtin:echo")
    #expect(record["up"] == "5")
    #expect(record["down"] == "5")
    #expect(record["attempts"] == "1")
    #expect(record["end"] == "finished")
    #expect(record["by"] == "downstream")
    #expect(record["phase"] == "downstream_finished")
    #expect(record["error"] == nil)
  }

  @Test("A client that resets is named as the one who did")
  func clientReset() throws {
    let proxy = try proxy()
    let client = try Connection(proxy.address())
    _ = try client.echo("hello")
    client.reset()
    let record = try proxy.record()
    #expect(record["end"] == "reset")
    #expect(record["by"] == "downstream")
    #expect(record["phase"] == "relaying")
  }

  @Test("With format json every line of both logs is an object")
  func json() throws {
    let proxy = try proxy(log: "{format: json}")
    _ = try Connection(proxy.address()).ask("hello")
    #expect(try proxy.record()["up"] == "5")
    #expect(try proxy.end() == .code(0))
    let lines = (proxy.program.outputText + proxy.program.errorText).split(separator: "\n")
    #expect(lines.count >= 5)
    for line in lines {
      #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(line.utf8)) }
    }
  }

  @Test("Access records can go to a file, which is appended to")
  func file() throws {
    let folder = try Folder()
    try "before\n".write(toFile: folder.path("log"), atomically: false, encoding: .utf8)
    let proxy = try proxy(log: "{access: \(folder.path("log"))}")
    _ = try Connection(proxy.address()).ask("hello")
    #expect(try proxy.end() == .code(0))
    #expect(folder.text("log").hasPrefix("before\n"))
    #expect(folder.text("log").contains(" access end route=r "))
    #expect(proxy.program.outputText.isEmpty)
  }

  @Test("Access records can go to standard error")
  func standardError() throws {
    let proxy = try proxy(log: "{access: stderr}")
    _ = try Connection(proxy.address()).ask("hello")
    #expect(try proxy.end() == .code(0))
    #expect(proxy.program.errorText.contains(" access end route=r "))
    #expect(proxy.program.outputText.isEmpty)
  }

  @Test("Access records can be left out", arguments: ["{access: off}", "{level: debug}"])
  func off(log: String) throws {
    let proxy = try proxy(log: log, route: log == "{access: off}" ? "{}" : "{access: off}")
    _ = try Connection(proxy.address()).ask("hello")
    #expect(try proxy.end() == .code(0))
    #expect(proxy.program.outputText.isEmpty)
  }

  @Test("Below its level the operational log is silent")
  func level() throws {
    let folder = try Folder()
    let file = folder.path("config.yaml")
    try """
    log: {level: warning}
    routes:
      r: {listen: "unix:\(folder.path("s"))", to: "builtin:echo"}
    """.write(toFile: file, atomically: false, encoding: .utf8)
    let program = try Program(sluicePath, ["run", "-c", file])
    #expect(eventually { (try? Connection("unix:\(folder.path("s"))").ask("x")) == "x" })
    program.send(SIGTERM)
    #expect(try program.waitForExit() == .code(0))
    // That the loop was kept waiting may be true.
    #expect(logLines(program.errorText).allSatisfy { $0.level == "warning" })
  }

  @Test("A start record comes while the session lasts, an end record after it")
  func startAndEnd() throws {
    let proxy = try proxy(route: "{access: [start, end]}")
    let client = try Connection(proxy.address())
    let start = try proxy.record("start")
    #expect(start["endpoint"] == "builtin:echo")
    #expect(start["end"] == nil)
    client.finish()
    #expect(try proxy.record("end")["client"] == start["client"])
  }

  @Test("A long session can be told of every so often")
  func every() throws {
    let proxy = try proxy(route: "{access: [every: 1s]}")
    let client = try Connection(proxy.address())
    _ = try client.echo("hello")
    #expect(try proxy.record("progress")["up"] == "5")
  }
}

@Suite("log rotation")
struct LogRotationTests {
  @Test("Renaming the access log and SIGUSR1 loses and tears no line while sessions come and go")
  func rotates() throws {
    let folder = try Folder()
    let proxy = try proxy(log: "{access: \(folder.path("log"))}")
    let address = try proxy.address()
    for number in 0..<20 {
      for _ in 0..<5 { #expect(try Connection(address).ask("hello") == "hello") }
      #expect(rename(folder.path("log"), folder.path("log.\(number)")) == 0)
      proxy.program.send(SIGUSR1)
      #expect(try Connection(address).ask("hello") == "hello")
      #expect(eventually { folder.exists("log") })
    }
    #expect(proxy.event("access log reopened")?["path"] == folder.path("log"))
    #expect(try proxy.end() == .code(0))
    let texts = ["log"] + (0..<20).map { "log.\($0)" }
    #expect(texts.allSatisfy { folder.text($0).isEmpty || folder.text($0).hasSuffix("\n") })
    let records = texts.flatMap { logLines(folder.text($0)) }
    #expect(records.count == 120)
    #expect(records.allSatisfy { $0.message == "end" && $0["phase"] != nil && $0["up"] == "5" })
  }

  @Test("When there can be no new file, records go on into the old one, and that is told")
  func refused() throws {
    let folder = try Folder()
    let proxy = try proxy(log: "{access: \(folder.path("log"))}")
    #expect(rename(folder.path("log"), folder.path("old")) == 0)
    #expect(mkdir(folder.path("log"), 0o700) == 0)
    proxy.program.send(SIGUSR1)
    let event = proxy.event("the access log cannot be reopened")
    #expect(event?.level == "warning")
    #expect(event?["path"] == folder.path("log"))
    #expect(event?["cause"] == "Is a directory")
    #expect(try Connection(proxy.address()).ask("hello") == "hello")
    #expect(try proxy.end() == .code(0))
    #expect(logLines(folder.text("old")).count == 1)
  }

  @Test("What is no file is left alone", arguments: ["stdout", "stderr", "off"])
  func noFile(access: String) throws {
    let proxy = try proxy(log: "{access: \(access), level: debug}")
    proxy.program.send(SIGUSR1)
    #expect(proxy.event("SIGUSR1")?.level == "debug")
    #expect(try Connection(proxy.address()).ask("hello") == "hello")
    #expect(try proxy.end() == .code(0))
    #expect(proxy.program.outputText.contains(" access end ") == (access == "stdout"))
  }
}

@Suite("log readers")
struct LogReaderTests {
  @Test("When nobody reads standard output any more, sessions go on and the loss is told")
  func readerGone() throws {
    let proxy = try proxy()
    proxy.program.closeReader(of: 1)
    #expect(try Connection(proxy.address()).ask("one") == "one")
    #expect(proxy.event("access records were lost")?["cause"] == "Broken pipe")
    #expect(try Connection(proxy.address()).ask("two") == "two")
    #expect(try proxy.end() == .code(0))
  }

  @Test("When nobody reads standard error any more, sessions go on")
  func errorReaderGone() throws {
    let proxy = try proxy()
    let address = try proxy.address()
    proxy.program.closeReader(of: 2)
    #expect(try Connection(address).ask("hello") == "hello")
    #expect(try proxy.end() == .code(0))
  }

  @Test("A reader that has stopped holds up neither sessions nor the end of the program")
  func readerStopped() throws {
    var ends: [Int32] = [-1, -1]
    #expect(clinux_pipe(&ends) == 0)
    defer { for end in ends { close(end) } }
    while write(ends[1], [UInt8](repeating: 10, count: 4096), 4096) > 0 {}
    _ = fcntl(ends[1], F_SETFL, 0)
    let proxy = try proxy(log: "{queue: 16}", output: .descriptor(ends[1]))
    let address = try proxy.address()
    for _ in 0..<50 { #expect(try Connection(address).ask("hello") == "hello") }
    #expect(try proxy.end() == .code(0))
    #expect(proxy.event("access records were lost") != nil)
  }

  @Test("A full disk loses records, not sessions, and that is told")
  func fullDisk() throws {
    let proxy = try proxy(log: "{access: /dev/full}")
    #expect(try Connection(proxy.address()).ask("hello") == "hello")
    let event = proxy.event("access records were lost")
    #expect(event?["cause"] == "No space left on device")
    #expect(event?["count"] == "1")
  }

  @Test("Standard streams that are closed are not mistaken for other descriptors")
  func closedStreams() throws {
    let folder = try Folder()
    let path = folder.path("s")
    try """
    workers: 1
    routes:
      r: {listen: "unix:\(path)", to: "builtin:echo"}
    """.write(toFile: folder.path("config.yaml"), atomically: false, encoding: .utf8)
    let program = try Program(
      "/bin/sh",
      [
        "-c", "exec 0<&- 1>&- 2>&-; exec \"$0\" run -c \"$1\"", sluicePath,
        folder.path("config.yaml"),
      ])
    #expect(eventually { (try? Connection("unix:\(path)").ask("x")) == "x" })
    for number in 0...2 {
      let target = try FileManager.default.destinationOfSymbolicLink(
        atPath: "/proc/\(program.processID)/fd/\(number)")
      #expect(target == "/dev/null")
    }
    program.send(SIGTERM)
    #expect(try program.waitForExit() == .code(0))
  }
}
