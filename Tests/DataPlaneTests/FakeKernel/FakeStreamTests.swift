// SPDX-License-Identifier: Apache-2.0
// That the fake kernel's connections behave as those of Linux (6.18), as far as the contract of ends relies
// on it. What is said of errors, of ends and of SIOCOUTQ was tried with real sockets; windows, late
// acknowledgements and TCP_NOTSENT_LOWAT are as tcp(7) and the kernel's sources have them.

import CLinux
import Reactor
import Testing

@Suite struct FakeStreamTests {
  private let kernel = FakeKernel()

  /// Both ends of a connection.
  private func connect(
    isUnix: Bool = false, receiveCapacity: Int = 1000, sendCapacity: Int = 1000,
    pace: FakePace = .prompt
  ) -> (FakeStream, FakeStream) {
    kernel.makePace = { _ in pace }
    let (one, other) = (
      kernel.makeStream(
        isUnix: isUnix, receiveCapacity: receiveCapacity, sendCapacity: sendCapacity),
      kernel.makeStream(
        isUnix: isUnix, receiveCapacity: receiveCapacity, sendCapacity: sendCapacity)
    )
    (one.peer, other.peer) = (other, one)
    (one.state, other.state) = (.connected, .connected)
    return (one, other)
  }

  private func bytes(_ count: Int) -> [UInt8] { [UInt8](repeating: 1, count: count) }

  // MARK: TCP

  @Test func theEndCountsAsAByteUntilItIsAcknowledged() {
    let (one, _) = connect()
    one.write("hello")
    one.shutdownWrite()
    #expect(one.unacknowledgedBytes == 6)
    kernel.carryAll()
    #expect(one.unacknowledgedBytes == 0)
  }

  @Test func acknowledgementsMayComeLater() {
    let (one, other) = connect(pace: FakePace(acknowledgesLater: true))
    one.write("hello")
    one.carry()
    #expect(other.receiveQueue.count == 5)
    #expect(one.unacknowledgedBytes == 5)
    one.carry()
    #expect(one.unacknowledgedBytes == 0)
  }

  @Test func theSendQueueStaysWhatItWasWhenTheConnectionFails() {
    let (one, other) = connect(receiveCapacity: 100)
    _ = one.writeSome(bytes(400))
    kernel.carryAll()
    other.reset()
    kernel.carryAll()
    #expect(one.unacknowledgedBytes == 300)
    #expect(one.readEnd() == .failed(.connectionReset))
    #expect(one.readEnd() == .endOfStream)
    #expect(one.send(bytes(1), withChance: false) == .failed(.brokenPipe))
    #expect(one.unacknowledgedBytes == 300)
  }

  @Test func aResetAfterThePeersEndIsABrokenPipeUntilOursIsSent() {
    for isShut in [false, true] {
      let (one, other) = connect(receiveCapacity: 100)
      other.shutdownWrite()
      kernel.carryAll()
      _ = one.writeSome(bytes(400))
      if isShut { one.shutdownWrite() }
      kernel.carryAll()
      other.reset()
      kernel.carryAll()
      #expect(one.readEnd() == .endOfStream)
      #expect(one.takeError() == (isShut ? .connectionReset : .brokenPipe))
    }
  }

  @Test func whatIsQueuedIsReadBeforeTheErrorAndTheErrorOnce() {
    let (one, other) = connect()
    other.write("last words")
    kernel.carryAll()
    other.reset()
    kernel.carryAll()
    #expect(one.readText() == "last words")
    #expect(one.peekEnd() == .failed(.connectionReset))
    #expect(one.takeError() == nil)
    #expect(one.readEnd() == .endOfStream)
  }

  @Test func closingWithUnreadInputDropsTheSendQueue() {
    let (one, other) = connect(receiveCapacity: 100)
    _ = one.writeSome(bytes(400))
    other.write("unread")
    kernel.carryAll()
    one.close()
    kernel.carryAll()
    #expect(other.readBytes().count == 100)
    #expect(other.readEnd() == .failed(.connectionReset))
  }

  @Test func whatArrivesAfterClosingDropsTheSendQueue() {
    let (one, other) = connect(receiveCapacity: 100)
    _ = one.writeSome(bytes(400))
    kernel.carryAll()
    one.close()
    other.write("too late")
    kernel.carryAll()
    #expect(other.readBytes().count == 100)
    #expect(other.readEnd() == .failed(.connectionReset))
  }

  @Test func closingWithAllReadDeliversInTheBackground() {
    let (one, other) = connect(receiveCapacity: 100)
    _ = one.writeSome(bytes(400))
    one.close()
    var received = 0
    for _ in 0..<4 {
      kernel.carryAll()
      received += other.readBytes().count
    }
    kernel.carryAll()
    #expect(received == 400)
    #expect(other.readEnd() == .endOfStream)
  }

  @Test func unsentBytesAreBounded() {
    let (one, other) = connect(receiveCapacity: 100, sendCapacity: 10_000)
    (one as? FakeTCPStream)?.unsentBytesMax = 200
    #expect(one.writeSome(bytes(1000)) == 200)
    one.carry()
    #expect(one.readiness() & CLINUX_EPOLLOUT == 0)
    #expect(one.room == 100)
    _ = other.readBytes()
    one.carry()
    #expect(one.readiness() & CLINUX_EPOLLOUT != 0)
  }

  @Test func theWindowOpensInSteps() {
    let (one, other) = connect(receiveCapacity: 100, pace: FakePace(windowStepBytes: 50))
    _ = one.writeSome(bytes(400))
    kernel.carryAll()
    for read in [10, 10, 10, 10] {
      #expect(other.readBytes(max: read).count == read)
      #expect(!kernel.carryAll())
    }
    _ = other.readBytes(max: 10)
    #expect(kernel.carryAll())
    #expect(other.receiveQueue.count == 100)
  }

  // MARK: Unix sockets

  @Test func aUnixMessageTakesMemoryUntilAllOfItIsRead() {
    let (one, other) = connect(isUnix: true)
    one.write("hello")
    let memory = 5 + FakeUnixStream.messageOverheadBytes
    #expect(one.unacknowledgedBytes == memory)
    _ = other.readBytes(max: 2)
    #expect(one.unacknowledgedBytes == memory)
    _ = other.readBytes(max: 3)
    #expect(one.unacknowledgedBytes == 0)
  }

  @Test func aUnixPeerThatClosesWithUnreadInputIsFoundBehindWhatItSent() {
    let (one, other) = connect(isUnix: true)
    one.write("unread")
    other.write("data")
    other.close()
    #expect(one.send(bytes(1), withChance: false) == .failed(.brokenPipe))
    #expect(one.readText() == "data")
    #expect(one.readEnd() == .failed(.connectionReset))
    #expect(one.readEnd() == .endOfStream)
    #expect(one.unacknowledgedBytes == 0)
  }

  @Test func aUnixPeerThatTakesNoMoreInputBreaksThePipe() {
    let (one, other) = connect(isUnix: true)
    one.write("x")
    other.shutdownRead()
    #expect(one.send(bytes(1), withChance: false) == .failed(.brokenPipe))
    #expect(one.readEnd() == .wouldBlock)
    #expect(other.readText() == "x")
    #expect(other.readEnd() == .endOfStream)
  }
}
