// SPDX-License-Identifier: Apache-2.0
// A TCP connection's end in the fake kernel: bounded queues, ends, resets and their order, as
// net/ipv4/tcp.c has them:
//   - Bytes go from the send queue to the peer's receive queue when the network carries them; until
//     then they are unacknowledged (SIOCOUTQ).
//   - After a reset what was received can still be read; then the error comes once, then the end. An
//     end that arrived before the reset wins over the error.
//   - The error is told once, to whoever asks first: a read, a write, or SO_ERROR.
//   - Closing with unread bytes, or receiving bytes after closing, sends a reset.
//   - Reading and splicing stop at urgent data. A read that finds the mark first steps over it; a splice
//     never does: it says that it would block, or that the stream has ended. Urgent bytes stay in their
//     place (SO_OOBINLINE), and are reported as such until they are read.
//   - Room is reported only to whoever has been refused, and when a third of the queue is free.

import CLinux
import Reactor
import SystemPackage

/// One end of a connection. Both the program under test and the test itself hold such ends.
final class FakeStream: FakeFile {
  enum State { case fresh, connecting, connected }

  let chaos: FakeChaos
  var state = State.fresh
  /// The other end. The kernel keeps all ends alive.
  weak var peer: FakeStream?
  var receiveCapacity: Int
  var sendCapacity: Int
  private(set) var receiveQueue: [UInt8] = []
  private(set) var sendQueue: [UInt8] = []
  /// How many bytes have ever arrived here.
  private(set) var arrivedBytes = 0
  private(set) var hasReceivedEnd = false
  /// Where urgent data lies, counted like `arrivedBytes`.
  private var urgentMark: Int?
  private(set) var isWriteShut = false
  private var isEndCarried = false
  /// No more input is taken, as with a unix socket: the peer's writes fail, what has arrived can be read.
  private(set) var isReadShut = false
  /// Whether its local and its remote address are the same, for tests to decide.
  var isConnectedToItself = false
  /// Reset, by either end, or failed to connect.
  private(set) var isDead = false
  private(set) var error: Errno?
  /// A reset of ours is under way to the peer.
  private var isResetUnderWay = false
  private var wantsRoom = false
  /// Whether the descriptor was closed by `reset`, for tests.
  private(set) var wasReset = false
  /// Whether the program under test has taken it from a listener, for tests.
  var wasAccepted = false
  /// Reads that found bytes, for tests.
  private(set) var readCount = 0

  init(chaos: FakeChaos, receiveCapacity: Int, sendCapacity: Int) {
    self.chaos = chaos
    self.receiveCapacity = receiveCapacity
    self.sendCapacity = sendCapacity
  }

  var room: Int { sendCapacity - sendQueue.count }
  private var isWritable: Bool { room > 0 && room * 3 >= sendCapacity }

  override func readiness() -> UInt32 {
    var bits: UInt32 = 0
    if error != nil { bits |= CLINUX_EPOLLERR }
    switch state {
    case .fresh: return bits | CLINUX_EPOLLHUP | CLINUX_EPOLLOUT
    case .connecting where !isDead: return bits
    case .connecting, .connected: break
    }
    if !receiveQueue.isEmpty { bits |= CLINUX_EPOLLIN }
    if urgentMark != nil { bits |= CLINUX_EPOLLPRI }
    if hasReceivedEnd || isReadShut || isDead { bits |= CLINUX_EPOLLIN | CLINUX_EPOLLRDHUP }
    if isDead || ((hasReceivedEnd || isReadShut) && isWriteShut) { bits |= CLINUX_EPOLLHUP }
    if isDead || isWriteShut || isWritable {
      bits |= CLINUX_EPOLLOUT
    } else {
      wantsRoom = true
    }
    return bits
  }

  // MARK: System calls

  private func takeErrorNow() -> Errno? {
    defer { error = nil }
    return error
  }

  func takeError() -> Errno? { takeErrorNow() }

  /// How many bytes lie before urgent data, `nil` if there is none.
  private var bytesBeforeMark: Int? { urgentMark.map { $0 - (arrivedBytes - receiveQueue.count) } }

  /// Bytes for a pipe. Never steps over the mark.
  func splice(bytesMax: Int, withChance: Bool) -> (Transfer, [UInt8]) {
    if bytesBeforeMark == 0 { return (hasReceivedEnd ? .endOfStream : .wouldBlock, []) }
    return receive(bytesMax: bytesMax, withChance: withChance)
  }

