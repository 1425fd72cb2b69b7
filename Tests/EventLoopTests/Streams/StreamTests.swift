// SPDX-License-Identifier: Apache-2.0
// Reading and writing: what each way of reading promises, backpressure, deadlines and cancellation.

import Addressing
import EventLoop
import Glibc
import Reactor
import Testing

@Suite struct StreamTests {
  // MARK: Reading

  @Test func whatIsThereIsReadAndNothingAtTheEnd() throws {
    try Loop().run {
      let ends = try await Connected()
      try ends.client.write([1, 2, 3])
      #expect(try await ends.server.read() == [1, 2, 3])
      try ends.client.write([4, 5, 6])
      #expect(try await ends.server.read(max: 2) == [4, 5])
      #expect(try await ends.server.read(max: 2) == [6])
      try await ends.client.finishWriting()
      #expect(try await ends.server.read() == [])
      #expect(try await ends.server.read() == [])
    }
  }

  @Test func aReadMayBeLargerThanWhatTheLoopKeepsForIt() throws {
    let bytes = pattern(200_000)
    try Loop().run {
      let ends = try await Connected()
      async let sent: Void = {
        try ends.client.write(bytes)
        try await ends.client.finishWriting()
      }()
      var received: [UInt8] = []
      while true {
        let piece = try await ends.server.read(max: 1 << 20)
        if piece.isEmpty { break }
        received += piece
      }
      try await sent
      #expect(received == bytes)
    }
  }

  @Test func aReadIntoABufferKeepsItsCount() throws {
    try Loop().run {
      let (one, other) = try Stream.pair()
      var buffer = [UInt8](repeating: 0, count: 4)
      try one.write([1, 2, 3, 4, 5, 6])
      #expect(try await other.read(into: &buffer) == 4)
      #expect(buffer == [1, 2, 3, 4])
      #expect(try await other.read(into: &buffer) == 2)
      #expect(buffer == [5, 6, 3, 4])
      // What an earlier way of reading has left over comes first.
      try one.write([7, 8, 9])
      #expect(try await other.read(exactly: 1) == [7])
      #expect(try await other.read(into: &buffer) == 2)
      #expect(buffer == [8, 9, 3, 4])
      one.close()
      #expect(try await other.read(into: &buffer) == 0)
    }
  }

  @Test func exactlyWaitsForAll() throws {
    try Loop().run {
      let (one, other) = try Stream.pair()
      async let first = other.read(exactly: 5)
      for byte in 0..<7 as Range<UInt8> {
        try one.write([byte])
        try await Loop.current?.yield()
      }
      #expect(try await first == [0, 1, 2, 3, 4])
      #expect(try await other.read(exactly: 0) == [])
      one.close()
      await #expect(throws: StreamError.endOfStream) { try await other.read(exactly: 3) }
      // What did arrive is not lost.
      #expect(try await other.read() == [5, 6])
    }
  }

