// SPDX-License-Identifier: Apache-2.0
// Names asked of servers that answer, refuse, cut short, fail, are silent, or are not there.

import Addressing
import DNSServing
import EventLoop
import Reactor
import Testing

@testable import DNS

/// Asks for the addresses of a name, in a loop that lives as long as that.
private func ask(
  _ name: String, of servers: [SocketAddress], timeout: Duration = .seconds(20)
) throws -> DNSAddresses {
  try Loop().run {
    try await DNSClient().addresses(of: name, from: NameServers(servers), timeout: timeout)
  }
}

/// Why asking fails.
private func failure(
  _ name: String, of servers: [SocketAddress], timeout: Duration = .seconds(20)
) -> String {
  do {
    return "found \(try ask(name, of: servers, timeout: timeout).addresses)"
  } catch {
    return "\(error)"
  }
}

@Suite("DNSClient: addresses")
struct DNSClientAddressTests {
  @Test("The addresses of a name, and for how long they hold")
  func found() throws {
    let server = NameServer()
    server.say("db.test", ["10.0.0.1", "10.0.0.2"], 30)
    let found = try ask("db.test", of: [server.address])
    #expect(found.addresses.map(\.description) == ["10.0.0.1", "10.0.0.2"])
    #expect(found.timeToLive == .seconds(30))
    #expect(found.unanswered == nil)
    #expect(server.asked.sorted() == ["A db.test", "AAAA db.test"])
  }

  @Test("An answer that was cut short is asked for by TCP")
  func truncated() throws {
    let server = NameServer()
    let records = (0..<200).map { NameServer.Record.address("db.test", "10.0.1.\($0)") }
    server.say("A", "db.test", .truncated(records))
    server.say("AAAA", "db.test", .nothing)
    #expect(try ask("db.test", of: [server.address]).addresses.count == 200)
    #expect(server.asked.contains("A db.test/tcp"))
  }

  @Test("A server that does not know EDNS is asked without")
  func withoutEDNS() throws {
    let server = NameServer()
    server.say("db.test", ["10.0.0.1"])
    server.refuseEDNS()
    let one = try ask("db.test", of: [server.address])
    #expect(one.addresses.map(\.description) == ["10.0.0.1"])
    #expect(one.unanswered == nil)
    server.say("db.test", ["10.0.0.1", "fd00::1"])
    #expect(try ask("db.test", of: [server.address]).unanswered == nil)
    server.say("A", "odd.test", .code(1))
    server.say("AAAA", "odd.test", .code(1))
    #expect(failure("odd.test", of: [server.address]).contains("FORMERR"))
  }

  @Test("A name that is not there, one without addresses, and failures are told apart in words")
  func words() {
    let server = NameServer()
    server.say("empty.test", [])
    for (name, code) in [("failed.test", UInt8(2)), ("refused.test", 5)] {
      server.say("A", name, .code(code))
      server.say("AAAA", name, .code(code))
    }
    server.say("A", "bad.test", .bytes([0xC0, 0xFF, 0, 1]))
    server.say("AAAA", "bad.test", .nothing)
    let servers = [server.address]
    #expect(failure("gone.test", of: servers).contains("NXDOMAIN"))
    #expect(failure("empty.test", of: servers).contains("no such record"))
    #expect(failure("failed.test", of: servers).contains("SERVFAIL"))
    #expect(failure("refused.test", of: servers).contains("REFUSED"))
    #expect(failure("bad.test", of: servers).contains("malformed"))
  }

  @Test("Where one server has failed or is not there, the next one is asked")
  func nextServer() throws {
    let failing = NameServer()
    failing.say("A", "db.test", .code(2))
    failing.say("AAAA", "db.test", .code(2))
    let good = NameServer()
    good.say("db.test", ["10.0.0.1"])
    #expect(try ask("db.test", of: [failing.address, good.address]).addresses.count == 1)
    // A port that nobody has any more.
    let gone = { NameServer().address }()
    #expect(try ask("db.test", of: [gone, good.address]).addresses.count == 1)
  }

  @Test("Where one server is silent, the next one is asked")
  func silentServer() throws {
    let silent = NameServer()
    silent.say("A", "db.test", .silence)
    silent.say("AAAA", "db.test", .silence)
    let good = NameServer()
    good.say("db.test", ["10.0.0.1"])
    let found = try ask(
      "db.test", of: [silent.address, good.address], timeout: .milliseconds(1400))
    #expect(found.addresses.count == 1)
    #expect(!silent.asked.isEmpty)
  }

  @Test(
    "Silence ends in time, and a family that nobody answers for keeps the other one from nothing")
  func silence() throws {
    let server = NameServer()
    server.say("A", "db.test", .silence)
    server.say("AAAA", "db.test", .silence)
    let servers = [server.address]
    #expect(failure("db.test", of: servers, timeout: .milliseconds(200)).contains("in time"))
    server.say("A", "db.test", .records([.address("db.test", "10.0.0.1")]))
    let found = try ask("db.test", of: servers, timeout: .milliseconds(200))
    #expect(found.addresses.map(\.description) == ["10.0.0.1"])
    #expect(found.unanswered == .v6)
  }

