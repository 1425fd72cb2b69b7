// SPDX-License-Identifier: Apache-2.0
// `connect`, `attempt`, `source`: reaching an endpoint, and what happens when none can be reached.

import Foundation
import Testing

@Suite("connect and attempt")
struct ConnectTests {
  private func proxy(_ endpoints: String, _ settings: String = "") throws -> ProxyProcess {
    try ProxyProcess(
      """
      workers: 1
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {endpoints: [\(endpoints)]\(settings)}
      """)
  }

  @Test("An endpoint that refuses is passed over for the next, and the client does not notice")
  func refusedGoesOn() throws {
    let (refusing, server) = (try RefusingPort(), try Server.named("a"))
    let proxy = try proxy("\"\(refusing.address)\", \"\(server.address)\"")
    for _ in 0..<3 { #expect(try Connection(proxy.address()).ask("") == "a") }
    #expect(try proxy.records(3).contains { $0["attempts"] == "2" })
  }

  @Test("What the client sent meanwhile reaches the endpoint that is found in the end")
  func nothingIsLost() throws {
    let (unanswering, refusing) = (try UnansweringPort(), try RefusingPort())
    let server = try Server { try $0.send($0.receiveAll()) }
    let proxy = try proxy(
      """
      "\(unanswering.address)", "\(refusing.address)", \
      {address: "\(server.address)", priority: 1}
      """, ", attempt: 300ms, connect: 30s")
    #expect(try Connection(proxy.address()).ask("early") == "early")
    #expect(try proxy.record()["attempts"] == "3")
  }

  @Test("When all endpoints refuse, the client is reset, and the record says why")
  func allRefuse() throws {
    let refusing = [try RefusingPort(), try RefusingPort()]
    let proxy = try proxy("\"\(refusing[0].address)\", \"\(refusing[1].address)\"")
    #expect(try Connection(proxy.address()).isReset())
    let record = try proxy.record()
    #expect(record["end"] == "connect_refused")
    #expect(record["by"] == "upstream")
    #expect(record["phase"] == "connecting")
    #expect(record["attempts"] == "2")
    #expect(record["connect_ms"] == "-")
    #expect(record["error"] == "Connection refused")
  }

  @Test("A unix socket whose server is gone refuses")
  func missingUnixSocket() throws {
    let folder = try Folder()
    let proxy = try proxy("\"unix:\(folder.path("gone"))\"")
    #expect(try Connection(proxy.address()).isReset())
    #expect(try proxy.record()["end"] == "connect_refused")
  }

  @Test("An attempt that takes too long is given up for the next endpoint")
  func attempt() throws {
    let (unanswering, server) = (try UnansweringPort(), try Server.named("a"))
    let proxy = try proxy(
      """
      "\(unanswering.address)", {address: "\(server.address)", priority: 1}
      """, ", attempt: 100ms, connect: 30s")
    #expect(try Connection(proxy.address()).ask("") == "a")
  }

  @Test("All attempts together take no longer than connect")
  func connect() throws {
    let unanswering = try UnansweringPort()
    let proxy = try proxy("\"\(unanswering.address)\"", ", connect: 150ms, attempt: 1h")
    let begin = Date()
    #expect(try Connection(proxy.address()).isReset())
    #expect(Date().timeIntervalSince(begin) >= 0.15)
    let record = try proxy.record()
    #expect(record["end"] == "connect_timed_out")
    #expect(record["endpoint"] == unanswering.address)
  }

  @Test("A client that gives up while an endpoint is being connected ends the session")
  func clientGivesUp() throws {
    let unanswering = try UnansweringPort()
    let proxy = try proxy("\"\(unanswering.address)\"", ", connect: 1h, attempt: 1h")
    let client = try Connection(proxy.address())
    client.reset()
    let record = try proxy.record()
    #expect(record["end"] == "reset")
    #expect(record["by"] == "downstream")
    // It depends on whether the reset comes before the proxy has accepted it.
    #expect(["inspecting", "connecting"].contains(record["phase"]))
  }
}

@Suite("source")
struct SourceTests {
  /// An endpoint that tells the address it sees its client at.
  private func mirror() throws -> Server {
    try Server { try $0.send($0.peerHost()) }
  }

  @Test("Connections to endpoints come from the address that was asked for")
  func one() throws {
    let server = try mirror()
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {source: "127.0.0.77", endpoints: ["\(server.address)"]}
      """)
    #expect(try Connection(proxy.address()).ask("") == "127.0.0.77")
  }

  @Test("Several source addresses are used in turn")
  func several() throws {
    let server = try mirror()
    let proxy = try ProxyProcess(
      """
      workers: 1
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {source: ["127.0.0.77", "127.0.0.78"], endpoints: ["\(server.address)"]}
      """)
    let seen = try (0..<4).map { _ in try Connection(proxy.address()).ask("") }
    #expect(Set(seen) == ["127.0.0.77", "127.0.0.78"])
    #expect(seen[0] == seen[2])
  }

  @Test("A source address that this machine does not have is our fault, not the endpoint's")
  func foreign() throws {
    let server = try mirror()
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {source: "192.0.2.1", endpoints: ["\(server.address)"]}
      """)
    #expect(try Connection(proxy.address()).isReset())
    #expect(try proxy.record()["by"] == "proxy")
  }
}
