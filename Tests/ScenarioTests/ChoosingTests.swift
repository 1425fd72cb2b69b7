// SPDX-License-Identifier: Apache-2.0
// `balance` beyond turns and counts, `hash_key`, `spill_over` and `slow_start`: who serves whom.

import Testing

/// A proxy with two workers, so that what they must agree on shows.
private func proxy(_ balance: String, _ endpoints: String, settings: String = "") throws
  -> ProxyProcess
{
  try ProxyProcess(configuration(balance, endpoints, settings: settings))
}

private func configuration(_ balance: String, _ endpoints: String, settings: String = "") -> String
{
  """
  workers: 2
  routes:
    r: {listen: "127.0.0.1:0", to: u}
    s: {listen: "127.0.0.1:0", to: u, hash_key: other}
  upstreams:
    u: {balance: \(balance), \(settings) endpoints: [\(endpoints)]}
  """
}

/// The names that `count` clients one after another get to hear, and how often each.
private func answers(_ proxy: ProxyProcess, _ count: Int, route: String = "r") throws -> [String:
  Int]
{
  let address = try proxy.address(route)
  var answers: [String: Int] = [:]
  for _ in 0..<count { answers[try Connection(address).ask(""), default: 0] += 1 }
  return answers
}

private func servers(_ count: Int) throws -> (servers: [Server], endpoints: String) {
  let servers = try (0..<count).map { try Server.named("\($0)") }
  return (servers, servers.map { "\"\($0.address)\"" }.joined(separator: ", "))
}

@Suite("balance: the other policies")
struct ChoosingTests {
  @Test(
    "Each policy that spreads has all endpoints serve",
    arguments: [
      "random", "power_of_two", "peak_ewma", "{peak_ewma: {measure: first_byte, decay: 1s}}",
    ])
  func spreading(_ balance: String) throws {
    let (servers, endpoints) = try servers(3)
    let proxy = try proxy(balance, endpoints)
    #expect(try answers(proxy, 60).count == servers.count)
  }

  @Test("first fills endpoints up in the order of the file")
  func first() throws {
    let (a, b) = (try Server.named("a"), try Server.named("b"))
    let proxy = try proxy(
      "first", "{address: \"\(a.address)\", max_sessions: 2}, \"\(b.address)\"")
    let address = try proxy.address("r")
    var open: [Connection] = []
    var names: [String] = []
    for _ in 0..<4 {
      let client = try Connection(address)
      names.append(try client.receive(1))
      open.append(client)
    }
    #expect(names == ["a", "a", "b", "b"])
  }

  @Test(
    "A client keeps its endpoint, whichever worker has it, and after a restart",
    arguments: ["source_hash", "maglev", "{maglev: {key: {ipv4: 8, ipv6: 64}, table: 1021}}"])
  func hashes(_ balance: String) throws {
    let (all, endpoints) = try servers(5)
    defer { withExtendedLifetime(all) {} }
    let proxy = try proxy(balance, endpoints)
    let found = try answers(proxy, 20)
    #expect(found.count == 1)
    let again = try ProxyProcess(configuration(balance, endpoints))
    #expect(try answers(again, 20) == found)
  }

  @Test("A client whose endpoint refuses is served by another one")
  func hashPassesOver() throws {
    let (all, endpoints) = try servers(2)
    defer { withExtendedLifetime(all) {} }
    let refusing = try (0..<6).map { _ in try RefusingPort() }
    let others = refusing.map { "\"\($0.address)\"" }.joined(separator: ", ")
    let proxy = try proxy("source_hash", "\(others), \(endpoints)")
    #expect(try answers(proxy, 5).values.reduce(0, +) == 5)
  }

  @Test("With `key: route`, the clients of a route share an endpoint")
  func hashKey() throws {
    let (all, endpoints) = try servers(4)
    defer { withExtendedLifetime(all) {} }
    let proxy = try proxy("{source_hash: {key: route}}", endpoints)
    #expect(try answers(proxy, 10, route: "r").count == 1)
    #expect(try answers(proxy, 10, route: "s").count == 1)
  }

  @Test("Bounded load spreads one client over all endpoints")
  func boundedLoad() throws {
    let (all, endpoints) = try servers(4)
    defer { withExtendedLifetime(all) {} }
    let proxy = try proxy("{maglev: {load: 125%}}", endpoints)
    let address = try proxy.address("r")
    var open: [Connection] = []
    var names: [String] = []
    for _ in 0..<16 {
      let client = try Connection(address)
      names.append(try client.receive(1))
      open.append(client)
    }
    for name in Set(names) { #expect(names.count { $0 == name } <= 5) }
  }

  @Test("With spill_over, the next priority gets what the first one is too ill for")
  func spillOver() throws {
    let (kept, spare, refusing) = (
      try Server.named("kept"), try Server.named("spare"), try RefusingPort()
    )
    let proxy = try proxy(
      "random",
      """
      "\(kept.address)", "\(refusing.address)", {address: "\(spare.address)", priority: 1}
      """, settings: "spill_over: 75%, check: {tcp: {}, every: 20ms, timeout: 10s, fall: 2},")
    #expect(proxy.event("endpoint is down")?["endpoint"] == refusing.address)
    // A half of the weight is healthy: two thirds stay, within five standard deviations.
    let found = try answers(proxy, 300)
    #expect((160...240).contains(found["kept"] ?? 0), "\(found)")
    #expect(found.values.reduce(0, +) == 300)
  }

  /// Which part of 60 sessions goes to an endpoint that has just come back.
  private func returning(slowStart: String) throws -> Int {
    let isHealthy = Shared(true)
    func server(_ name: String, _ isHealthy: Shared<Bool>) throws -> Server {
      try Server { connection in
        guard try connection.receive(1) == "?" else { return try connection.send(name) }
        try connection.send(isHealthy.value ? "yes" : "no")
      }
    }
    let (a, b) = (try server("a", Shared(true)), try server("b", isHealthy))
    let proxy = try ProxyProcess(
      """
      workers: 1
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u:
          slow_start: \(slowStart)
          check: {exchange: [{send: "?"}, {expect: "yes"}], every: 20ms, timeout: 10s, fall: 1, rise: 1}
          endpoints: ["\(a.address)", "\(b.address)"]
      """)
    isHealthy.value = false
    #expect(proxy.event("endpoint is down") != nil)
    isHealthy.value = true
    #expect(proxy.event("endpoint is up") != nil)
    var count = 0
    for _ in 0..<60 where try Connection(proxy.address()).ask("x") == "b" { count += 1 }
    return count
  }

  @Test("Who has come back gets little at first with slow_start, and its share without")
  func slowStart() throws {
    #expect(try returning(slowStart: "off") == 30)
    // However long the test takes, it is the beginning of an hour.
    #expect(try (0...5).contains(returning(slowStart: "1h")))
  }

  @Test("A reload to another policy counts for the next client")
  func reload() throws {
    let (all, endpoints) = try servers(3)
    defer { withExtendedLifetime(all) {} }
    let proxy = try proxy("round_robin", endpoints, settings: "slow_start: 30s, spill_over: 70%,")
    #expect(try answers(proxy, 12).count == 3)
    _ = try proxy.reload(configuration("source_hash", endpoints))
    #expect(try answers(proxy, 12).count == 1)
  }
}
