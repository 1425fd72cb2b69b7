// SPDX-License-Identifier: Apache-2.0
// How streams end: in good order with everything delivered, or by a reset; never a descriptor left behind.

import Addressing
import EventLoop
import Glibc
import Reactor
import Testing

@Suite struct StreamEndTests {
  @Test func closingDeliversWhatIsBuffered() throws {
    let bytes = pattern(1_000_000)
    let loop = try Loop()
    try loop.run {
      let (one, other) = try Stream.pair()
      func send(_ stream: Stream) throws {
        try stream.write(bytes)
        #expect(stream.unsentBytes > 0)
        stream.close()
        #expect(stream.isClosing)
        #expect(throws: StreamError.closed) { try stream.write([1]) }
      }
      try send(one)
      #expect(loop.listing.descriptors.contains { $0.what.hasSuffix(", closing") })
      #expect(try await other.readToEnd(max: bytes.count) == bytes)
      try await one.waitClosed()
      other.close()
      #expect(loop.listing.descriptors == [])
    }
  }

  @Test func aLoopThatEndsDeliversWhatWasClosed() throws {
    let bytes = pattern(1_000_000)
    let one = try Loop(LoopOptions(name: "one"))
    let other = try Loop(LoopOptions(name: "other"))
    let address = Shared<SocketAddress?>(nil)
    let hasAddress = Event()
    let received = Shared<[UInt8]>([])
    let thread = try LoopThread(name: "other") {
      try? other.run {
        let name = "end-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        let listener = try StreamListener(at: .abstract(name: name))
        address.value = listener.address
        hasAddress.set()
        let stream = try await listener.accept()
        // The other loop is about to end, or has its body ended, by then.
        try await other.sleep(for: .milliseconds(20))
        received.value = try await stream.readToEnd(max: bytes.count)
      }
    }
    try one.run {
      try await hasAddress.wait()
      let target = try #require(address.value)
      let stream = try await Stream.connect(to: target)
      try stream.write(bytes)
      stream.close()
    }
    thread.join()
    #expect(received.value == bytes)
  }

