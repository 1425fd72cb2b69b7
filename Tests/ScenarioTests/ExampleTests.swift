// SPDX-License-Identifier: Apache-2.0
// The examples of the library, as processes of their own: what they print is what they promise.

import Addressing
import Foundation
import Testing

@Suite("examples")
struct ExampleTests {
  @Test(
    "An example prints what it promises",
    arguments: [
      ("example-hello", "hello\nworld\n"),
      ("example-gather", "slow begins\nquick begins\nquick ends\nslow ends\nslow, quick\n"),
      ("example-offload", "the loop goes on\nthe work is done\n"),
      ("example-slow-callback", "too slow: blocking on purpose\n"),
    ])
  func output(name: String, expected: String) throws {
    let program = try start(name)
    #expect(try program.waitForExit() == .code(0))
    // Standard error may tell of slow steps, where a machine is slow.
    #expect(program.outputText == expected)
  }

  @Test("Ten thousand tasks leave nothing behind, and a million timers are as cheap as few")
  func manyTasks() throws {
    let program = try start("example-many-tasks", "4711")
    // Seconds of work, and under a sanitizer several times as much.
    #expect(try program.waitForExit(within: 4 * patience) == .code(0))
    let output = program.outputText
    func number(before words: String) -> Int {
      let line = output.split(separator: "\n").first { $0.hasSuffix(words) }
      return line.flatMap { Int($0.prefix { $0 != " " }) } ?? 0
    }
    let ends = ["has slept", "has read", "was cancelled"].map(number(before:))
    #expect(ends.reduce(0, +) == 10_000)
    #expect(ends.allSatisfy { $0 > 0 })
    for line in [
      "tasks left: 0, waits left: 0", "threads more than before: 0",
      "descriptors more than before: 0",
    ] {
      #expect(output.contains(line + "\n"))
    }
    // Were the cost of each proportional to their number, this would be 10.
    let words = output.split { $0 == " " || $0 == "\n" }
    let factor = words.firstIndex(of: "costs").flatMap { Double(words[$0 + 1]) }
    #expect(try #require(factor) < 5)
  }

  @Test("The echo client gets back from the echo server what it sends", arguments: ["tcp", "unix"])
  func echo(kind: String) throws {
    let server = try start("example-echo-server", kind == "tcp" ? "127.0.0.1:0" : "unix:@\(UUID())")
    let address = try #require(
      server.wait {
        server.outputText.wholeMatch(of: #/listening at (.+)\n/#).map { String($0.1) }
      })
    let client = try start("example-echo-client", address, "one", "two and three", "")
    #expect(try client.waitForExit() == .code(0))
    #expect(client.outputText == "one\ntwo and three\n\nand 0 bytes more\n")
    server.send(SIGTERM)
    #expect(try server.waitForExit() == .code(0))
    #expect(server.outputText.hasSuffix("\nends, because of SIGTERM\n"))
  }

  @Test("The echo client says why it cannot connect")
  func echoWithoutServer() throws {
    let client = try start("example-echo-client", "unix:@\(UUID())")
    #expect(try client.waitForExit() == .code(1))
    #expect(client.outputText.hasSuffix(": connecting: Connection refused\n"))
  }

  @Test("A page is fetched over HTTP by the name of its host")
  func httpGet() throws {
    let server = try Server { connection in
      var request = ""
      while !request.hasSuffix("\r\n\r\n") { request += try connection.receive(1) }
      let body = "you asked: " + request.split(separator: "\r\n")[0]
      try connection.send(
        "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n"
          + body)
    }
    let port = String(try #require(SocketAddress(server.address)?.port))
    let program = try start("example-http-get", "localhost", port, "/some/page")
    #expect(try program.waitForExit() == .code(0))
    #expect(program.outputText == "HTTP/1.1 200 OK\nyou asked: GET /some/page HTTP/1.1\n")
  }

  private func start(_ name: String, _ arguments: String...) throws -> Program {
    let folder = (sluicePath as NSString).deletingLastPathComponent
    return try Program("\(folder)/\(name)", arguments)
  }
}
