// SPDX-License-Identifier: Apache-2.0
// The ring between two real threads: order, what is dropped is counted, and nobody sleeps through.

import Reactor
import Synchronization
import Testing

@testable import DataPlane

@Suite struct RecordRingTests {
  private final class Count: Sendable {
    let value = Atomic<Int>(0)
  }

  private func record(_ number: UInt64) -> SessionRecord {
    SessionRecord(
      moment: .end, at: Instant(nanoseconds: number), listener: ListenerIndex(0),
      route: RouteIndex(0), client: .unknown, endpoint: nil, uploadBytes: number,
      downloadBytes: 0, connectNanoseconds: nil, durationNanoseconds: 0, attempts: 0, end: nil)
  }

  @Test func aFullRingDropsTheNewestAndCountsThem() {
    let ring = RecordRing(capacity: 3) {}
    for number in 0..<5 { ring.write(record(UInt64(number))) }
    #expect((0..<4).map { _ in ring.read()?.uploadBytes } == [0, 1, 2, nil])
    #expect(ring.droppedCount == 2)
  }

  @Test func theReaderIsWokenOncePerSleep() {
    let rings = Count()
    let ring = RecordRing(capacity: 9) { rings.value.add(1, ordering: .relaxed) }
    ring.write(record(1))
    #expect(!ring.prepareToSleep())
    _ = ring.read()
    #expect(ring.prepareToSleep())
    ring.write(record(2))
    ring.write(record(3))
    #expect(rings.value.load(ordering: .relaxed) == 1)
  }

  @Test func twoThreadsKeepTheOrderAndLoseNothingUncounted() throws {
    let bell = Count()
    let ring = RecordRing(capacity: 64) { bell.value.add(1, ordering: .releasing) }
    let total = 50_000
    let writer = try LoopThread(name: "writer") { [self] in
      for number in 1...total { ring.write(record(UInt64(number))) }
    }
    var last: UInt64 = 0
    var seen = 0
    while seen + ring.droppedCount < total {
      let rings = bell.value.load(ordering: .acquiring)
      while let record = ring.read() {
        #expect(record.uploadBytes > last)
        last = record.uploadBytes
        seen += 1
      }
      if seen + ring.droppedCount < total, ring.prepareToSleep() {
        // Whoever sleeps here for ever has found a lost wake-up, unless all else was dropped.
        while bell.value.load(ordering: .acquiring) == rings, seen + ring.droppedCount < total {}
      }
    }
    writer.join()
    #expect(seen + ring.droppedCount == total)
  }
}
