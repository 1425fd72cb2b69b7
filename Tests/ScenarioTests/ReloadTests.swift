// SPDX-License-Identifier: Apache-2.0
// SIGHUP: the file is read again and taken up while sessions go on. Port 0 in an unchanged listener
// stays the port that the kernel chose, for the listener is not opened again.

import Foundation
import Glibc
import Testing

@Suite("Reload")
struct ReloadTests {
  /// One route `r` to `to`, and further routes and settings as they stand.
  private func file(_ to: String, _ more: String = "", shutdown: String = "{}") -> String {
    """
    workers: 2
    shutdown: \(shutdown)
    routes:
      r: {listen: "127.0.0.1:0", to: \(to)}
    \(more)
    """
  }

  @Test("An unchanged file changes nothing: not the listener, not a session")
  func unchanged() throws {
    let file = file("\"builtin:echo\"")
    let proxy = try ProxyProcess(file)
    let address = try proxy.address()
    let client = try Connection(address)
    #expect(try client.echo("before") == "before")
    #expect(try proxy.reload(file).message == "reloaded")
    #expect(try client.echo("after") == "after")
    #expect(try Connection(address).ask("new") == "new")
  }

  @Test("New sessions go to the new endpoint, and the old one keeps the session it has")
  func endpointReplaced() throws {
    let old = try Server { connection in
      while case let text = try connection.receive(1), !text.isEmpty {
        try connection.send("old \(text)")
      }
    }
    let new = try Server.named("new")
    let proxy = try ProxyProcess(file("\"\(old.address)\""))
    let client = try Connection(proxy.address())
    try client.send("1")
    #expect(try client.receive(5) == "old 1")
    #expect(try proxy.reload(file("\"\(new.address)\"")).message == "reloaded")
    for _ in 0..<4 { #expect(try Connection(proxy.address()).ask("") == "new") }
    try client.send("2")
    #expect(try client.receive(5) == "old 2")
    client.finish()
    let record = try proxy.records(5).first { $0["endpoint"] == old.address }
    #expect(record?["end"] == "finished")
  }

  @Test(
    "A route that is new listens, and one that is gone does not; its sessions go on to their end")
  func routes() throws {
    let second = "  s: {listen: \"127.0.0.1:0\", to: \"builtin:echo\"}"
    let proxy = try ProxyProcess(file("\"builtin:echo\""))
    #expect(try proxy.reload(file("\"builtin:echo\"", second)).message == "reloaded")
    let address = try proxy.address("s")
    let client = try Connection(address)
    #expect(try client.echo("before") == "before")
    #expect(try proxy.reload(file("\"builtin:echo\"")).message == "reloaded")
    #expect(throws: (any Error).self) { try Connection(address) }
    #expect(try client.ask("after") == "after")
    #expect(try proxy.record()["route"] == "s")
  }

  @Test("A listener can lead to another route without being opened again")
  func listenerMoves() throws {
    let server = try Server.named("server")
    func file(_ name: String) -> String {
      """
      routes:
        \(name): {listen: "127.0.0.1:0", to: "\(server.address)"}
      """
    }
    let proxy = try ProxyProcess(file("r"))
    let address = try proxy.address()
    #expect(try proxy.reload(file("other")).message == "reloaded")
    #expect(try Connection(address).ask("") == "server")
    #expect(try proxy.record()["route"] == "other")
  }

  @Test("A file with errors changes nothing, and the log has each of them with its place")
  func invalid() throws {
    let proxy = try ProxyProcess(file("\"builtin:echo\""))
    let client = try Connection(proxy.address())
    #expect(try client.echo("before") == "before")
    let line = try proxy.reload(file("\"builtin:echo\"", "  s: {listen: \":80\", to: nowhere}"))
    #expect(line.message == "the configuration was not reloaded")
    #expect(line.level == "error")
    #expect(line["cause"]?.contains(":5:") == true)
    #expect(line["cause"]?.contains("nowhere") == true)
    #expect(try client.echo("after") == "after")
    #expect(try Connection(proxy.address()).ask("new") == "new")
    #expect(try proxy.reload(file("\"builtin:discard\"")).message == "reloaded")
    #expect(try Connection(proxy.address()).ask("") == "")
  }

  @Test("A listener that cannot be opened leaves everything as it was")
  func cannotListen() throws {
    let taken = try Server.named("taken")
    let proxy = try ProxyProcess(file("\"builtin:echo\""))
    let line = try proxy.reload(
      file(
        "\"builtin:discard\"", "  s: {listen: \"\(taken.address)\", to: \"builtin:echo\"}"))
    #expect(line.message == "the configuration was not reloaded")
    #expect(line["cause"]?.contains("route s cannot listen at \(taken.address)") == true)
    #expect(try Connection(proxy.address()).ask("still echo") == "still echo")
    #expect(try Connection(taken.address).rest() == "taken")
  }

  @Test("What the open-files limit has no room for leaves everything as it was")
  func noRoom() throws {
    func limited(_ listeners: Int) -> String {
      let listen = Array(repeating: "\"127.0.0.1:0\"", count: listeners).joined(separator: ", ")
      return """
        workers: 1
        relay: {pipes: 0}
        routes:
          r: {listen: [\(listen)], to: "127.0.0.1:9"}
        """
    }
    let proxy = try ProxyProcess(limited(1), shell: "ulimit -n 64;")
    let line = try proxy.reload(limited(60))
    #expect(line.message == "the configuration was not reloaded")
    #expect(line["cause"]?.contains("open-files limit of 64") == true)
    #expect(try proxy.reload(limited(20)).message == "reloaded")
    #expect(proxy.event("not all of a change could be had")?["cause"]?.contains("sessions") == true)
  }

  @Test("A name that cannot be looked up leaves everything as it was")
  func cannotResolve() throws {
    let proxy = try ProxyProcess(file("\"builtin:echo\""))
    let line = try proxy.reload(file("\"nowhere.invalid:80\""))
    #expect(line.message == "the configuration was not reloaded")
    #expect(line["cause"]?.contains("cannot look up nowhere.invalid") == true)
    #expect(try Connection(proxy.address()).ask("still echo") == "still echo")
  }

  @Test("What only a restart changes is named, and the rest is taken up")
  func needsRestart() throws {
    let server = try Server.named("server")
    let proxy = try ProxyProcess(file("\"builtin:echo\""))
    let changed = file("\"\(server.address)\"").replacingOccurrences(
      of: "workers: 2", with: "workers: 1\nmax_sessions: 7")
    #expect(try proxy.reload(changed).message == "reloaded")
    let line = proxy.event("some changes need a restart")
    #expect(line?.level == "warning")
    #expect(line?["keys"] == "workers,max_sessions")
    #expect(try Connection(proxy.address()).ask("") == "server")
  }

  @Test("A shorter idle time counts for sessions that are open")
  func timeouts() throws {
    let proxy = try ProxyProcess(file("\"builtin:echo\""))
    let client = try Connection(proxy.address())
    #expect(try client.echo("before") == "before")
    let changed = file("\"builtin:echo\"").replacingOccurrences(
      of: "to: \"builtin:echo\"", with: "to: \"builtin:echo\", idle: 50ms")
    #expect(try proxy.reload(changed).message == "reloaded")
    #expect(try client.isReset())
    #expect(try proxy.record()["end"] == "idle")
  }

  @Test("A bound on sessions counts those that are open already")
  func bounds() throws {
    func limited(_ max: Int) -> String {
      file("\"builtin:echo\"").replacingOccurrences(
        of: "to: \"builtin:echo\"", with: "to: \"builtin:echo\", max_sessions: \(max)")
    }
    let proxy = try ProxyProcess(limited(2))
    let client = try Connection(proxy.address())
    #expect(try client.echo("one") == "one")
    #expect(try proxy.reload(limited(1)).message == "reloaded")
    let waiting = try Connection(proxy.address())
    try waiting.send("two")
    #expect(proxy.event("accepting pauses") != nil)
    #expect(try client.ask("still") == "still")
    #expect(try waiting.receive(3) == "two")
  }

  @Test("A unix socket's file goes with its route, and no other's")
  func unixFiles() throws {
    let folder = try Folder()
    func unix(_ names: String...) -> String {
      let listen = names.map { "\"unix:\(folder.path($0))\"" }.joined(separator: ", ")
      return """
        routes:
          r: {listen: [\(listen)], to: "builtin:echo"}
        """
    }
    let proxy = try ProxyProcess(unix("a", "b"))
    #expect(try proxy.reload(unix("b", "c")).message == "reloaded")
    #expect(eventually { !folder.exists("a") })
    for name in ["b", "c"] {
      #expect(try Connection("unix:\(folder.path(name))").ask(name) == name)
    }
    #expect(try proxy.end() == .code(0))
    #expect(!folder.exists("b") && !folder.exists("c"))
  }

  @Test(
    "A configuration that cannot be read to its end keeps the proxy neither from serving nor from ending"
  )
  func readingHangs() throws {
    let folder = try Folder()
    let path = folder.path("config.yaml")
    try file("\"builtin:echo\"", shutdown: "{drain: off}")
      .write(toFile: path, atomically: false, encoding: .utf8)
    let program = try Program(sluicePath, ["run", "--config", path])
    let listening = program.wait {
      logLines(program.errorText).first { $0.message == "ready" } == nil
        ? nil : logLines(program.errorText).first { $0.message == "listening" }
    }
    let client = try Connection(try #require(listening?["at"]))
    #expect(try client.echo("before") == "before")
    // Nobody writes into it, so that opening it to read does not come back.
    unlink(path)
    #expect(mkfifo(path, 0o600) == 0)
    program.send(SIGHUP)
    #expect(program.wait { logLines(program.errorText).first { $0.message == "reloading" } } != nil)
    #expect(try client.echo("during") == "during")
    program.send(SIGTERM)
    #expect(program.wait { logLines(program.errorText).first { $0.message == "draining" } } != nil)
    #expect(try client.ask("after") == "after")
    #expect(try program.waitForExit() == .code(0))
    #expect(logLines(program.errorText).last?.message == "ended")
    #expect(!program.errorText.contains("was not reloaded"))
  }

  @Test("While it drains nothing is reloaded")
  func draining() throws {
    let proxy = try ProxyProcess(file("\"builtin:echo\"", shutdown: "{drain: off}"))
    let client = try Connection(proxy.address())
    #expect(try client.echo("before") == "before")
    proxy.terminate()
    #expect(proxy.event("draining") != nil)
    proxy.program.send(SIGHUP)
    #expect(proxy.event("SIGHUP: nothing is reloaded any more")?.level == "warning")
    #expect(try client.ask("after") == "after")
    #expect(try proxy.program.waitForExit() == .code(0))
  }
}
