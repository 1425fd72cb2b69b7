// SPDX-License-Identifier: Apache-2.0
// `retry`, `max_sessions` of an upstream, `queue`, `hold`: what clients see when endpoints are full or
// gone.

import Foundation
import Testing

/// A proxy whose only route leads to an upstream with these settings.
private func proxy(_ settings: String, _ more: String = "") throws -> ProxyProcess {
  try ProxyProcess(
    """
    workers: 2
    \(more)
    routes:
      r: {listen: "127.0.0.1:0", to: u}
    upstreams:
      u: {\(settings)}
    """)
}

@Suite("retry")
struct RetryTests {
  @Test("No more attempts are made than may be, and then the last failure is told")
  func attempts() throws {
    let refusing = [try RefusingPort(), try RefusingPort(), try RefusingPort()]
    let list = refusing.map { "\"\($0.address)\"" }.joined(separator: ", ")
    let proxy = try proxy("endpoints: [\(list)], retry: {attempts: 2}")
    #expect(try Connection(proxy.address()).isReset())
    let record = try proxy.record()
    #expect(record["attempts"] == "2")
    #expect(record["end"] == "connect_refused")
  }

  @Test("With a number of attempts, an endpoint is asked again that has failed")
  func again() throws {
    let refusing = try RefusingPort()
    let proxy = try proxy(
      "endpoints: [\"\(refusing.address)\"], retry: {attempts: 4, back_off: 1ms}")
    #expect(try Connection(proxy.address()).isReset())
    #expect(try proxy.record()["attempts"] == "4")
  }

  @Test("Without retries the first failure is the end")
  func off() throws {
    let (refusing, server) = (try RefusingPort(), try Server.named("a"))
    let proxy = try proxy(
      "endpoints: [\"\(refusing.address)\", {address: \"\(server.address)\", priority: 1}], "
        + "retry: off")
    #expect(try Connection(proxy.address()).isReset())
    #expect(try proxy.record()["attempts"] == "1")
  }

  @Test("Above the budget no second attempt is made, and the record says so")
  func budget() throws {
    let (refusing, server) = (try RefusingPort(), try Server.named("a"))
    let proxy = try proxy(
      "endpoints: [\"\(refusing.address)\", {address: \"\(server.address)\", priority: 1}], "
        + "retry: {budget: 0%, budget_min: 0}")
    #expect(try Connection(proxy.address()).isReset())
    let record = try proxy.record()
    #expect(record["end"] == "retry_budget")
    #expect(record["by"] == "proxy")
    #expect(record["error"] == "Connection refused")
  }
}

@Suite("queue")
struct QueueScenarioTests {
  @Test("The bound of an upstream counts for all of its endpoints together")
  func upstreamBound() throws {
    let proxy = try proxy("endpoints: [\"builtin:echo\", \"builtin:echo\"], max_sessions: 1")
    let first = try Connection(proxy.address())
    #expect(try first.echo("1") == "1")
    #expect(try Connection(proxy.address()).isReset())
    #expect(try proxy.record()["end"] == "no_endpoint")
  }

  @Test("Who comes while all is full waits, and goes on in the order of arrival")
  func order() throws {
    let proxy = try proxy(
      "endpoints: [\"builtin:echo\"], max_sessions: 1, queue: {timeout: 1m}",
      "admin: {listen: \"127.0.0.1:0\"}")
    var clients = [try Connection(proxy.address())]
    #expect(try clients[0].echo("0") == "0")
    for number in 1...4 {
      clients.append(try Connection(proxy.address()))
      try clients[number].send("\(number)")
      // In the room before the next one comes.
      #expect(try waiting(proxy, number))
    }
    for number in 1...4 {
      clients[number - 1].close()
      #expect(try clients[number].receive(1) == "\(number)")
    }
    #expect(try waiting(proxy, 0))
  }

  /// Waits until the metrics say that so many wait.
  private func waiting(_ proxy: ProxyProcess, _ count: Int) throws -> Bool {
    let admin = try #require(proxy.event("admin interface")?["at"])
    let line = "sluice_upstream_waiting{upstream=\"u\",in=\"queue\"} \(count)\n"
    return eventually {
      let answer = try? Connection(admin).ask(
        "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      return answer?.contains(line) == true
    }
  }

  @Test("Who has waited too long is reset, and so is who finds the queue full")
  func bounds() throws {
    let proxy = try proxy(
      "endpoints: [\"builtin:echo\"], max_sessions: 1, queue: {length: 1, timeout: 500ms}",
      "admin: {listen: \"127.0.0.1:0\"}")
    let first = try Connection(proxy.address())
    #expect(try first.echo("1") == "1")
    let second = try Connection(proxy.address())
    #expect(try waiting(proxy, 1))
    #expect(try Connection(proxy.address()).isReset())
    #expect(try second.isReset())
    let records = try proxy.records(2)
    #expect(records.map { $0["end"] } == ["queue_full", "queue_timed_out"])
    #expect(records.allSatisfy { $0["phase"] == "waiting" && $0["by"] == "proxy" })
  }
}

@Suite("hold")
struct HoldScenarioTests {
  /// An address at which nobody listens yet: of a loopback that no other test uses, so that its port stays
  /// free.
  private func freeAddress() throws -> String {
    try RefusingPort("127.0.0.93:0").address
  }

