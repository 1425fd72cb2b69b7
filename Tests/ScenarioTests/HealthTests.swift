// SPDX-License-Identifier: Apache-2.0
// `check`: an endpoint that fails its checks gets no new session, and gets them again once it passes.

import Foundation
import Glibc
import Testing

@Suite("check")
struct HealthTests {
  /// Checks often enough for a test, and without a share of luck.
  private static let often = "every: 20ms, timeout: 10s, jitter: 0%, rise: 2, fall: 2"

  private func proxy(_ endpoints: [String], check: String, _ more: String = "") throws
    -> ProxyProcess
  {
    let list = endpoints.map { "\"\($0)\"" }.joined(separator: ", ")
    return try ProxyProcess(
      """
      workers: 1
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {endpoints: [\(list)], check: {\(check), \(HealthTests.often)}\(more)}
      """)
  }

  /// A server whose answer to the path `/health` the test can change while it runs.
  private func webServer(_ isHealthy: Shared<Bool>, _ answer: String = "served") throws -> Server {
    try Server { connection in
      var head = ""
      while !head.hasSuffix("\r\n\r\n"), case let next = try connection.receive(1), !next.isEmpty {
        head += next
      }
      guard head.hasPrefix("GET /health ") else { return try connection.send(answer) }
      let status = isHealthy.value ? "200 OK" : "503 Service Unavailable"
      try connection.send("HTTP/1.1 \(status)\r\nContent-Length: 2\r\n\r\nok")
    }
  }

  @Test(
    "An endpoint that refuses goes down, is named with the cause, and costs no session an attempt")
  func refusing() throws {
    let (refusing, server) = (try RefusingPort(), try Server.named("a"))
    let proxy = try proxy([refusing.address, server.address], check: "tcp: {}")
    let down = proxy.event("endpoint is down")
    #expect(down?.level == "warning")
    #expect(down?["upstream"] == "u")
    #expect(down?["endpoint"] == refusing.address)
    #expect(down?["cause"]?.contains("Connection refused") == true)
    for _ in 0..<4 { #expect(try Connection(proxy.address()).ask("") == "a") }
    #expect(try proxy.records(4).allSatisfy { $0["attempts"] == "1" })
  }

  @Test("What an HTTP check says of an endpoint counts, there and back")
  func http() throws {
    let isHealthy = Shared(true)
    let (web, spare) = (try webServer(isHealthy), try webServer(Shared(true), "spare"))
    let proxy = try proxy(
      [web.address, spare.address], check: "http: {path: /health, status: [200], body: ok}")
    func answers() throws -> Set<String> {
      Set(try (0..<4).map { _ in try Connection(proxy.address()).ask("x\r\n\r\n") })
    }
    #expect(try answers() == ["served", "spare"])
    isHealthy.value = false
    let down = proxy.event("endpoint is down")
    #expect(down?["endpoint"] == web.address)
    #expect(down?["cause"]?.contains("503") == true)
    #expect(try answers() == ["spare"])
    isHealthy.value = true
    #expect(proxy.event("endpoint is up")?["endpoint"] == web.address)
    #expect(try answers() == ["served", "spare"])
  }

  @Test("When all endpoints are down, clients are reset at once, and the record says so")
  func allDown() throws {
    let refusing = try RefusingPort()
    let proxy = try proxy([refusing.address], check: "tcp: {}", ", connect: 30s")
    #expect(proxy.event("all endpoints are down")?["upstream"] == "u")
    #expect(try Connection(proxy.address()).isReset())
    let record = try proxy.record()
    #expect(record["end"] == "all_down")
    #expect(record["by"] == "proxy")
    #expect(record["attempts"] == "0")
  }

  @Test("A reload that changes nothing keeps what is known of an endpoint")
  func reloadKeepsHealth() throws {
    let (refusing, server) = (try RefusingPort(), try Server.named("a"))
    func file(_ rise: Int) -> String {
      """
      workers: 1
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u:
          endpoints: ["\(refusing.address)", "\(server.address)"]
          check: {tcp: {}, every: 20ms, jitter: 0%, rise: \(rise), fall: 2}
      """
    }
    let proxy = try ProxyProcess(file(2))
    #expect(proxy.event("endpoint is down") != nil)
    #expect(try proxy.reload(file(3)).message == "reloaded")
    for _ in 0..<4 { #expect(try Connection(proxy.address()).ask("") == "a") }
    #expect(try proxy.records(4).allSatisfy { $0["attempts"] == "1" })
    let lines = logLines(proxy.program.errorText).filter { $0.message == "endpoint is down" }
    #expect(lines.count == 1)
  }

  @Test("Without a check any more, an endpoint serves again")
  func checkRemoved() throws {
    let isHealthy = Shared(false)
    let web = try webServer(isHealthy)
    func file(_ check: String) -> String {
      """
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {endpoints: ["\(web.address)"]\(check)}
      """
    }
    let proxy = try ProxyProcess(file(", check: {http: {path: /health}, every: 20ms, fall: 1}"))
    #expect(proxy.event("endpoint is down") != nil)
    #expect(try Connection(proxy.address()).isReset())
    #expect(try proxy.reload(file("")).message == "reloaded")
    #expect(try Connection(proxy.address()).ask("x\r\n\r\n") == "served")
  }
}
