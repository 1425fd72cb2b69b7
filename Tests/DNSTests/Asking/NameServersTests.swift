// SPDX-License-Identifier: Apache-2.0
// resolv.conf(5) is read as the C library reads it.

import Addressing
import Testing

@testable import DNS

@Suite("NameServers")
struct NameServersTests {
  @Test("Servers, search list and dots come from the file")
  func reads() {
    let servers = NameServers(
      resolverConfiguration: """
        # comment
        nameserver 10.0.0.53
        nameserver\tfd00::53
        nameserver fe80::1%eth0
        search a.test b.test
        options timeout:1 ndots:2 rotate
        ; another
        """)
    #expect(servers.addresses.map(\.description) == ["10.0.0.53:53", "[fd00::53]:53"])
    #expect(servers.candidates(for: "db") == ["db.a.test", "db.b.test", "db"])
    #expect(servers.candidates(for: "x.db") == ["x.db.a.test", "x.db.b.test", "x.db"])
    #expect(servers.candidates(for: "y.x.db") == ["y.x.db", "y.x.db.a.test", "y.x.db.b.test"])
    #expect(servers.candidates(for: "db.") == ["db."])
  }

  @Test("The last of search and domain counts")
  func domain() {
    let servers = NameServers(resolverConfiguration: "search a.test\ndomain b.test c.test\n")
    #expect(servers.candidates(for: "db") == ["db.b.test", "db"])
  }

  @Test("Without a server it is this machine")
  func empty() {
    let servers = NameServers(resolverConfiguration: "nameserver nonsense\noptions ndots:x\n")
    #expect(servers.addresses == [.v4(.loopback, port: 53)])
    #expect(servers.candidates(for: "db") == ["db"])
  }

  @Test("Servers that somebody chose are asked for names as they are")
  func chosen() {
    let servers = NameServers([.v4(.loopback, port: 53)])
    #expect(servers.candidates(for: "db") == ["db"])
  }
}