  /// `withChance`: whether this call may be short, or may come just before the bytes do.
  func receive(bytesMax: Int, withChance: Bool) -> (Transfer, [UInt8]) {
    guard state == .connected || isDead else { return (.failed(.socketNotConnected), []) }
    if receiveQueue.isEmpty {
      if hasReceivedEnd || isReadShut { return (.endOfStream, []) }
      if let error = takeErrorNow() { return (.failed(error), []) }
      return (isDead ? .endOfStream : .wouldBlock, [])
    }
    if bytesBeforeMark == 0 { urgentMark = nil }
    var count = min(bytesMax, bytesBeforeMark ?? receiveQueue.count)
    if withChance, chaos.happens(chaos.transferPerMille) {
      // As if the bytes, or some of them, arrived only after this call: an edge follows.
      changed()
      if !isDead, !hasReceivedEnd, chaos.below(3) == 0 { return (.wouldBlock, []) }
      count = chaos.within(1...count)
    }
    let bytes = Array(receiveQueue[..<count])
    receiveQueue.removeFirst(count)
    readCount += 1
    return (.moved(count), bytes)
  }

  func send(_ bytes: some Collection<UInt8>, withChance: Bool) -> Transfer {
    if let error = takeErrorNow() { return .failed(error) }
    if isDead || isWriteShut || state == .fresh { return .failed(.brokenPipe) }
    if let peer, peer.isReadShut { return .failed(.brokenPipe) }
    guard state == .connected, room > 0 else {
      wantsRoom = true
      return .wouldBlock
    }
    var count = min(room, bytes.count)
    if withChance, chaos.happens(chaos.transferPerMille) {
      changed()
      if chaos.below(3) == 0 { return .wouldBlock }
      count = chaos.within(1...count)
    }
    sendQueue.append(contentsOf: bytes.prefix(count))
    if count < bytes.count { wantsRoom = true }
    return .moved(count)
  }

  /// What `receive` would find. Like a read it takes the error.
  func peekEnd() -> PeekedEnd {
    guard state == .connected || isDead else { return .failed(.socketNotConnected) }
    if !receiveQueue.isEmpty { return .bytes }
    if hasReceivedEnd || isReadShut { return .endOfStream }
    if let error = takeErrorNow() { return .failed(error) }
    return isDead ? .endOfStream : .nothing
  }

  func shutdownRead() {
    guard !isDead, state == .connected else { return }
    isReadShut = true
    changed()
  }

  func shutdownWrite() {
    guard !isDead, state == .connected else { return }
    isWriteShut = true
  }

  /// After a failure it stays what it was, as SIOCOUTQ does.
  var unacknowledgedBytes: Int {
    unacknowledgedBytesAtDeath ?? sendQueue.count + (isWriteShut && !isEndCarried ? 1 : 0)
  }
  private var unacknowledgedBytesAtDeath: Int?

  override func close() {
    precondition(!isClosed, "a socket is closed twice")
    super.close()
    if receiveQueue.isEmpty {
      isWriteShut = true
    } else {
      die()
      isResetUnderWay = true
    }
  }

  func reset() {
    wasReset = true
    super.close()
    die()
    isResetUnderWay = true
  }

  private func die() {
    unacknowledgedBytesAtDeath = unacknowledgedBytes
    isDead = true
    sendQueue = []
    receiveQueue = isClosed ? [] : receiveQueue
  }

  // MARK: The network

  /// Ends an attempt to connect.
  func finishConnecting(with error: Errno?) {
    precondition(state == .connecting)
    if let error {
      self.error = error
      isDead = true
    } else {
      state = .connected
    }
    changed()
  }

  /// A reset, or an error that the network made up, arrives.
  func fail(with errno: Errno? = nil) {
    guard !isDead else { return }
    die()
    guard !isClosed else { return }
    error = errno ?? (hasReceivedEnd ? .brokenPipe : .connectionReset)
    changed()
  }

  private func arrive(_ bytes: ArraySlice<UInt8>) {
    if chaos.happens(chaos.urgentPerMille) { urgentMark = arrivedBytes + chaos.below(bytes.count) }
    receiveQueue.append(contentsOf: bytes)
    arrivedBytes += bytes.count
    changed()
  }

  private func arriveEnd() {
    hasReceivedEnd = true
    changed()
  }

  /// Carries up to `bytesMax` bytes and whatever follows them to the peer. Returns whether anything
  /// has happened.
  @discardableResult
  func carry(bytesMax: Int = .max) -> Bool {
    guard let peer, state == .connected else { return false }
    if isResetUnderWay {
      isResetUnderWay = false
      peer.fail()
      return true
    }
    guard !isDead else { return false }
    var hasCarried = false
    if !sendQueue.isEmpty {
      guard !peer.isClosed, !peer.isDead else {
        fail()
        return true
      }
      let count = min(bytesMax, sendQueue.count, peer.receiveCapacity - peer.receiveQueue.count)
      if count > 0 {
        let bytes = sendQueue[..<count]
        sendQueue.removeFirst(count)
        peer.arrive(bytes)
        hasCarried = true
        if wantsRoom, isWritable {
          wantsRoom = false
          changed()
        }
      }
    }
    if sendQueue.isEmpty, isWriteShut, !isEndCarried {
      isEndCarried = true
      hasCarried = true
      if !peer.isDead, !peer.isClosed { peer.arriveEnd() }
    }
    return hasCarried
  }
}
