// SPDX-License-Identifier: Apache-2.0
// `check`, by its kinds: what a server says of itself decides who gets sessions. And `initial`: who does
// before the first check.

import Foundation
import Glibc
import Testing

@Suite("check: kinds")
struct CheckKindsTests {
  /// Checks often enough for a test, and without a share of luck.
  private static let often = "every: 20ms, timeout: 10s, jitter: 0%, rise: 2, fall: 2"

  private func proxy(_ endpoints: [String], check: String) throws -> ProxyProcess {
    let list = endpoints.map { "\"\($0)\"" }.joined(separator: ", ")
    return try ProxyProcess(
      """
      workers: 1
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {endpoints: [\(list)], check: {\(check), \(CheckKindsTests.often)}}
      """)
  }

  /// A server that says its role to those who ask as Redis is asked, and its name to all others.
  private func redis(_ name: String, _ role: Shared<String>) throws -> Server {
    try Server { connection in
      let first = try connection.receive(14)
      guard first == "*1\r\n$4\r\nROLE\r\n" else { return try connection.send(name) }
      let word = role.value
      try connection.send("*3\r\n$\(word.utf8.count)\r\n\(word)\r\n:0\r\n*0\r\n")
      _ = try connection.receive(14)
      try connection.send("+OK\r\n")
    }
  }

  private func ask(_ proxy: ProxyProcess) throws -> String {
    try Connection(proxy.address()).ask("who are you?!\n")
  }