  @Test("A search list is gone through until a name is there, but not past a failure")
  func search() throws {
    let server = NameServer()
    server.say("db.b.test", ["10.0.0.1"])
    let servers = NameServers(
      resolverConfiguration: "search a.test b.test\n"
    ).asking(server.address)
    func found() -> String {
      do {
        return try Loop().run {
          try await DNSClient().addresses(of: "db", from: servers, timeout: .seconds(20))
            .addresses.map(\.description).joined()
        }
      } catch {
        return "\(error)"
      }
    }
    #expect(found() == "10.0.0.1")
    server.say("A", "db.a.test", .code(2))
    #expect(found().contains("SERVFAIL"))
  }

  @Test("A look-up that is cancelled ends, and so do those that wait for their turn")
  func cancelled() throws {
    let server = NameServer()
    server.say("A", "db.test", .silence)
    server.say("AAAA", "db.test", .silence)
    let servers = NameServers([server.address])
    let ended = try Loop().run {
      let client = DNSClient()
      return await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<(DNSClient.lookUpsMax + 5) {
          group.addTask(name: "look up \(number)") {
            _ = try await client.addresses(of: "db.test", from: servers, timeout: .seconds(3600))
          }
        }
        group.cancelAll()
        var ended = 0
        while let result = await group.nextResult() {
          if case .failure(WaitError.cancelled) = result { ended += 1 }
        }
        return ended
      }
    }
    #expect(ended == DNSClient.lookUpsMax + 5)
  }
}

extension NameServers {
  /// The same, but another server is asked.
  fileprivate func asking(_ server: SocketAddress) -> NameServers {
    NameServers(addresses: [server], domains: domains, dotsMin: dotsMin)
  }
}

@Suite("DNSClient: both families")
struct DNSClientFamilyTests {
  private func message(_ addresses: [String]) -> DNSReply {
    .message(
      DNSMessage(
        records: addresses.compactMap(IPAddress.init).map {
          DNSRecord(owner: "db.test", timeToLive: 60, content: .address($0))
        }))
  }

  private let gone = DNSReply.nothing(DNSFailure(reason: "gone"))
  private let broken = DNSReply.failed(DNSFailure(reason: "broken"))

  private func found(_ replies: [DNSReply], reaching: [String]) -> [String]? {
    let outcome = DNSClient.addresses(of: "db.test", replies) {
      reaching.contains($0.description)
    }
    guard case .found(let answer) = outcome else { return nil }
    return answer.addresses.map(\.description)
  }

  @Test("A family that this machine cannot reach is left out where the other one is there")
  func unreachable() {
    let both = [message(["10.0.0.1", "10.0.0.2"]), message(["fd00::1"])]
    #expect(found(both, reaching: ["10.0.0.2"]) == ["10.0.0.1", "10.0.0.2"])
    #expect(found(both, reaching: ["fd00::1"]) == ["fd00::1"])
    #expect(found(both, reaching: []) == ["10.0.0.1", "10.0.0.2", "fd00::1"])
    #expect(found([message(["10.0.0.1"]), gone], reaching: []) == ["10.0.0.1"])
  }

  @Test("Addresses in the answer to another question do not count")
  func mixed() {
    #expect(found([message(["fd00::1", "10.0.0.1"]), gone], reaching: []) == ["10.0.0.1"])
  }

  @Test("Only where nobody has failed may another name be tried")
  func outcomes() {
    let nothing = DNSFailure(reason: "gone")
    #expect(DNSClient.addresses(of: "db.test", [gone, gone]) == .nothing(nothing))
    #expect(
      DNSClient.addresses(of: "db.test", [gone, broken]) == .failed(DNSFailure(reason: "broken")))
  }
}

@Suite("DNSClient: services")
struct DNSClientServiceTests {
  private func ask(_ server: NameServer) throws -> DNSServices {
    try Loop().run {
      try await DNSClient().services(
        of: "_pg._tcp.test", from: NameServers([server.address]), timeout: .seconds(20))
    }
  }

  @Test("The servers of a service")
  func found() throws {
    let server = NameServer()
    server.say(
      "SRV", "_pg._tcp.test",
      .records([
        .service("_pg._tcp.test", "a.test", port: 5432, priority: 1, weight: 2, 9),
        .service("_pg._tcp.test", "b.test", port: 0),
      ]))
    let found = try ask(server)
    #expect(
      found.services == [DNSService(priority: 1, weight: 2, port: 5432, target: "a.test")])
    #expect(found.timeToLive == .seconds(9))
  }

  @Test("A domain may say that it has no such service")
  func none() {
    let server = NameServer()
    server.say(
      "SRV", "_pg._tcp.test", .records([.service("_pg._tcp.test", "", port: 0)]))
    #expect(throws: DNSFailure(reason: "the domain says that it has no such service")) {
      try ask(server)
    }
  }
}