  @Test("Clients wait for an endpoint that is not there yet, and all are served once it is")
  func unchecked() throws {
    let address = try freeAddress()
    let proxy = try proxy("endpoints: [\"\(address)\"], hold: {timeout: 1m, rate: 1000}")
    let clients = try (0..<5).map { _ in try Connection(proxy.address()) }
    for (number, client) in clients.enumerated() {
      try client.send("\(number)")
      client.finish()
    }
    let server = try Server(at: address) { try $0.send($0.receiveAll()) }
    for (number, client) in clients.enumerated() { #expect(try client.rest() == "\(number)") }
    #expect(server.acceptedCount == 5)
    #expect(try proxy.records(5).allSatisfy { $0["end"] == "finished" })
  }

  @Test("With checks, clients wait while all endpoints are down")
  func checked() throws {
    let address = try freeAddress()
    let proxy = try proxy(
      "endpoints: [\"\(address)\"], hold: 1m, "
        + "check: {tcp: {}, every: 20ms, timeout: 5s, jitter: 0%, rise: 1, fall: 1}")
    #expect(proxy.event("all endpoints are down") != nil)
    let client = try Connection(proxy.address())
    try client.send("early")
    client.finish()
    let server = try Server(at: address) { try $0.send($0.receiveAll()) }
    #expect(try client.rest() == "early")
    withExtendedLifetime(server) {}
  }

  @Test("Who has waited too long is reset, and the record says so")
  func timeout() throws {
    let refusing = try RefusingPort()
    let proxy = try proxy("endpoints: [\"\(refusing.address)\"], hold: 100ms")
    #expect(try Connection(proxy.address()).isReset())
    let record = try proxy.record()
    #expect(record["end"] == "hold_timed_out")
    #expect(record["by"] == "proxy")
    #expect(record["phase"] == "waiting")
    #expect(record["endpoint"] == refusing.address)
  }

  @Test("A client that gives up while it waits ends its session")
  func clientGivesUp() throws {
    let refusing = try RefusingPort()
    let proxy = try proxy("endpoints: [\"\(refusing.address)\"], hold: 1m")
    let client = try Connection(proxy.address())
    try client.send("x")
    client.reset()
    let record = try proxy.record()
    #expect(record["end"] == "reset")
    #expect(record["by"] == "downstream")
  }
}

@Suite("on_down")
struct OnDownTests {
  /// A session at an endpoint that is then found to be down: by checks at another port, which are refused.
  private func session(_ onDown: String) throws -> (ProxyProcess, Connection, Server) {
    let server = try Server { try $0.send($0.receiveAll()) }
    func file(_ checked: String) -> String {
      """
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {endpoints: ["\(server.address)"], on_down: \(onDown)\(checked)}
      """
    }
    let proxy = try ProxyProcess(file(""))
    let client = try Connection(proxy.address())
    try client.send("a")
    #expect(eventually { server.acceptedCount == 1 })
    let refusing = try RefusingPort()
    let check =
      ", check: {tcp: {}, address: \"\(refusing.address)\", every: 20ms, jitter: 0%, fall: 1}"
    #expect(try proxy.reload(file(check)).message == "reloaded")
    #expect(proxy.event("endpoint is down") != nil)
    return (proxy, client, server)
  }

  @Test("Sessions of an endpoint that goes down are reset where that is wanted")
  func close() throws {
    for word in ["{close: 50ms}", "{drain: 50ms}"] {
      let (proxy, client, server) = try session(word)
      #expect(try client.isReset())
      let record = try proxy.record()
      #expect(record["end"] == "endpoint_down")
      #expect(record["by"] == "proxy")
      #expect(record["endpoint"] == server.address)
    }
  }

  @Test("Otherwise they go on")
  func keep() throws {
    let (proxy, client, _) = try session("keep")
    #expect(try Connection(proxy.address()).isReset())
    #expect(try proxy.record()["end"] == "all_down")
    #expect(try client.ask("b") == "ab")
  }
}
