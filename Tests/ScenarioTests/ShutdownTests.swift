// SPDX-License-Identifier: Apache-2.0
// `shutdown` and signals: how the program ends, and what does not end it.

import Foundation
import Glibc
import Testing

@Suite("shutdown")
struct ShutdownTests {
  private func proxy(_ shutdown: String = "{}") throws -> ProxyProcess {
    try ProxyProcess(
      """
      shutdown: \(shutdown)
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:echo"}
      """)
  }

  @Test(
    "Without sessions a signal ends it at once, with exit code 0", arguments: [SIGTERM, SIGINT])
  func idle(signal: Int32) throws {
    let proxy = try proxy()
    proxy.program.send(signal)
    #expect(try proxy.program.waitForExit() == .code(0))
  }

  @Test("An open session may finish, and then the program ends")
  func drains() throws {
    let proxy = try proxy("{drain: off}")
    let client = try Connection(proxy.address())
    #expect(try client.echo("before") == "before")
    proxy.terminate()
    #expect(proxy.event("draining")?["sessions"] == "1")
    #expect(try client.ask("after") == "after")
    #expect(try proxy.program.waitForExit() == .code(0))
    #expect(try proxy.record()["end"] == "finished")
  }

  @Test("While it drains nobody new comes in")
  func refusesNewSessions() throws {
    let proxy = try proxy("{drain: off}")
    let address = try proxy.address()
    let client = try Connection(address)
    #expect(try client.echo("before") == "before")
    proxy.terminate()
    #expect(proxy.event("draining") != nil)
    #expect(eventually { (try? Connection(address).echo("x")) == nil })
    #expect(try client.ask("after") == "after")
  }

  @Test("Sessions that are left when the time to drain is over are reset")
  func drainDeadline() throws {
    let proxy = try proxy("{drain: 200ms}")
    let client = try Connection(proxy.address())
    #expect(try client.echo("before") == "before")
    proxy.terminate()
    #expect(try client.isReset())
    #expect(try proxy.program.waitForExit() == .code(0))
    let record = try proxy.record()
    #expect(record["end"] == "drain_deadline")
    #expect(record["by"] == "proxy")
    let event = proxy.event("draining")
    #expect(event?["drain"] == "200ms")
    #expect(event?["signal"] == "SIGTERM")
  }

  @Test("A second signal ends it at once")
  func secondSignal() throws {
    let proxy = try proxy("{drain: off}")
    let client = try Connection(proxy.address())
    #expect(try client.echo("before") == "before")
    proxy.terminate()
    #expect(proxy.event("draining") != nil)
    proxy.terminate()
    #expect(try client.isReset())
    #expect(try proxy.program.waitForExit() == .code(0))
    #expect(try proxy.record()["end"] == "killed")
  }

  @Test("During the delay sessions are still accepted")
  func delay() throws {
    let proxy = try proxy("{delay: 1h}")
    proxy.terminate()
    #expect(proxy.event("draining")?["delay"] == "1h")
    #expect(try Connection(proxy.address()).ask("late") == "late")
    proxy.terminate()
    #expect(try proxy.program.waitForExit() == .code(0))
  }

  @Test("When the delay is over the program ends")
  func delayIsOver() throws {
    let proxy = try proxy("{delay: 100ms}")
    #expect(try proxy.end() == .code(0))
  }

  @Test("Clients that wait in the kernel's queue when the signal comes are served")
  func queue() throws {
    let proxy = try proxy()
    let address = try proxy.address()
    proxy.program.send(SIGSTOP)
    let clients = try (0..<100).map { _ in try Connection(address) }
    proxy.terminate()
    proxy.program.send(SIGCONT)
    for client in clients { #expect(try client.ask("queued") == "queued") }
    #expect(try proxy.program.waitForExit() == .code(0))
  }

  @Test("SIGPIPE does not end it")
  func brokenPipe() throws {
    let proxy = try proxy()
    proxy.program.send(SIGPIPE)
    #expect(try Connection(proxy.address()).ask("hello") == "hello")
    #expect(try proxy.end() == .code(0))
  }
}
