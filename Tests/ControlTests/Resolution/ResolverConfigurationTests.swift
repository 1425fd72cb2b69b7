// SPDX-License-Identifier: Apache-2.0
// Who is asked for names: read once for all that ask together, anew for those that ask later.

import EventLoop
import Glibc
import Testing

@testable import Control
@testable import DNS

@Suite struct ResolverConfigurationTests {
  @Test func howeverManyAskTogetherItIsReadOnce() throws {
    let folder = try temporaryFolder()
    let path = "\(folder)/resolv.conf"
    defer {
      unlink(path)
      rmdir(folder)
    }
    @Sendable func write(_ text: String) {
      guard let file = fopen(path, "w") else { return }
      fputs(text, file)
      fclose(file)
    }
    write("nameserver 10.0.0.1\n")
    try Loop().run {
      // As narrow as it gets: one that is read, and room for one more.
      let pool = BlockingPool(name: "narrow", threadsMax: 1, waitingMax: 1)
      let configuration = ResolverConfiguration(pool: pool, path: path)
      let found = try await withThrowingTaskGroup(of: NameServers.self) { group in
        for number in 0..<100 {
          group.addTask(name: "asker \(number)") {
            try await configuration.nameServers(until: .distantFuture)
          }
        }
        return try await group.reduce(into: Set<NameServers>()) { $0.insert($1) }
      }
      #expect(found == [NameServers(resolverConfiguration: "nameserver 10.0.0.1\n")])
      write("nameserver 10.0.0.2\n")
      // Whoever gives up keeps it from nobody else.
      let impatient = Loop.current?.spawn(name: "impatient") {
        try await configuration.nameServers(until: .distantFuture)
      }
      let patient = Loop.current?.spawn(name: "patient") {
        try await configuration.nameServers(until: .distantFuture)
      }
      try await Loop.current?.yield()
      impatient?.cancel()
      let second = NameServers(resolverConfiguration: "nameserver 10.0.0.2\n")
      #expect(try await patient?.value == second)
    }
  }

  @Test func withoutTheFileItIsTheServerOfThisMachine() throws {
    try Loop().run {
      let pool = BlockingPool(name: "resolv.conf", threadsMax: 1)
      let configuration = ResolverConfiguration(pool: pool, path: "/nonexistent")
      let found = try await configuration.nameServers(until: .distantFuture)
      #expect(found == NameServers([.v4(.loopback, port: 53)]).withDots)
    }
  }
}

extension NameServers {
  /// As the file has it that says nothing.
  fileprivate var withDots: NameServers {
    NameServers(addresses: addresses, domains: [], dotsMin: 1)
  }
}
