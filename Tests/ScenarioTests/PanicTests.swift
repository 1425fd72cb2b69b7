// SPDX-License-Identifier: Apache-2.0
// `panic` and `quorum`: what an upstream does when few of its endpoints are healthy.

import Foundation
import Testing

/// A server with a name that fails its checks: it is asked for `/health`, and has no good answer.
private func illServer(_ name: String) throws -> Server {
  try Server { connection in
    let first = try connection.receive(1)
    guard first == "G" else { return try connection.send(name) }
    try connection.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
  }
}

/// A server with a name that passes them.
private func soundServer(_ name: String) throws -> Server {
  try Server { connection in
    let first = try connection.receive(1)
    guard first == "G" else { return try connection.send(name) }
    try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
  }
}

private func file(_ endpoints: [Server], _ more: String) -> String {
  let list = endpoints.map { "\"\($0.address)\"" }.joined(separator: ", ")
  return """
    workers: 1
    admin: {listen: "127.0.0.1:0"}
    routes:
      r: {listen: "127.0.0.1:0", to: u}
    upstreams:
      u:
        endpoints: [\(list)]
        check: {http: {path: /health}, every: 20ms, timeout: 10s, jitter: 0%, rise: 2, fall: 2}
        \(more)
    """
}

/// Who serves the next clients.
private func names(_ proxy: ProxyProcess, of clients: Int = 8) throws -> Set<String> {
  Set(try (0..<clients).map { _ in try Connection(proxy.address()).ask("x") })
}

@Suite("panic")
struct PanicTests {
  @Test("With too few healthy endpoints, all are used, those that are down included")
  func panic() throws {
    let servers = [try illServer("a"), try soundServer("b")]
    let proxy = try ProxyProcess(file(servers, "panic: 60%"))
    let line = proxy.event("so few endpoints are healthy that all are used")
    #expect(line?.level == "error")
    #expect(line?["upstream"] == "u")
    #expect(line?["healthy"] == "1")
    #expect(line?["endpoints"] == "2")
    #expect(try names(proxy) == ["a", "b"])
    #expect(try adminPage("/readyz", of: proxy).contains("1 of 2 endpoints up, so all are used"))
    #expect(
      try adminPage("/metrics", of: proxy).contains("sluice_upstream_panic{upstream=\"u\"} 1"))
  }

  @Test("With enough of them, or without panic, only those serve")
  func noPanic() throws {
    let servers = [try illServer("a"), try soundServer("b")]
    let proxy = try ProxyProcess(file(servers, "panic: 50%"))
    #expect(proxy.event("endpoint is down") != nil)
    #expect(try names(proxy) == ["b"])
    #expect(try proxy.reload(file(servers, "panic: 60%")).message == "reloaded")
    #expect(try names(proxy) == ["a", "b"])
    #expect(try proxy.reload(file(servers, "panic: off")).message == "reloaded")
    #expect(proxy.event("enough endpoints are healthy again") != nil)
    #expect(try names(proxy) == ["b"])
  }

  @Test("In panic even an upstream whose endpoints are all down serves")
  func allDown() throws {
    let servers = [try illServer("a"), try illServer("b")]
    let proxy = try ProxyProcess(file(servers, "panic: 1%"))
    #expect(proxy.event("so few endpoints are healthy that all are used") != nil)
    #expect(try names(proxy) == ["a", "b"])
    #expect(try adminPage("/readyz", of: proxy).hasPrefix("HTTP/1.1 200 "))
  }
}

@Suite("quorum")
struct QuorumTests {
  @Test("With fewer healthy endpoints than the quorum, nobody is served, and readiness says so")
  func quorum() throws {
    let servers = [try illServer("a"), try soundServer("b")]
    let proxy = try ProxyProcess(file(servers, "quorum: 2"))
    let line = proxy.event("fewer endpoints are healthy than the quorum")
    #expect(line?.level == "error")
    #expect(line?["healthy"] == "1")
    #expect(try Connection(proxy.address()).isReset())
    let record = try proxy.record()
    #expect(record["end"] == "no_quorum")
    #expect(record["by"] == "proxy")
    #expect(record["attempts"] == "0")
    let page = try adminPage("/readyz", of: proxy)
    #expect(page.hasPrefix("HTTP/1.1 503 "))
    #expect(page.contains("upstream u: 1 of 2 endpoints up, and its quorum is 2"))
    #expect(try proxy.reload(file(servers, "quorum: 1")).message == "reloaded")
    #expect(proxy.event("the quorum is there") != nil)
    #expect(try names(proxy) == ["b"])
  }
}
