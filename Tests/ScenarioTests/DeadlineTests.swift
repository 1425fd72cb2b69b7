// SPDX-License-Identifier: Apache-2.0
// `idle`, `half_close_timeout`, `flush_timeout`: how long nothing may happen, and what must not be cut short.

import Foundation
import Testing

@Suite("idle")
struct IdleTests {
  @Test("A session that moves nothing for so long is reset on both sides")
  func reset() throws {
    let endings = Counter()
    let server = try Server { connection in
      if try connection.isReset() { endings.add() }
    }
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "\(server.address)", idle: 100ms}
      """)
    #expect(try Connection(proxy.address()).isReset())
    let record = try proxy.record()
    #expect(record["end"] == "idle")
    #expect(record["by"] == "proxy")
    #expect(eventually { endings.value == 1 })
  }

  @Test("Bytes in one direction alone keep a session alive")
  func oneWay() throws {
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:discard", idle: 2s}
      """)
    let client = try Connection(proxy.address())
    let begin = Date()
    // Every piece waits for the silence of the other direction, a tenth of the time allowed.
    while Date().timeIntervalSince(begin) < 3 {
      try client.send("x")
      client.waitForInput(milliseconds: 200)
    }
    client.finish()
    #expect(try client.rest() == "")
    #expect(try proxy.record()["end"] == "finished")
  }

  @Test("Without it a session may rest")
  func off() throws {
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:echo"}
      """)
    let client = try Connection(proxy.address())
    client.waitForInput(milliseconds: 1000)
    #expect(try client.ask("awake") == "awake")
  }
}

@Suite("half_close_timeout")
struct HalfCloseTests {
  @Test("A client that has finished sending still gets the whole answer, however long it takes")
  func longDownload() throws {
    let server = try Server { connection in
      _ = try connection.receiveAll()
      // Longer than `half_close_timeout` in all, never silent for so long.
      for _ in 0..<12 {
        try connection.send([UInt8](repeating: 0x78, count: 100_000))
        connection.waitForInput(milliseconds: 100)
      }
    }
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "\(server.address)", half_close_timeout: 1s}
      """)
    #expect(try Connection(proxy.address()).ask("give").utf8.count == 1_200_000)
    #expect(try proxy.record()["end"] == "finished")
  }

  @Test("An endpoint that has finished sending still gets the whole upload")
  func upload() throws {
    let received = Counter()
    let server = try Server { connection in
      connection.finish()
      if try connection.receiveAll().count == 1_000_000 { received.add() }
    }
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "\(server.address)"}
      """)
    let client = try Connection(proxy.address())
    #expect(try client.rest() == "")
    try client.send([UInt8](repeating: 0x78, count: 1_000_000))
    client.finish()
    let record = try proxy.record()
    #expect(record["by"] == "upstream")
    #expect(record["phase"] == "upstream_finished")
    #expect(eventually { received.value == 1 })
  }

  @Test("When nothing moves after one side has finished, the session is reset")
  func timeout() throws {
    let server = try Server.silentAfterEnd()
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "\(server.address)", half_close_timeout: 100ms}
      """)
    let client = try Connection(proxy.address())
    client.finish()
    #expect(try client.isReset())
    let record = try proxy.record()
    #expect(record["end"] == "half_close_timeout")
    #expect(record["phase"] == "downstream_finished")
  }

  @Test("It does not touch a session that both sides may still send in")
  func openSession() throws {
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:echo", half_close_timeout: 50ms}
      """)
    let client = try Connection(proxy.address())
    client.waitForInput(milliseconds: 500)
    #expect(try client.ask("awake") == "awake")
  }
}

@Suite("flush_timeout")
struct FlushTests {
  /// An endpoint that sends a megabyte and then resets.
  private func resettingServer() throws -> Server {
    try Server { connection in
      try connection.send([UInt8](repeating: 0x78, count: 1_000_000))
      // The proxy has taken everything when it says so.
      _ = try connection.receive(1)
      connection.reset()
    }
  }

  @Test("What an endpoint sent before its reset arrives, and then the reset")
  func delivered() throws {
    let server = try resettingServer()
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "\(server.address)", flush_timeout: 30s}
      """)
    let client = try Connection(proxy.address())
    #expect(try client.receive(1_000_000).utf8.count == 1_000_000)
    try client.send("!")
    #expect(try client.isReset())
    let record = try proxy.record()
    #expect(record["end"] == "reset")
    #expect(record["by"] == "upstream")
  }

  @Test("An endpoint that speaks and resets at once was reset while relaying, not finished")
  func spokenAndReset() throws {
    let server = try Server { connection in
      try connection.send("x")
      connection.reset()
    }
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "\(server.address)"}
      """)
    let address = try proxy.address()
    // Whether the reset or the connection is seen first is up to the kernel.
    for _ in 0..<10 { #expect(try Connection(address).isReset()) }
    for record in try proxy.records(10) {
      #expect(record["end"] == "reset")
      #expect(record["phase"] == "relaying")
    }
  }

  @Test("A client that takes nothing is not waited for longer")
  func over() throws {
    let server = try Server { connection in
      try connection.send([UInt8](repeating: 0x78, count: 60_000))
      connection.reset()
    }
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "\(server.address)", flush_timeout: 200ms}
      """)
    let client = try Connection(proxy.address(), receiveBuffer: 4096)
    let record = try proxy.record()
    #expect(record["end"] == "reset")
    #expect(record["by"] == "upstream")
    client.close()
  }
}
