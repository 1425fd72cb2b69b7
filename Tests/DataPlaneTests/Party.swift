// SPDX-License-Identifier: Apache-2.0
// A client or a server in a random schedule: what it has sent, what it has received, how it behaves,
// and how it saw its connection end.

import Reactor

@testable import DataPlane

/// One end of a connection with a will of its own.
final class Party {
  /// What a party does once it has sent all it wanted to.
  enum Manners: CaseIterable {
    /// Finishes sending, reads to the end, closes.
    case halfCloses
    /// Waits for the other's end, then finishes and closes.
    case waitsForEnd
    /// Closes at once, whatever may still come.
    case closes
    /// Resets at once.
    case resets
  }

  let stream: FakeStream
  let manners: Manners
  /// Of a thousand chances to read, how many it takes.
  var readsPerMille: Int
  private(set) var sent: [UInt8] = []
  private(set) var received: [UInt8] = []
  private var left: Int
  private var isHurrying = false
  private var pattern: UInt64
  private let chaos: FakeChaos
  /// It has finished sending in order.
  private(set) var hasFinished = false
  /// It has closed its connection in order, without losing anything.
  private(set) var hasClosed = false
  /// It has reset its connection, on purpose or by closing on unread bytes.
  var hasFailed: Bool { stream.wasReset || hasClosedEarly }
  private var hasClosedEarly = false
  private(set) var sawEnd = false
  private(set) var sawFailure = false

  init(_ stream: FakeStream, chaos: FakeChaos) {
    self.stream = stream
    self.chaos = chaos
    let dice = chaos.below(10)
    manners = dice < 5 ? .halfCloses : dice < 7 ? .waitsForEnd : dice < 8 ? .closes : .resets
    left = chaos.below(3) == 0 ? 0 : chaos.below(chaos.below(4) == 0 ? 60_000 : 3000)
    readsPerMille = [1000, 700, 200, 0][chaos.below(4)]
    isEager = readsPerMille == 1000
    pattern = UInt64(chaos.below(1 << 40))
  }

  var isGone: Bool { hasClosed || hasFailed }
  /// Whether it has always read whatever there was.
  let isEager: Bool

  private func nextBytes(_ count: Int) -> [UInt8] {
    var state = pattern
    return (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: state >> 33)
    }
  }

  /// Does something, or nothing.
  func act() {
    guard !isGone else { return }
    if chaos.below(1000) < readsPerMille { read(max: chaos.within(1...4000)) }
    if !isGone, chaos.below(2) == 0 { write(max: chaos.within(1...2000)) }
  }

  /// Does all it can: the way to an end.
  func hurry() {
    readsPerMille = 1000
    isHurrying = true
    read(max: .max)
    if !isGone { write(max: .max) }
  }

  func read(max: Int) {
    guard !isGone, !sawEnd, !sawFailure else { return }
    var budget = max
    while budget > 0 {
      let (transfer, bytes) = stream.receive(bytesMax: budget, withChance: false)
      switch transfer {
      case .moved(let count):
        received += bytes
        budget -= count
      case .wouldBlock: return
      case .endOfStream:
        sawEnd = true
        return endIfDone()
      case .failed:
        sawFailure = true
        // Nothing is left to be done with it.
        stream.close()
        hasClosed = true
        return
      }
    }
  }

  private func write(max: Int) {
    guard !isGone else { return }
    if left > 0 {
      let bytes = nextBytes(min(left, max, Swift.max(1, stream.room)))
      switch stream.send(bytes, withChance: false) {
      case .moved(let count):
        sent += bytes[..<count]
        left -= count
        for _ in 0..<count {
          pattern = pattern &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        }
      case .failed:
        sawFailure = true
        // What came before the failure can still be read.
        received += stream.readBytes()
        stream.close()
        hasClosed = true
        return
      case .wouldBlock, .endOfStream: return
      }
    }
    endIfDone()
  }

  private func endIfDone() {
    guard left == 0, !isGone else { return }
    switch manners {
    case .halfCloses: finish()
    case .waitsForEnd: if sawEnd || isHurrying { finish() }
    case .closes:
      if !stream.receiveQueue.isEmpty { hasClosedEarly = true }
      stream.close()
      hasFinished = true
      hasClosed = true
      return
    case .resets: return fail()
    }
    if hasFinished, sawEnd {
      stream.close()
      hasClosed = true
    }
  }

  private func finish() {
    guard !hasFinished else { return }
    stream.shutdownWrite()
    hasFinished = true
  }

  /// Breaks the connection now.
  func fail() {
    guard !isGone else { return }
    stream.reset()
  }

  /// Whether it did anything that ends a session otherwise than in order: a reset, or leaving before
  /// all was read, which turns into one.
  var mayHaveFailed: Bool { hasFailed || (manners == .closes && hasClosed && !sawEnd) }
}