  @Test func throughADelimiterThatComesInPieces() throws {
    try Loop().run {
      let (one, other) = try Stream.pair()
      let end = Array("\r\n".utf8)
      async let line = other.read(through: end, max: 100)
      for piece in ["ab\r", "c\r", "\nsecond\r\nth", "ird"] {
        try one.write(Array(piece.utf8))
        try await Loop.current?.sleep(for: .milliseconds(1))
      }
      #expect(try await line == Array("ab\rc\r\n".utf8))
      #expect(try await other.read(through: end, max: 8) == Array("second\r\n".utf8))
      one.close()
      await #expect(throws: StreamError.endOfStream) {
        try await other.read(through: end, max: 100)
      }
      #expect(try await other.readToEnd(max: 100) == Array("third".utf8))
    }
  }

  @Test func throughIsBounded() throws {
    try Loop().run {
      let (one, other) = try Stream.pair()
      try one.write(Array("12345\n".utf8))
      await #expect(throws: StreamError.tooLong) {
        try await other.read(through: [10], max: 5)
      }
      // Nothing is lost, and the bound counts the delimiter.
      #expect(try await other.read(through: [10], max: 6) == Array("12345\n".utf8))
      try one.write(Array("123456".utf8))
      await #expect(throws: StreamError.tooLong) {
        try await other.read(through: [10], max: 6)
      }
    }
  }

  @Test func toTheEndIsBounded() throws {
    try Loop().run {
      let bytes = pattern(100_000)
      var (one, other) = try Stream.pair()
      try one.write(bytes)
      one.close()
      #expect(try await other.readToEnd(max: 100_000) == bytes)
      (one, other) = try Stream.pair()
      try one.write(bytes)
      one.close()
      await #expect(throws: StreamError.tooLong) { try await other.readToEnd(max: 99_999) }
    }
  }

  @Test func aCancelledOrLateReadLosesNothing() throws {
    let loop = try Loop()
    try loop.run {
      let (one, other) = try Stream.pair()
      let reader = loop.spawn(name: "reader") { try await other.read(exactly: 4) }
      try one.write([1, 2])
      try await loop.waitUntil("reader", waitsFor: "read")
      reader.cancel()
      await #expect(throws: StreamError.cancelled) { try await reader.value }
      await #expect(throws: StreamError.deadlinePassed) {
        try await other.read(exactly: 4, until: loop.soon)
      }
      try one.write([3, 4])
      // What is there is read, whatever the deadline.
      try await loop.waitUntil { loop.listing.descriptors.count == 2 }
      #expect(try await other.read(exactly: 4, until: loop.soon) == [1, 2, 3, 4])
    }
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func tasksThatReadAndWriteAreCancelledAtRandom(seed: UInt64) throws {
    let loop = try Loop()
    let ends = Shared((done: 0, cancelled: 0))
    var numbers = Numbers(state: seed)
    let plan = (0..<100).map { _ in
      (
        bytes: Int.random(in: 1...1_000_000, using: &numbers),
        cancelAfter: Int.random(in: 0...60, using: &numbers)
      )
    }
    try loop.run {
      for (number, (bytes, cancelAfter)) in plan.enumerated() {
        let task = loop.spawn(name: "task \(number)") {
          let (one, other) = try Stream.pair()
          async let sent: Void = {
            try one.write(pattern(bytes))
            try await one.drain()
            one.close()
            try await one.waitClosed()
          }()
          do {
            let received = try await other.readToEnd(max: bytes)
            try await sent
            other.close()
            if received == pattern(bytes) { ends.value.done += 1 }
          } catch StreamError.cancelled {
            other.abort()
            ends.value.cancelled += 1
          }
        }
        loop.call(
          at: loop.now.advanced(by: UInt64(cancelAfter) * 1_000_000), name: "cancel"
        ) { task.cancel() }
      }
      try await loop.waitUntil { loop.listing.tasks == ["main"] }
      // What was closed and is not yet delivered is reset by those who do not read.
      try await loop.waitUntil { loop.listing.descriptors == [] }
    }
    #expect(ends.value.done + ends.value.cancelled == 100)
  }

  @Test func aReaderThatAlwaysFindsSomethingLetsOthersRun() throws {
    let loop = try Loop()
    let turns = Shared(0)
    try loop.run {
      let (one, other) = try Stream.pair()
      try one.write(pattern(10_000))
      let counter = loop.spawn(name: "counter") {
        while true {
          try await loop.yield()
          turns.value += 1
        }
      }
      for _ in 0..<10_000 { _ = try await other.read(max: 1) }
      counter.cancel()
      #expect(turns.value > 10)
    }
  }

  @Test func aWriterWhosePeerTakesEverythingLetsOthersRun() throws {
    let loop = try Loop()
    let turns = Shared(0)
    try loop.run {
      let (one, _) = try Stream.pair()
      let counter = loop.spawn(name: "counter") {
        while true {
          try await loop.yield()
          turns.value += 1
        }
      }
      for _ in 0..<1000 { try await one.drain() }
      counter.cancel()
      #expect(turns.value > 5)
    }
  }

  // MARK: Writing

  @Test func drainWaitsAboveTheHighWatermarkUntilTheLowOne() throws {
    let loop = try Loop()
    try loop.run {
      let (one, other) = try Stream.pair()
      one.watermarks = Watermarks(low: 1000, high: 100_000)
      let writer = loop.spawn(name: "writer") {
        var sent = 0
        while one.unsentBytes <= 100_000 {
          try await one.drain()
          try one.write(pattern(10_000))
          sent += 10_000
        }
        try await one.drain()
        #expect(one.unsentBytes <= 1000)
        one.close()
        return sent
      }
      try await loop.waitUntil("writer", waitsFor: "drain")
      #expect(loop.listing.descriptors.contains { $0.writer == "writer" })
      var received = 0
      while true {
        let piece = try await other.read()
        if piece.isEmpty { break }
        received += piece.count
      }
      #expect(try await writer.value == received)
    }
  }

  @Test func raisingTheWatermarksEndsAWait() throws {
    let loop = try Loop()
    try loop.run {
      let (one, other) = try Stream.pair()
      try one.write(pattern(1_000_000))
      await #expect(throws: StreamError.deadlinePassed) { try await one.drain(until: loop.soon) }
      let writer = loop.spawn(name: "writer") { try await one.drain() }
      try await loop.waitUntil("writer", waitsFor: "drain")
      one.watermarks = Watermarks(low: 4_000_000, high: 4_000_000)
      try await writer.value
      writer.cancel()
      other.abort()
    }
  }

  @Test func cancellationEndsADrainAndWhatWasWrittenIsStillSent() throws {
    let loop = try Loop()
    try loop.run {
      let (one, other) = try Stream.pair()
      let bytes = pattern(1_000_000)
      let writer = loop.spawn(name: "writer") {
        try one.write(bytes)
        try await one.drain()
      }
      try await loop.waitUntil("writer", waitsFor: "drain")
      writer.cancel()
      await #expect(throws: StreamError.cancelled) { try await writer.value }
      #expect(try await other.read(exactly: bytes.count) == bytes)
    }
  }

  @Test func theWriteHalfIsFinishedBehindWhatWasWritten() throws {
    let loop = try Loop()
    try loop.run {
      let (one, other) = try Stream.pair()
      let bytes = pattern(1_000_000)
      let writer = loop.spawn(name: "writer") {
        try one.write(bytes)
        try await one.finishWriting()
        #expect(throws: StreamError.closed) { try one.write([1]) }
        // The other direction goes on.
        return try await one.readToEnd(max: 100)
      }
      try await loop.waitUntil("writer", waitsFor: "finish writing")
      #expect(try await other.readToEnd(max: bytes.count) == bytes)
      try other.write([1, 2, 3])
      other.close()
      #expect(try await writer.value == [1, 2, 3])
    }
  }

  @Test func aWaitForTheFinishThatEndsEarlyFinishesLater() throws {
    let loop = try Loop()
    try loop.run {
      let (one, other) = try Stream.pair()
      let bytes = pattern(1_000_000)
      try one.write(bytes)
      await #expect(throws: StreamError.deadlinePassed) {
        try await one.finishWriting(until: loop.soon)
      }
      #expect(try await other.readToEnd(max: bytes.count) == bytes)
      try await one.finishWriting()
    }
  }

  // MARK: What is seen from outside

  @Test func addressesAreThoseOfTheSocket() throws {
    try Loop().run {
      let ends = try await Connected()
      #expect(ends.client.localAddress == ends.server.peerAddress)
      #expect(ends.server.localAddress == ends.client.peerAddress)
      ends.client.close()
      #expect(ends.client.localAddress == nil)
      let (one, _) = try Stream.pair()
      #expect(one.peerAddress == nil)
    }
  }

  @Test func theListingNamesDescriptorsAndWhoWaitsForThem() throws {
    let loop = try Loop()
    try loop.run {
      let ends = try await Connected()
      let reader = loop.spawn(name: "reader") { _ = try await ends.server.read() }
      try await loop.waitUntil("reader", waitsFor: "read")
      let peer = try #require(ends.server.peerAddress)
      let entry = try #require(
        loop.listing.descriptors.first { $0.what == "stream \(peer)" })
      #expect(entry.reader == "reader")
      #expect(entry.writer == nil)
      #expect(entry.number > 2)
      ends.client.close()
      try await reader.value
      ends.server.close()
      #expect(loop.listing.descriptors == [])
    }
  }

  @Test func usingItOnAnotherThreadTraps() async {
    await #expect(processExitsWith: .failure) {
      try Loop().run {
        let (one, _) = try Stream.pair()
        try LoopThread(name: "stranger") { try? one.write([1]) }.join()
      }
    }
  }

  @Test func aSecondReaderTraps() async {
    await #expect(processExitsWith: .failure) {
      let loop = try Loop()
      try loop.run {
        let (one, other) = try Stream.pair()
        async let first = one.read()
        async let second = one.read()
        _ = try await [first, second]
        other.close()
      }
    }
  }
}