  @Test func whatCannotBeDeliveredIsResetWhenLingerIsOver() throws {
    try Loop().run {
      let ends = try await Connected()
      ends.client.linger = .milliseconds(20)
      try ends.client.write([UInt8](repeating: 7, count: 30_000_000))
      ends.client.close()
      await #expect(throws: StreamError.failed(action: "closing", .timedOut)) {
        try await ends.client.waitClosed()
      }
      // The peer does not take it for a whole.
      await #expect(throws: StreamError.failed(action: "reading", .connectionReset)) {
        while try await !ends.server.read().isEmpty {}
      }
    }
  }

  @Test func whatWasNotReadDoesNotDestroyWhatWasSent() throws {
    try Loop().run {
      let ends = try await Connected()
      try ends.client.write(pattern(100_000))
      _ = try await ends.server.read(exactly: 10)
      try ends.server.write(Array("answer".utf8))
      ends.server.close()
      #expect(try await ends.client.readToEnd(max: 100) == Array("answer".utf8))
      ends.client.close()
      try await ends.server.waitClosed()
    }
  }

  @Test func whatComesAfterTheCloseDoesNotDestroyWhatWasSent() throws {
    let loop = try Loop()
    try loop.run {
      let ends = try await Connected()
      try ends.server.write(Array("answer".utf8))
      ends.server.close(expectingMore: true)
      // It arrives at a socket that would have been closed otherwise.
      try ends.client.write(pattern(1000))
      try await loop.sleep(for: .milliseconds(5))
      try ends.client.write(pattern(1000))
      #expect(try await ends.client.readToEnd(max: 100) == Array("answer".utf8))
      #expect(loop.listing.descriptors.contains { $0.what.hasSuffix(", closing") })
      ends.client.close()
      try await ends.server.waitClosed()
    }
  }

  @Test func aPeerThatNeverFinishesIsNotWaitedForLongerThanLinger() throws {
    try Loop().run {
      let ends = try await Connected()
      ends.server.linger = .milliseconds(20)
      try ends.server.write([1])
      ends.server.close(expectingMore: true)
      // All was sent, so this is no failure and no reset.
      try await ends.server.waitClosed()
      #expect(try await ends.client.readToEnd(max: 10) == [1])
    }
  }

  @Test func aPeerThatGoesOnSendingIsResetInTheEnd() throws {
    let loop = try Loop()
    try loop.run {
      let ends = try await Connected()
      let writer = loop.spawn(name: "writer") {
        while true {
          try ends.client.write(pattern(100_000))
          try await ends.client.drain()
        }
      }
      _ = try await ends.server.read()
      ends.server.close()
      try await ends.server.waitClosed()
      await #expect(throws: StreamError.self) { try await writer.value }
    }
  }

  @Test func abortingResets() throws {
    try Loop().run {
      let ends = try await Connected()
      try ends.client.write([1, 2, 3])
      ends.client.abort()
      try await ends.client.waitClosed()
      await #expect(throws: StreamError.failed(action: "reading", .connectionReset)) {
        _ = try await ends.server.readToEnd(max: 10)
      }
      // Asked again, it says the same.
      await #expect(throws: StreamError.failed(action: "reading", .connectionReset)) {
        _ = try await ends.server.readToEnd(max: 10)
      }
    }
  }

  @Test func aResetThatWritingMeetsIsNoEndForReading() throws {
    let loop = try Loop()
    try loop.run {
      let ends = try await Connected()
      ends.client.abort()
      try await loop.sleep(for: .milliseconds(1))
      try await loop.waitUntil {
        do throws(StreamError) {
          try ends.server.write([1])
          return false
        } catch {
          return error == .failed(action: "writing", .connectionReset)
        }
      }
      await #expect(throws: StreamError.failed(action: "reading", .connectionReset)) {
        _ = try await ends.server.read()
      }
      await #expect(throws: StreamError.failed(action: "writing", .connectionReset)) {
        try await ends.server.drain()
      }
    }
  }

  @Test func aStreamThatIsDroppedResets() throws {
    let loop = try Loop()
    try loop.run {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      func connectAndForget() async throws {
        _ = try await Stream.connect(to: listener.address)
      }
      try await connectAndForget()
      #expect(loop.listing.descriptors.count == 1)
      let server = try await listener.accept()
      await #expect(throws: StreamError.failed(action: "reading", .connectionReset)) {
        try await server.read()
      }
    }
  }

  @Test func aStreamMayBeDroppedByAnotherThread() throws {
    let loop = try Loop()
    try loop.run {
      let kept = Shared<Stream?>(nil)
      let ends = try await Connected()
      kept.value = try await { () async throws -> Stream in try Stream.pair().0 }()
      let thread = try LoopThread(name: "dropper") { kept.value = nil }
      thread.join()
      try await loop.waitUntil { loop.listing.descriptors.count == 2 }
      ends.client.close()
      ends.server.close()
    }
  }

  @Test func closingWakesWhoWaits() throws {
    let loop = try Loop()
    try loop.run {
      let (one, other) = try Stream.pair()
      let reader = loop.spawn(name: "reader") { try await one.read() }
      let writer = loop.spawn(name: "writer") {
        try one.write(pattern(1_000_000))
        try await one.drain()
      }
      try await loop.waitUntil("reader", waitsFor: "read")
      try await loop.waitUntil("writer", waitsFor: "drain")
      one.close()
      await #expect(throws: StreamError.closed) { try await reader.value }
      await #expect(throws: StreamError.closed) { try await writer.value }
      await #expect(throws: StreamError.closed) { try await one.read() }
      await #expect(throws: StreamError.closed) { try await one.finishWriting() }
      await #expect(throws: StreamError.deadlinePassed) {
        try await one.waitClosed(until: loop.soon)
      }
      other.abort()
      try? await one.waitClosed()
      #expect(loop.listing.descriptors == [])
    }
  }

  @Test func severalMayWaitForTheEnd() throws {
    let loop = try Loop()
    try loop.run {
      let (one, _) = try Stream.pair()
      let waiters = (0..<3).map { number in
        loop.spawn(name: "waiter \(number)") { try await one.waitClosed() }
      }
      try await loop.waitUntil("waiter 2", waitsFor: "close")
      waiters[0].cancel()
      await #expect(throws: StreamError.cancelled) { try await waiters[0].value }
      one.close()
      try await waiters[1].value
      try await waiters[2].value
    }
  }

  @Test func theEndOfTheLoopClosesEverything() throws {
    let loop = try Loop()
    let kept = Shared<[Stream]>([])
    let isReset = Shared(false)
    let path = "/tmp/stream-end-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
    try loop.run {
      let listener = try StreamListener(at: .unix(path: path))
      #expect(access(path, F_OK) == 0)
      loop.spawn(name: "acceptor") {
        for try await stream in listener.connections { kept.value.append(stream) }
      }
      loop.spawn(name: "reader") {
        let stream = try await Stream.connect(to: listener.address)
        kept.value.append(stream)
        do throws(StreamError) {
          _ = try await stream.read()
        } catch {
          isReset.value = error == .cancelled
        }
      }
      try await loop.waitUntil("reader", waitsFor: "read")
    }
    #expect(isReset.value)
    #expect(kept.value.count == 2)
    // Closed, although somebody holds them.
    try loop.run { #expect(loop.listing.descriptors == []) }
    #expect(access(path, F_OK) == -1)
    kept.value = []
  }
}
