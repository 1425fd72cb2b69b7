// SPDX-License-Identifier: Apache-2.0
// `to`, `balance`, `weight`, `priority` and an endpoint's `max_sessions`: who serves whom.

import Testing

/// A proxy with one worker, since each has turns of its own, and an upstream with these settings.
private func proxy(
  _ endpoints: String, balance: String = "round_robin", settings: String = ""
) throws -> ProxyProcess {
  try ProxyProcess(
    """
    workers: 1
    routes:
      r: {listen: "127.0.0.1:0", to: u}
    upstreams:
      u: {balance: \(balance), \(settings) endpoints: [\(endpoints)]}
    """)
}

/// The names that `count` clients one after another get to hear, and how often each.
private func answers(_ proxy: ProxyProcess, _ count: Int) throws -> [String: Int] {
  let address = try proxy.address()
  var answers: [String: Int] = [:]
  for _ in 0..<count { answers[try Connection(address).ask(""), default: 0] += 1 }
  return answers
}

@Suite("to")
struct ToTests {
  @Test("An endpoint that is written inline serves")
  func inline() throws {
    let server = try Server.named("a")
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "\(server.address)"}
      """)
    #expect(try Connection(proxy.address()).ask("") == "a")
  }

  @Test("Several inline endpoints serve in turn")
  func inlineList() throws {
    let (a, b) = (try Server.named("a"), try Server.named("b"))
    let proxy = try ProxyProcess(
      """
      workers: 1
      routes:
        r: {listen: "127.0.0.1:0", to: ["\(a.address)", "\(b.address)"]}
      """)
    #expect(try answers(proxy, 6) == ["a": 3, "b": 3])
  }

  @Test("Two routes may lead to one named upstream")
  func named() throws {
    let server = try Server.named("a")
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: u}
        s: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {endpoints: ["\(server.address)"]}
      """)
    #expect(try Connection(proxy.address("r")).ask("") == "a")
    #expect(try Connection(proxy.address("s")).ask("") == "a")
  }

  @Test("A host name is looked up, and the record tells its address")
  func hostName() throws {
    let server = try Server.named("a")
    let port = server.address.split(separator: ":")[1]
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "localhost:\(port)"}
      """)
    #expect(try Connection(proxy.address()).ask("") == "a")
    #expect(try proxy.record()["endpoint"] == "localhost(127.0.0.1:\(port))")
    #expect(proxy.event("looked up")?["addresses"]?.contains("127.0.0.1") == true)
  }

  @Test("A unix socket is an endpoint")
  func unixEndpoint() throws {
    let folder = try Folder()
    let server = try Server.named("a", at: "unix:\(folder.path("s"))")
    let proxy = try proxy("\"\(server.address)\"")
    #expect(try Connection(proxy.address()).ask("") == "a")
  }
}

@Suite("balance")
struct BalanceTests {
  @Test("round_robin gives each endpoint exactly its weight's share")
  func weights() throws {
    let servers = try ["a", "b", "c"].map { try Server.named($0) }
    let endpoints = zip(servers, [1, 2, 5]).map { server, weight in
      "{address: \"\(server.address)\", weight: \(weight)}"
    }
    let proxy = try proxy(endpoints.joined(separator: ", "))
    #expect(try answers(proxy, 16) == ["a": 2, "b": 4, "c": 10])
  }

  @Test("An endpoint of weight 0 gets nothing")
  func weightZero() throws {
    let (a, b) = (try Server.named("a"), try Server.named("b"))
    let proxy = try proxy("{address: \"\(a.address)\", weight: 0}, \"\(b.address)\"")
    #expect(try answers(proxy, 4) == ["b": 4])
  }

  @Test("least_connections chooses the endpoint with the fewest open sessions")
  func leastConnections() throws {
    let (a, b) = (try Server.named("a"), try Server.named("b"))
    let proxy = try proxy(
      "\"\(a.address)\", \"\(b.address)\"", balance: "least_connections")
    let address = try proxy.address()
    var open: [Connection] = []
    var names: [String: Int] = [:]
    for _ in 0..<6 {
      let client = try Connection(address)
      names[try client.receive(1), default: 0] += 1
      open.append(client)
    }
    #expect(names == ["a": 3, "b": 3])
  }

  @Test("least_connections counts by weight")
  func leastConnectionsByWeight() throws {
    let (a, b) = (try Server.named("a"), try Server.named("b"))
    let proxy = try proxy(
      "{address: \"\(a.address)\", weight: 3}, \"\(b.address)\"", balance: "least_connections")
    let address = try proxy.address()
    let open = try (0..<8).map { _ in try Connection(address) }
    let names = try open.map { try $0.receive(1) }
    #expect(names.filter { $0 == "a" }.count == 6)
  }
}

@Suite("priority")
struct PriorityTests {
  @Test("An endpoint of priority 1 serves nobody while one of priority 0 can")
  func spareRests() throws {
    let (a, spare) = (try Server.named("a"), try Server.named("spare"))
    let proxy = try proxy("\"\(a.address)\", {address: \"\(spare.address)\", priority: 1}")
    #expect(try answers(proxy, 4) == ["a": 4])
  }

  @Test("An endpoint of priority 1 serves when priority 0 refuses")
  func spareServes() throws {
    let (refusing, spare) = (try RefusingPort(), try Server.named("spare"))
    let proxy = try proxy("\"\(refusing.address)\", {address: \"\(spare.address)\", priority: 1}")
    #expect(try answers(proxy, 2) == ["spare": 2])
    #expect(try proxy.record()["attempts"] == "2")
  }

  @Test("An endpoint of priority 1 serves when priority 0 is full")
  func spareTakesOver() throws {
    let (a, spare) = (try Server.named("a"), try Server.named("spare"))
    let proxy = try proxy(
      """
      {address: "\(a.address)", max_sessions: 1}, {address: "\(spare.address)", priority: 1}
      """)
    let first = try Connection(proxy.address())
    #expect(try first.receive(1) == "a")
    #expect(try Connection(proxy.address()).ask("") == "spare")
  }
}
