// SPDX-License-Identifier: Apache-2.0
// `on_down`: what becomes of the sessions of an endpoint that goes down.

import Foundation
import Testing

@Suite("on_down, and up again")
struct OnDownAndUpTests {
  /// A server that echoes, and passes its checks as long as it is told to.
  private func server(_ isHealthy: Shared<Bool>) throws -> Server {
    try Server { connection in
      let first = try connection.receive(1)
      guard first == "G" else {
        try connection.send(first)
        while case let next = try connection.receive(1), !next.isEmpty {
          try connection.send(next)
        }
        return
      }
      let status = isHealthy.value ? "200 OK" : "503 Service Unavailable"
      try connection.send("HTTP/1.1 \(status)\r\nContent-Length: 0\r\n\r\n")
    }
  }

  private func proxy(_ server: Server, _ onDown: String) throws -> ProxyProcess {
    try ProxyProcess(
      """
      workers: 2
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u:
          endpoints: ["\(server.address)"]
          check: {http: {}, every: 20ms, timeout: 10s, jitter: 0%, rise: 2, fall: 2}
          on_down: \(onDown)
      """)
  }

  @Test(
    "Sessions are reset, and the record says why",
    arguments: ["close", "{close: 50ms}", "{drain: 20ms}"])
  func close(_ onDown: String) throws {
    let isHealthy = Shared(true)
    let server = try server(isHealthy)
    let proxy = try proxy(server, onDown)
    let clients = try (0..<4).map { _ in try Connection(proxy.address()) }
    for client in clients { #expect(try client.echo("hello") == "hello") }
    isHealthy.value = false
    for client in clients { #expect(try client.isReset()) }
    let records = try proxy.records(4)
    #expect(records.allSatisfy { $0["end"] == "endpoint_down" && $0["by"] == "proxy" })
  }

  @Test("They go on where nothing is said")
  func keep() throws {
    let isHealthy = Shared(true)
    let server = try server(isHealthy)
    let proxy = try proxy(server, "keep")
    let client = try Connection(proxy.address())
    #expect(try client.echo("hello") == "hello")
    isHealthy.value = false
    #expect(proxy.event("all endpoints are down") != nil)
    #expect(try client.echo("still here") == "still here")
  }

  @Test("Those that are left when it is up again stay")
  func recovery() throws {
    let isHealthy = Shared(true)
    let server = try server(isHealthy)
    let proxy = try proxy(server, "{drain: 1h}")
    let client = try Connection(proxy.address())
    #expect(try client.echo("hello") == "hello")
    isHealthy.value = false
    #expect(proxy.event("endpoint is down") != nil)
    isHealthy.value = true
    #expect(proxy.event("endpoint is up") != nil)
    #expect(try client.echo("still here") == "still here")
  }
}
