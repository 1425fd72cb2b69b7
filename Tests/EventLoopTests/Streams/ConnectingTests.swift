// SPDX-License-Identifier: Apache-2.0
// Connecting to addresses and to hosts. What does not answer is a listener of this machine whose queue is
// full: the kernel then lets connections hang.

import Addressing
import Glibc
import Reactor
import Testing

@testable import EventLoop

/// A listener at an address that answers nobody: its queue is full.
private struct Silent {
  let listener: StreamListener
  private let fillers: [Stream]

  init(at address: SocketAddress) async throws {
    listener = try StreamListener(at: address, backlog: 0)
    fillers = [try await Stream.connect(to: listener.address)]
  }
}

/// A port at which this machine answers at 127.0.0.1 and not at 127.0.0.2, which is silent.
private struct HalfSilent {
  let silent: Silent
  let listener: StreamListener
  var port: UInt16 { listener.address.port ?? 0 }

  init() async throws {
    while true {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      let other = SocketAddress.v4(silentIP, port: listener.address.port ?? 0)
      do {
        silent = try await Silent(at: other)
        self.listener = listener
        return
      } catch let error as ListeningSocket.Failure where error.errno == .addressInUse {
        continue
      }
    }
  }
}

private let silentIP = IPv4Address(rawValue: 0x7F00_0002)

@Suite struct ConnectingTests {
  private let pool = BlockingPool(name: "names", threadsMax: 1)

  private func resolver(_ addresses: [IPAddress]) -> HostResolver {
    HostResolver(pool: pool) { _ in addresses }
  }

  // MARK: Addresses

