// SPDX-License-Identifier: Apache-2.0
// A client or a server in a random schedule: what it has sent, what it has received, how it behaves,
// and how it saw its connection end. All parties send from one table of random bytes, each from a place
// of its own, so that what arrives is compared in place and nothing has to be kept.

import Balancing
import Reactor

@testable import DataPlane

/// One end of a connection with a behaviour of its own.
final class Party {
  /// What a party does once it has sent all it wanted to.
  enum Manners: CaseIterable {
    /// Finishes sending, reads to the end, closes.
    case halfCloses
    /// Waits for the other's end, then finishes and closes.
    case waitsForEnd
    /// Waits for the other's end, sends more, then finishes and closes.
    case sendsMore
    /// Closes at once, whatever may still come.
    case closes
    /// Resets at once.
    case resets
    /// Finishes sending, and resets some time after that.
    case resetsAfterEnd
  }

  /// How a party reads while a schedule comes to its end.
  enum Reading {
    /// Everything at once.
    case hurries
    /// So many bytes, then a pause; after sixty of these everything at once.
    case dawdles(bytes: Int, pauseNanoseconds: UInt64)
  }

  private static let sentBytesMax = 61_000
  private static let table: [UInt8] = {
    var random = SplitMix64(seed: 0x5EED)
    return (0..<65_536 + sentBytesMax).map { _ in
      UInt8(truncatingIfNeeded: random.next(below: 256))
    }
  }()

  let stream: FakeStream
  let manners: Manners
  /// Of a thousand chances to read, how many it takes.
  let readsPerMille: Int
  /// How it reads in the end, unless it hurries.
  let reading: Reading
  /// The party at the other end of the proxy, whose bytes it is to get.
  weak var partner: Party?
  private(set) var sentCount = 0
  private(set) var receivedCount = 0
  /// Whether a byte was not the partner's next.
  private(set) var hasReceivedOthers = false
  private var left: Int
  private var isHurrying = false
  private var nextReadAt: Instant
  private var slowReadsLeft = 60
  private let offset: Int
  private let chaos: FakeChaos
  /// Writing has failed.
  private var cannotWrite = false
  /// It has finished sending in order.
  private(set) var hasFinished = false
  private var hasSentMore = false
  /// It has closed its connection.
  private(set) var hasClosed = false
  /// It has reset its connection, on purpose or by closing on unread bytes.
  var hasFailed: Bool { stream.wasReset || hasClosedEarly }
  private var hasClosedEarly = false
  /// It has found the end of the stream, which was an orderly one.
  private(set) var sawEnd = false
  private(set) var sawFailure = false
  /// It has closed or reset its connection before it had found how the other's stream ends.
  var hasLeftFirst: Bool {
    hasLeft || (stream.isClosed && !hasClosed && !sawEnd && !sawFailure)
  }
  private var hasLeft = false

  init(_ stream: FakeStream, chaos: FakeChaos, isSlow: Bool = false, hasNewManners: Bool = false) {
    self.stream = stream
    self.chaos = chaos
    let dice = chaos.below(10)
    var manners: Manners =
      dice < 5 ? .halfCloses : dice < 7 ? .waitsForEnd : dice < 8 ? .closes : .resets
    if hasNewManners, chaos.below(3) == 0 {
      manners = [.sendsMore, .resetsAfterEnd][chaos.below(2)]
    }
    self.manners = manners
    left = chaos.below(3) == 0 ? 0 : chaos.below(chaos.below(4) == 0 ? 60_000 : 3000)
    readsPerMille = [1000, 700, 200, 0][chaos.below(4)]
    isEager = readsPerMille == 1000
    offset = chaos.below(65_536)
    nextReadAt = stream.world.clock.now
    guard isSlow, chaos.below(2) == 0 else {
      reading = .hurries
      return
    }
    // With pauses that are mostly shorter than any timeout.
    let pause = chaos.within(1...[20, 200, 900, 2500][chaos.below(4)])
    reading = .dawdles(
      bytes: chaos.within(1...[40, 400, 4000][chaos.below(3)]),
      pauseNanoseconds: UInt64(pause) * 1_000_000)
  }

  var isGone: Bool { stream.isClosed }
  /// Whether it has always read whatever there was.
  let isEager: Bool
  /// Whether it has nothing more to say.
  private var hasNothingToSay: Bool { left == 0 || cannotWrite }

  // MARK: At any time

  /// Does something, or nothing.
  func act() {
    guard !isGone else { return }
    if chaos.below(1000) < readsPerMille { read(max: chaos.within(1...4000)) }
    if !isGone, chaos.below(2) == 0 { write(max: chaos.within(1...2000)) }
  }

