// SPDX-License-Identifier: Apache-2.0
// Accepting: one by one and as a sequence, when descriptors run out, and the end.

import Addressing
import EventLoop
import Glibc
import Reactor
import Testing

@Suite struct StreamListenerTests {
  static func path() -> String {
    "/tmp/stream-listener-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
  }

  @Test(arguments: ["127.0.0.1:0", "[::1]:0", "unix:PATH", "unix:@PATH"])
  func everyKindOfAddressServes(text: String) throws {
    let path = Self.path()
    let replaced = text.hasSuffix("PATH") ? text.dropLast(4) + path : text[...]
    let address = try #require(SocketAddress(replaced))
    try Loop().run {
      let listener: StreamListener
      do {
        listener = try StreamListener(at: address)
      } catch let error as ListeningSocket.Failure where text.hasPrefix("[") {
        // This machine has no IPv6.
        #expect([.addressNotAvailable, .addressFamilyNotSupported].contains(error.errno))
        return
      }
      #expect(listener.address.port != 0)
      let client = try await Stream.connect(to: listener.address)
      let server = try await listener.accept()
      try client.write([1, 2, 3])
      #expect(try await server.read() == [1, 2, 3])
      #expect(client.peerAddress == listener.address)
      listener.close()
    }
    #expect(access(path, F_OK) == -1)
  }

  @Test func oneThatCannotBeWatchedLeavesNoFile() throws {
    let path = Self.path()
    let loop = try Loop(LoopOptions(descriptorsMax: 1))
    try loop.run {
      let first = try StreamListener(at: .v4(.loopback, port: 0))
      let failure = #expect(throws: ListeningSocket.Failure.self) {
        _ = try StreamListener(at: .unix(path: path))
      }
      #expect(failure?.errno == .tooManyOpenFiles)
      #expect(access(path, F_OK) == -1)
      first.close()
    }
  }

  @Test func connectionsComeOneAfterAnother() throws {
    let loop = try Loop()
    try loop.run {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      let server = loop.spawn(name: "server") {
        var count = 0
        for try await stream in listener.connections {
          count += 1
          try stream.write([UInt8(count)])
          stream.close()
        }
        return count
      }
      // More at once than one job may accept.
      try await withThrowingTaskGroup(of: [UInt8].self) { group in
        for _ in 0..<100 {
          group.addTask {
            try await Stream.connect(to: listener.address).readToEnd(max: 1)
          }
        }
        var numbers: Set<UInt8> = []
        for try await bytes in group { numbers.formUnion(bytes) }
        #expect(numbers.count == 100)
      }
      listener.close()
      #expect(try await server.value == 100)
    }
  }

  @Test func cancellationEndsTheSequence() throws {
    let loop = try Loop()
    try loop.run {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      let server = loop.spawn(name: "server") { for try await _ in listener.connections {} }
      try await loop.waitUntil("server", waitsFor: "accept")
      server.cancel()
      try await server.value
    }
  }

  @Test func waitsForAConnectionEnd() throws {
    let loop = try Loop()
    try loop.run {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      await #expect(throws: StreamError.deadlinePassed) {
        _ = try await listener.accept(until: loop.soon)
      }
      let acceptor = loop.spawn(name: "acceptor") { _ = try await listener.accept() }
      try await loop.waitUntil("acceptor", waitsFor: "accept")
      #expect(
        loop.listing.descriptors.contains {
          $0.what == "listener \(listener.address)" && $0.reader == "acceptor"
        })
      listener.close()
      await #expect(throws: StreamError.closed) { try await acceptor.value }
      await #expect(throws: StreamError.closed) { _ = try await listener.accept() }
    }
  }

  @Test func aShortageOfDescriptorsIsWaitedOut() throws {
    let outside = try Loop(LoopOptions(name: "outside"))
    let thread = try LoopThread(name: "outside") { outside.runForever() }
    // The listener and one connection.
    let loop = try Loop(LoopOptions(descriptorsMax: 2))
    try loop.run {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      let clients = (1...3).map { number in
        outside.spawn(name: "client \(number)") {
          let stream = try await Stream.connect(to: listener.address)
          return try await stream.readToEnd(max: 1)
        }
      }
      let first = try await listener.accept()
      await #expect(throws: StreamError.failed(action: "accepting", .tooManyOpenFiles)) {
        _ = try await listener.accept()
      }
      await #expect(throws: StreamError.failed(action: "connecting", .tooManyOpenFiles)) {
        _ = try await Stream.connect(to: listener.address)
      }
      let server = loop.spawn(name: "server") {
        for try await stream in listener.connections {
          try stream.write([2])
          stream.close()
        }
      }
      try await loop.waitUntil("server", waitsFor: "rest of accepting")
      try first.write([1])
      first.close()
      var answers: [[UInt8]] = []
      for client in clients { answers.append(try await client.value) }
      #expect(answers.sorted { $0[0] < $1[0] } == [[1], [2], [2]])
      listener.close()
      try await server.value
    }
    outside.stop()
    thread.join()
  }

  @Test func aListenerMayBeMadeBeforeItsLoopRuns() throws {
    let loop = try Loop()
    let listener = try StreamListener(at: .v4(.loopback, port: 0), on: loop)
    try loop.run {
      let client = try await Stream.connect(to: listener.address)
      let server = try await listener.accept()
      try server.write([1])
      #expect(try await client.read() == [1])
    }
  }

  @Test func connectionsHoldTheirListener() throws {
    try Loop().run {
      func connections() throws -> (StreamListener.Connections, SocketAddress) {
        let listener = try StreamListener(at: .v4(.loopback, port: 0))
        return (listener.connections, listener.address)
      }
      let (connections, address) = try connections()
      let client = try await Stream.connect(to: address)
      let iterator = connections.makeAsyncIterator()
      let server = try #require(try await iterator.next())
      try server.write([1])
      #expect(try await client.read() == [1])
    }
  }

  @Test func aListenerIsClosedAlsoWhenItsLoopDoesNotRun() throws {
    let loop = try Loop()
    let path = Self.path()
    func listen() throws {
      let listener = try StreamListener(at: .unix(path: path), on: loop)
      #expect(listener.address == .unix(path: path))
    }
    try listen()
    #expect(access(path, F_OK) == -1)
    try loop.run { #expect(loop.listing.descriptors == []) }
  }

  @Test func aSocketThatListensMayBeTakenOver() throws {
    try Loop().run {
      let socket = try ListeningSocket(
        at: .v4(.loopback, port: 0), backlog: 1, options: .prompt)
      let listener = try StreamListener(socket)
      #expect(listener.address.port != 0)
      let client = try await Stream.connect(to: listener.address)
      _ = try await listener.accept()
      client.close()
    }
  }

  @Test func anAddressThatIsTakenIsRefused() throws {
    try Loop().run {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      do throws(ListeningSocket.Failure) {
        _ = try StreamListener(at: listener.address)
        Issue.record("two listen at \(listener.address)")
      } catch {
        #expect(error.errno == .addressInUse)
      }
    }
  }
}