  @Test func nobodyListens() throws {
    try Loop().run {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      listener.close()
      await #expect(throws: StreamError.failed(action: "connecting", .connectionRefused)) {
        _ = try await Stream.connect(to: listener.address)
      }
      await #expect(throws: StreamError.failed(action: "connecting", .noSuchFileOrDirectory)) {
        _ = try await Stream.connect(to: .unix(path: "/tmp/nobody/listens.sock"))
      }
    }
  }

  @Test func aConnectionToItselfIsRefused() throws {
    try Loop().run { () async throws in
      let loop = try #require(Loop.current)
      let kernel = loop.engine.kernel
      let any = KernelAddress(.v4(.loopback, port: 0))
      let descriptor = Descriptor(owning: try kernel.makeSocket(for: any, options: .prompt))
      // The kernel may choose the port that is connected to as the source. Here it has to.
      let number = descriptor.rawValue
      #expect(any.withSockaddr { bind(number, $0, $1) } == 0)
      let own = try #require(boundAddress(number))
      var failure: StreamError?
      do throws(StreamError) {
        _ = try await Stream.connect(
          descriptor, to: own, KernelAddress(own), until: .distantFuture, on: loop)
      } catch {
        failure = error
      }
      #expect(failure == .failed(action: "connecting", .connectionRefused))
      #expect(loop.listing.descriptors.allSatisfy { !$0.what.hasPrefix("stream") })
      // The port is free at once.
      let listener = try StreamListener(at: own)
      let client = try await Stream.connect(to: own)
      #expect(client.peerAddress == listener.address)
    }
  }

  @Test func theSourceIsChosen() throws {
    try Loop().run {
      let listener = try StreamListener(at: .v4(.any, port: 0))
      let target = SocketAddress.v4(.loopback, port: listener.address.port ?? 0)
      let source = IPv4Address(rawValue: 0x7F00_0009)
      let client = try await Stream.connect(to: target, from: .v4(source))
      let server = try await listener.accept()
      #expect(server.peerAddress?.ip == .v4(source))
      #expect(client.localAddress?.ip == .v4(source))
      await #expect(throws: StreamError.failed(action: "binding", .addressNotAvailable)) {
        _ = try await Stream.connect(to: target, from: .v4(IPv4Address(rawValue: 0xC000_0201)))
      }
    }
  }

  @Test func deadlinesAndCancellationEndTheWait() throws {
    let loop = try Loop()
    try loop.run {
      let silent = try await Silent(at: .v4(.loopback, port: 0))
      let address = silent.listener.address
      let before = loop.listing.descriptors.count
      await #expect(throws: StreamError.deadlinePassed) {
        _ = try await Stream.connect(to: address, until: loop.soon)
      }
      let task = loop.spawn(name: "connector") { _ = try await Stream.connect(to: address) }
      try await loop.waitUntil("connector", waitsFor: "connect")
      task.cancel()
      await #expect(throws: StreamError.cancelled) { try await task.value }
      #expect(loop.listing.descriptors.count == before)
    }
  }

  @Test func aUnixListenerWhoseQueueIsFullIsTriedAgain() throws {
    let loop = try Loop()
    try loop.run {
      let name = "full-\(getpid())-\(UInt32.random(in: 0 ... .max))"
      let silent = try await Silent(at: .abstract(name: name))
      let address = silent.listener.address
      await #expect(throws: StreamError.deadlinePassed) {
        _ = try await Stream.connect(to: address, until: loop.soon)
      }
      let task = loop.spawn(name: "connector") { try await Stream.connect(to: address) }
      try await loop.waitUntil("connector", waitsFor: "connect")
      _ = try await silent.listener.accept()
      let client = try await task.value
      let server = try await silent.listener.accept()
      try server.write([1])
      #expect(try await client.read() == [1])
      // And a cancelled one goes.
      let full = try await Stream.connect(to: address)
      let late = loop.spawn(name: "late") { _ = try await Stream.connect(to: address) }
      try await loop.waitUntil("late", waitsFor: "connect")
      late.cancel()
      await #expect(throws: StreamError.cancelled) { try await late.value }
      full.close()
    }
  }

  // MARK: Hosts

  @Test func theNextAddressIsTriedWhenOneDoesNotAnswer() throws {
    let loop = try Loop()
    try loop.run {
      let place = try await HalfSilent()
      let before = loop.listing.descriptors.count
      let stream = try await Stream.connect(
        toHost: "host", port: place.port, resolver: resolver([.v4(silentIP), .v4(.loopback)]),
        attemptDelay: .milliseconds(20))
      #expect(stream.peerAddress == place.listener.address)
      // The attempt that lost is closed.
      #expect(loop.listing.descriptors.count == before + 1)
      #expect(!loop.listing.waits.contains { $0.what == "connect" })
    }
  }

  @Test func theNextAddressIsTriedAtOnceWhenOneFails() throws {
    let loop = try Loop()
    try loop.run {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      let began = loop.now
      let stream = try await Stream.connect(
        toHost: "host", port: listener.address.port ?? 0,
        resolver: resolver([.v4(silentIP), .v4(.loopback)]), attemptDelay: .seconds(3600))
      #expect(stream.peerAddress == listener.address)
      #expect(loop.now.nanoseconds(since: began) < 1_800_000_000_000)
    }
  }

  @Test func whenAllFailEachIsTold() throws {
    try Loop().run {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      listener.close()
      let port = listener.address.port ?? 0
      do {
        _ = try await Stream.connect(
          toHost: "host", port: port, resolver: resolver([.v4(silentIP), .v4(.loopback)]))
        Issue.record("nobody listens there")
      } catch let error as HostConnectError {
        #expect(
          error.description == "cannot connect to host, port \(port): "
            + "127.0.0.2:\(port): connecting: Connection refused; "
            + "127.0.0.1:\(port): connecting: Connection refused")
      }
    }
  }

  @Test func deadlinesAndCancellationEndTheRace() throws {
    let loop = try Loop()
    try loop.run {
      let place = try await HalfSilent()
      let resolver = resolver([.v4(silentIP), .v4(silentIP)])
      await #expect(throws: StreamError.deadlinePassed) {
        _ = try await Stream.connect(
          toHost: "host", port: place.port, resolver: resolver,
          attemptDelay: .milliseconds(10), until: loop.now.advanced(by: 40_000_000))
      }
      let task = loop.spawn(name: "connector") {
        _ = try await Stream.connect(
          toHost: "host", port: place.port, resolver: resolver, attemptDelay: .milliseconds(10))
      }
      try await loop.waitUntil { loop.listing.waits.count { $0.what == "connect" } == 2 }
      task.cancel()
      await #expect(throws: StreamError.cancelled) { try await task.value }
    }
  }

  @Test func whatWasGivenUpIsNotBegunAgain() throws {
    let loop = try Loop()
    try loop.run {
      let place = try await HalfSilent()
      await #expect(throws: StreamError.deadlinePassed) {
        _ = try await Stream.connect(
          toHost: "host", port: place.port, resolver: resolver([.v4(silentIP), .v4(.loopback)]),
          attemptDelay: .seconds(3600), until: loop.now.advanced(by: 40_000_000))
      }
      // The second address was not tried.
      await #expect(throws: StreamError.deadlinePassed) {
        _ = try await place.listener.accept(until: loop.soon)
      }
    }
  }

  @Test func aNameThatIsUnknownIsNoAddress() throws {
    let resolver = HostResolver(pool: pool) { name throws(HostNameError) in
      throw HostNameError(name: name, reason: "unknown")
    }
    #expect(throws: HostNameError.self) {
      try Loop().run { _ = try await Stream.connect(toHost: "host", port: 1, resolver: resolver) }
    }
  }

  @Test func familiesTakeTurns() {
    let v4 = (1...3).map { IPAddress.v4(IPv4Address(rawValue: $0)) }
    let v6 = (1...2).map { IPAddress.v6(IPv6Address(high: 0, low: $0)) }
    #expect(Stream.interleaved(v6 + v4) == [v6[0], v4[0], v6[1], v4[1], v4[2]])
    #expect(Stream.interleaved(v4 + v6) == [v4[0], v6[0], v4[1], v6[1], v4[2]])
    #expect(Stream.interleaved([]) == [])
  }
}