  @Test("Sessions follow the role, and nobody serves before it is known")
  func role() throws {
    let (one, two) = (Shared("master"), Shared("slave"))
    let (first, second) = (try redis("first", one), try redis("second", two))
    let proxy = try proxy([first.address, second.address], check: "redis: {role: master}")
    #expect(proxy.event("endpoint is up")?["endpoint"] == first.address)
    let down = proxy.event("endpoint is down")
    #expect(down?["endpoint"] == second.address)
    #expect(down?["cause"] == "the role is slave, and `master` is asked for")
    for _ in 0..<4 { #expect(try ask(proxy) == "first") }
    one.value = "slave"
    #expect(proxy.event("all endpoints are down") != nil)
    #expect(try Connection(proxy.address()).isReset())
    two.value = "master"
    #expect(proxy.event("an endpoint is up again") != nil)
    for _ in 0..<4 { #expect(try ask(proxy) == "second") }
  }

  @Test("An endpoint whose first check is not over gets no session unless it begins as up")
  func initial() throws {
    // Nobody answers, so that nothing is ever known.
    let silent = try Server { connection in _ = try connection.receive(1000) }
    for (initial, isServed) in [("up", true), ("down", false), ("unknown", false)] {
      let proxy = try ProxyProcess(
        """
        workers: 1
        routes:
          r: {listen: "127.0.0.1:0", to: u}
        upstreams:
          u: {endpoints: ["\(silent.address)"], check: {redis: {}, timeout: 1m, every: 1m, initial: \(initial)}}
        """)
      let connection = try Connection(proxy.address())
      if isServed {
        connection.finish()
        #expect(try proxy.record()["end"] == "finished")
      } else {
        #expect(try connection.isReset())
        #expect(try proxy.record()["end"] == "all_down")
      }
    }
  }

  @Test("An exchange is good when what is expected comes")
  func exchange() throws {
    let word = Shared("READY 7\r\n")
    let server = try Server { connection in
      guard try connection.receive(1) == "?" else { return try connection.send("served") }
      try connection.send("hello\r\n" + word.value)
    }
    let proxy = try proxy(
      [server.address],
      check: #"exchange: [{send: "?"}, {expect: hello}, {expect: {regex: "^READY [0-9]+$$"}}]"#)
    #expect(try Connection(proxy.address()).ask("x") == "served")
    word.value = "READY soon\r\n"
    #expect(proxy.event("endpoint is down")?["cause"] == "what step 3 expects has not come")
    word.value = "READY 8\r\n"
    #expect(proxy.event("endpoint is up") != nil)
  }

  /// A MySQL server's words to somebody it does not know.
  private static let mySQL: [UInt8] = {
    let greeting: [UInt8] =
      [10] + Array("8.0.1\0".utf8) + [1, 0, 0, 0] + Array("abcdefgh\0".utf8) + [
        0xFF, 0xF7, 33, 2, 0,
      ]
      + [0xFF, 0x81, 21] + Array(repeating: 0, count: 10) + Array("ijklmnopqrst\0".utf8)
      + Array("mysql_native_password\0".utf8)
    let refusal: [UInt8] = [0xFF, 0x15, 0x04] + Array("#28000denied".utf8)
    return [UInt8(greeting.count), 0, 0, 0] + greeting + [UInt8(refusal.count), 0, 0, 2] + refusal
  }()

  @Test(
    "Servers are known by their own words, and others are not taken for them",
    arguments: [
      ("tls", [22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3] + Array(repeating: UInt8(7), count: 36)),
      ("postgres", [82, 0, 0, 0, 8, 0, 0, 0, 0, 90, 0, 0, 0, 5, 73]),
      ("mysql", CheckKindsTests.mySQL),
      ("smtp", Array("220 mail\r\n250 mail\r\n221 bye\r\n".utf8)),
    ])
  func words(kind: String, good: [UInt8]) throws {
    let words = Shared(good)
    let server = try Server { connection in
      try connection.send(words.value)
      _ = try connection.receiveAll()
    }
    let proxy = try proxy([server.address], check: "\(kind): {}, initial: unknown")
    #expect(proxy.event("endpoint is up") != nil)
    words.value = Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8)
    let cause = try #require(proxy.event("endpoint is down")?["cause"])
    #expect(cause.lowercased().hasPrefix("the answer is not \(kind)"), "\(cause)")
  }

  @Test("A script decides by its exit code, and its last line is the cause")
  func script() throws {
    let folder = try Folder()
    let server = try Server.named("a")
    let proxy = try proxy(
      [server.address],
      check: """
        script: [/bin/sh, -c, 'if [ -e "$$1" ]; then echo "$$SLUICE_UPSTREAM is full"; exit 3; fi', sh, \
        "\(folder.path("full"))"]
        """)
    #expect(try Connection(proxy.address()).ask("") == "a")
    #expect(creat(folder.path("full"), 0o600) >= 0)
    #expect(proxy.event("endpoint is down")?["cause"] == "exit code 3: u is full")
    #expect(unlink(folder.path("full")) == 0)
    #expect(proxy.event("endpoint is up") != nil)
  }

  @Test("Of several checks, one or all must be good")
  func several() throws {
    let (server, refusing) = (try Server.named("a"), try RefusingPort())
    let parts = "[{tcp: {}}, {tcp: {}, address: \"\(refusing.address)\"}]"
    let any = try proxy([server.address], check: "any_of: \(parts), initial: unknown")
    #expect(any.event("endpoint is up") != nil)
    #expect(try Connection(any.address()).ask("") == "a")
    let all = try proxy([server.address], check: "all_of: \(parts)")
    #expect(all.event("endpoint is down")?["cause"]?.hasPrefix("tcp: connecting: ") == true)
  }

  @Test("Neither the program's words nor a report tells a password")
  func passwords() throws {
    let server = try Server { connection in
      // It says again what it has heard, as some servers do.
      _ = try connection.receive(14)
      let word = try connection.receive(4 + 9)
      try connection.send("-ERR unknown command, with args beginning with: \(word)\r\n")
    }
    let proxy = try proxy([server.address], check: "redis: {password: hunter2}")
    #expect(proxy.event("endpoint is down")?["cause"] == "the server refuses: ERR")
    #expect(!proxy.program.errorText.contains("hunter2"))
    let folder = try Folder()
    let file = folder.path("bad.yaml")
    let text = """
      routes: {r: {listen: ":1", to: u}}
      upstreams: {u: {endpoints: ["h:1"], check: {redis: {role: x, password: hunter2}}}}
      """
    try text.write(toFile: file, atomically: false, encoding: .utf8)
    let outcome = try sluice("check", file)
    #expect(outcome.errors.contains("is not accepted here"))
    #expect(!(outcome.errors + outcome.output).contains("hunter2"))
  }
}
