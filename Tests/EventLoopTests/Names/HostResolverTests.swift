// SPDX-License-Identifier: Apache-2.0
// Host names to addresses. Only names that need no network are looked up with success.

import Addressing
import EventLoop
import Glibc
import Reactor
import Testing

@Suite struct HostResolverTests {
  private let pool = BlockingPool(name: "names", threadsMax: 4)

  @Test func localhostIsThisMachine() throws {
    let loop = try Loop()
    let resolver = HostResolver(pool: pool)
    let addresses = try loop.run { try await resolver.addresses(of: "localhost") }
    #expect(addresses.contains { $0.description == "127.0.0.1" || $0.description == "::1" })
    #expect(Set(addresses).count == addresses.count)
  }

  @Test func aNameThatCannotExistFailsWithAReason() throws {
    let loop = try Loop()
    let resolver = HostResolver(pool: pool)
    try loop.run {
      do {
        _ = try await resolver.addresses(of: "no.such.invalid")
        Issue.record("it has addresses")
      } catch let error as HostNameError {
        #expect(error.name == "no.such.invalid")
        #expect(!error.reason.isEmpty)
        #expect(error.description == "cannot resolve no.such.invalid: \(error.reason)")
      }
    }
  }

  @Test(arguments: ["", "local\0host"])
  func whatIsNoNameFails(name: String) throws {
    let loop = try Loop()
    let resolver = HostResolver(pool: pool)
    #expect(throws: HostNameError.self) {
      try loop.run { try await resolver.addresses(of: name) }
    }
  }

  @Test(arguments: ["127.0.0.1", "::1", "2001:db8::7"])
  func anAddressStandsForItself(text: String) throws {
    let loop = try Loop()
    let resolver = HostResolver(pool: pool) { name throws(HostNameError) in
      throw HostNameError(name: name, reason: "it was looked up")
    }
    let addresses = try loop.run { try await resolver.addresses(of: text) }
    #expect(addresses == [IPAddress(text)])
  }

  @Test func aNameWithoutAddressesFails() throws {
    let loop = try Loop()
    let resolver = HostResolver(pool: pool) { _ in [] }
    #expect(throws: HostNameError(name: "empty", reason: "the name has no address")) {
      try loop.run { try await resolver.addresses(of: "empty") }
    }
  }

  @Test func lookUpsRunAtTheSameTime() throws {
    let loop = try Loop()
    let inside = Lock(0)
    let resolver = HostResolver(pool: pool) { name throws(HostNameError) in
      inside.withLock { $0 += 1 }
      // All four are inside before one returns.
      while inside.withLock({ $0 }) < 4 { _ = poll(nil, 0, 1) }
      return [.v4(.loopback)]
    }
    try loop.run {
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<4 {
          group.addTask { _ = try await resolver.addresses(of: "name-\(number)") }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test func nobodyWaitsLongerThanItsDeadlineOrItsTask() throws {
    let loop = try Loop()
    let mayEnd = Lock(false)
    let resolver = HostResolver(pool: pool) { name throws(HostNameError) in
      while !mayEnd.withLock({ $0 }) { _ = poll(nil, 0, 1) }
      throw HostNameError(name: name, reason: "late")
    }
    try loop.run {
      await #expect(throws: WaitError.deadlinePassed) {
        _ = try await resolver.addresses(of: "slow", until: loop.now.advanced(by: 2_000_000))
      }
      let task = loop.spawn(name: "asker") { try await resolver.addresses(of: "slower") }
      try await loop.yield()
      task.cancel()
      await #expect(throws: WaitError.cancelled) { _ = try await task.value }
      mayEnd.withLock { $0 = true }
    }
  }
}