  /// Breaks the connection now.
  func fail() {
    guard !isGone else { return }
    leave()
    stream.reset()
  }

  /// Finishes now, without sending what it had wanted to.
  func finishEarly() {
    guard !isGone else { return }
    left = 0
    finish()
  }

  // MARK: In the end

  /// Writes all it can, and reads as it does in the end. Returns whether it has done anything.
  func comeToAnEnd() -> Bool {
    guard !isGone else { return false }
    let before = (sentCount, receivedCount, hasFinished)
    isHurrying = true
    switch reading {
    case .hurries: read(max: .max)
    case .dawdles where slowReadsLeft == 0: read(max: .max)
    case .dawdles(let bytes, let pause):
      if stream.world.clock.now >= nextReadAt {
        slowReadsLeft -= 1
        nextReadAt = stream.world.clock.now.advanced(by: pause)
        read(max: bytes)
      }
    }
    if !isGone { write(max: .max) }
    return isGone || before != (sentCount, receivedCount, hasFinished)
  }

  /// When it reads next, if it is not at any time.
  var nextActionAt: Instant? {
    guard !isGone, slowReadsLeft > 0, case .dawdles = reading else { return nil }
    return nextReadAt
  }

  /// Reads all that is left.
  func readRest() {
    read(max: .max)
  }

  // MARK: Reading and writing

  private func read(max: Int) {
    guard !isGone, !sawEnd, !sawFailure else { return }
    var budget = max
    while budget > 0 {
      let transfer = withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
        let transfer = stream.receive(
          into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(4096, budget)]),
          withChance: false)
        if case .moved(let count) = transfer { compare(buffer[..<count]) }
        return transfer
      }
      switch transfer {
      case .moved(let count): budget -= count
      case .wouldBlock: return
      case .endOfStream where stream.hasReceivedEnd:
        sawEnd = true
        return endIfDone()
      case .endOfStream, .failed:
        // After a failure that writing has found, reading finds the end.
        sawFailure = true
        stream.close()
        hasClosed = true
        return
      }
    }
  }

  private func compare(_ bytes: Slice<UnsafeMutableRawBufferPointer>) {
    defer { receivedCount += bytes.count }
    guard let partner, receivedCount + bytes.count <= partner.sentCount else {
      hasReceivedOthers = true
      return
    }
    let start = partner.offset + receivedCount
    if !bytes.elementsEqual(Party.table[start..<start + bytes.count]) { hasReceivedOthers = true }
  }

  private func write(max: Int) {
    guard !isGone else { return }
    if left > 0, !cannotWrite {
      let count = min(left, max, Swift.max(1, stream.room))
      let start = offset + sentCount
      let transfer = Party.table.withUnsafeBytes { bytes in
        stream.send(
          UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]), withChance: false)
      }
      switch transfer {
      case .moved(let count):
        sentCount += count
        left -= count
      // What came before the failure can still be read.
      case .failed: cannotWrite = true
      case .wouldBlock, .endOfStream: return
      }
    }
    endIfDone()
  }

  private func endIfDone() {
    guard hasNothingToSay, !isGone else { return }
    switch manners {
    case .halfCloses: finish()
    case .waitsForEnd: if sawEnd || isHurrying { finish() }
    case .sendsMore: sendMore()
    case .closes:
      if !stream.receiveQueue.isEmpty { hasClosedEarly = true }
      leave()
      stream.close()
      if !cannotWrite { hasFinished = true }
      hasClosed = true
      return
    case .resets: return fail()
    case .resetsAfterEnd:
      finish()
      if chaos.below(isHurrying ? 3 : 20) == 0 { return fail() }
    }
    if sawEnd, hasFinished || cannotWrite {
      stream.close()
      hasClosed = true
    }
  }

  private func sendMore() {
    if hasSentMore { return finish() }
    // In the end it waits no longer: both might.
    guard sawEnd || isHurrying else { return }
    hasSentMore = true
    left = min(chaos.within(1...3000), Party.sentBytesMax - sentCount)
  }

  private func finish() {
    guard !hasFinished, !cannotWrite else { return }
    stream.shutdownWrite()
    hasFinished = true
  }

  private func leave() {
    hasLeft = hasLeft || !(sawEnd || sawFailure)
  }

  /// Whether it did anything that ends a session otherwise than in order: a reset, or leaving before
  /// all was read, which turns into one.
  var mayHaveFailed: Bool { hasFailed || hasLeftFirst }
}
