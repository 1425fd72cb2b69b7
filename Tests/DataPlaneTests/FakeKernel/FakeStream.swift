// SPDX-License-Identifier: Apache-2.0
// One end of a connection in the fake kernel, as far as TCP and unix sockets have it in common: bounded
// queues, what reading finds, chance. What differs is in FakeTCPStream.swift and FakeUnixStream.swift.
// Both the program under test and the tests themselves hold such ends.

import CLinux
import Reactor
import SystemPackage

/// What the streams of one fake kernel share.
final class FakeWorld {
  let chaos: FakeChaos
  let clock = FakeClock()
  /// The streams that the network may have something to carry for.
  var busy: [FakeStream] = []
  /// Called with all that happens to streams, for a person who wants to see it.
  var onEvent: ((FakeStream, String) -> Void)?

  init(chaos: FakeChaos) {
    self.chaos = chaos
  }
}

/// One end of a connection.
class FakeStream: FakeFile {
  enum State { case fresh, connecting, connected }

  let world: FakeWorld
  var state = State.fresh
  /// The other end; itself where a socket is connected to itself.
  var peer: FakeStream?
  var receiveCapacity: Int
  var sendCapacity: Int
  var receiveQueue = ByteQueue()
  /// How many bytes have ever arrived here, and how many were ever taken for sending.
  var arrivedBytes = 0
  var writtenBytes = 0
  /// Where urgent data lies, counted like `arrivedBytes`.
  var urgentMark: Int?
  var hasReceivedEnd = false
  var isWriteShut = false
  /// No more input is taken (SHUT_RD).
  var isReadShut = false
  /// Reset, by either end, or failed to connect.
  var isDead = false
  /// What SO_ERROR says.
  var error: Errno?
  /// Somebody was told that there is no room, and waits for it.
  var wantsRoom = false
  /// Whether the network knows that there may be something to carry.
  var isBusy = false

  // What tests want to know.

  /// Whether the descriptor was closed by `reset`.
  var wasReset = false
  /// Whether the program under test has taken it from a listener.
  var wasAccepted = false
  /// Reads that found bytes.
  private(set) var readCount = 0
  /// When bytes were last read or the end was found, when bytes were last written, and when something was
  /// last acknowledged.
  private(set) var lastReadAt: Instant
  private(set) var lastWrittenAt: Instant
  private(set) var lastAcknowledgedAt: Instant
  /// The end was found by reading before the connection failed.
  private(set) var hasReadEnd = false
  /// When bytes or the end last arrived.
  var lastArrivalAt: Instant
  /// The program under test was told that it is connected.
  var isKnownToBeConnected = false
  /// It was closed after its client had left in silence.
  var closedInSilence = false
  /// When the program under test closed it, and for how long its peer had been given nothing and had
  /// acknowledged nothing.
  var closedAt: Instant?
  var stillNanosecondsAtClose: UInt64 = 0
  var wasWritableAtClose = false
  /// The peer's end arrived before the descriptor was closed.
  var hasEndArrived = false
  /// The number of the conversation it belongs to in a schedule.
  var conversation: Int?
  /// The first error that the peer or the network caused.
  var failure: Errno?

  init(_ world: FakeWorld, receiveCapacity: Int, sendCapacity: Int) {
    self.world = world
    self.receiveCapacity = receiveCapacity
    self.sendCapacity = sendCapacity
    lastReadAt = world.clock.now
    lastWrittenAt = world.clock.now
    lastAcknowledgedAt = world.clock.now
    lastArrivalAt = world.clock.now
  }

  var chaos: FakeChaos { world.chaos }

  // MARK: What the kinds differ in

  /// Whether it is a unix socket.
  var isUnix: Bool { false }
  /// How many bytes may be sent now.
  var room: Int { fatalError("a kind decides") }
  /// Whether epoll reports room.
  var isWritable: Bool { fatalError("a kind decides") }
  /// How many of the written bytes have arrived and were acknowledged.
  var acknowledgedBytes: Int { fatalError("a kind decides") }
  /// Whether all bytes have arrived and the end has not: it waits until the peer has room.
  var isEndUnderWay: Bool { false }
  /// What SIOCOUTQ says.
  var unacknowledgedBytes: Int { fatalError("a kind decides") }
  /// What reading finds when no byte is left.
  func findEnd() -> Transfer { fatalError("a kind decides") }
  /// Why nothing can be sent, `nil` if something can, once there is room.
  func refusal() -> Errno? { fatalError("a kind decides") }
  /// Takes bytes for sending, which fit into `room`.
  func accept(_ bytes: UnsafeRawBufferPointer) { fatalError("a kind decides") }
  /// `count` bytes were read.
  func didRead(_ count: Int) { fatalError("a kind decides") }
  func shutdownWrite() { fatalError("a kind decides") }
  func shutdownRead() { fatalError("a kind decides") }
  /// Closes so that the peer sees a reset, if the kind has such.
  func reset() { fatalError("a kind decides") }
  /// An error of the network, or a reset of the peer, arrives.
  func fail(with errno: Errno? = nil) { fatalError("a kind decides") }

  /// Carries up to `bytesMax` bytes and what follows them to the peer. Returns whether anything has
  /// happened.
  @discardableResult
  func carry(bytesMax: Int = .max) -> Bool { false }

  // MARK: epoll

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
    let hasNoInput = hasReceivedEnd || isReadShut || isDead
    if hasNoInput { bits |= CLINUX_EPOLLIN | CLINUX_EPOLLRDHUP }
    if isDead || (hasNoInput && isWriteShut) { bits |= CLINUX_EPOLLHUP }
    if isDead || (isWriteShut && !isUnix) || isWritable {
      bits |= CLINUX_EPOLLOUT
    } else {
      wantsRoom = true
    }
    return bits
  }

  override func noteReported() {
    if state == .connected { isKnownToBeConnected = true }
  }

  /// Says what happens.
  @inline(__always)
  final func say(_ text: @autoclosure () -> String) {
    if let onEvent = world.onEvent { onEvent(self, text()) }
  }

  /// Tells the network that there may be something to carry.
  final func noteBusy() {
    guard !isBusy else { return }
    isBusy = true
    world.busy.append(self)
  }

  final func noteArrival() {
    lastArrivalAt = world.clock.now
  }

  final func noteEndArrival() {
    hasReceivedEnd = true
    noteArrival()
    if !isClosed { hasEndArrived = true }
  }

  final func noteAcknowledged() {
    lastAcknowledgedAt = world.clock.now
  }

  /// When bytes last moved through a call.
  final var lastMovedAt: Instant { max(lastReadAt, lastWrittenAt) }

  // MARK: System calls

  final func takeError() -> Errno? {
    if let error { say("error \(error) is taken") }
    defer { error = nil }
    return error
  }

  /// How many bytes lie before urgent data, `nil` if there is none.
  private var bytesBeforeMark: Int? { urgentMark.map { $0 - (arrivedBytes - receiveQueue.count) } }

  /// What the next read finds. Like a read it takes the error.
  final func peekEnd() -> PeekedEnd {
    guard state == .connected || isDead else { return .failed(.socketNotConnected) }
    guard receiveQueue.isEmpty else { return .bytes }
    switch findEnd() {
    case .moved, .wouldBlock: return .nothing
    case .endOfStream:
      noteEndRead()
      return .endOfStream
    case .failed(let errno): return .failed(errno)
    }
  }

  private func noteEndRead() {
    guard hasReceivedEnd, failure == nil, !hasReadEnd else { return }
    hasReadEnd = true
    lastReadAt = world.clock.now
  }

  /// Reads into a buffer. `withChance`: whether this call may be short, or may come just before the bytes
  /// do. `stopsAtMark`: whether urgent data stops it for good, as it stops splice(2).
  final func receive(
    into buffer: UnsafeMutableRawBufferPointer, withChance: Bool, stopsAtMark: Bool = false
  ) -> Transfer {
    if stopsAtMark, bytesBeforeMark == 0 { return hasReceivedEnd ? .endOfStream : .wouldBlock }
    guard state == .connected || isDead else { return .failed(.socketNotConnected) }
    guard !receiveQueue.isEmpty else {
      let end = findEnd()
      if end == .endOfStream { noteEndRead() }
      say("read finds \(end)")
      return end
    }
    if bytesBeforeMark == 0 { urgentMark = nil }
    var count = min(buffer.count, bytesBeforeMark ?? receiveQueue.count, receiveQueue.count)
    if withChance, chaos.happens(chaos.transferPerMille) {
      // As if the bytes, or some of them, arrived only after this call: an edge follows.
      changed()
      if !isDead, !hasReceivedEnd, chaos.below(3) == 0 { return .wouldBlock }
      count = chaos.within(1...count)
    }
    receiveQueue.take(count, into: buffer)
    readCount += 1
    say("read \(count)")
    lastReadAt = world.clock.now
    didRead(count)
    return .moved(count)
  }

  final func send(_ bytes: UnsafeRawBufferPointer, withChance: Bool) -> Transfer {
    if let errno = refusal() {
      say("write fails: \(errno)")
      return .failed(errno)
    }
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
    if count < bytes.count { wantsRoom = true }
    writtenBytes += count
    say("write \(count) of \(bytes.count)")
    lastWrittenAt = world.clock.now
    accept(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
    return .moved(count)
  }
}

// MARK: For tests

extension FakeStream {
  /// Reads up to `bytesMax` bytes.
  func receive(bytesMax: Int, withChance: Bool) -> (Transfer, [UInt8]) {
    var transfer = Transfer.wouldBlock
    let bytes = [UInt8](unsafeUninitializedCapacity: max(1, min(bytesMax, receiveQueue.count))) {
      buffer, count in
      transfer = receive(into: UnsafeMutableRawBufferPointer(buffer), withChance: withChance)
      if case .moved(let moved) = transfer { count = moved }
    }
    return (transfer, bytes)
  }

  /// Sends what fits.
  func send(_ bytes: [UInt8], withChance: Bool) -> Transfer {
    bytes.withUnsafeBytes { send($0, withChance: withChance) }
  }

  /// Whether the peer has ended its stream in a way that the program can tell from a failure: it has found
  /// the end, or the error says that the end had arrived (EPIPE, which a reset causes after the peer's end
  /// and before ours).
  var hasOrderlyEnd: Bool {
    hasEndArrived && (hasReadEnd || failure == nil || (!isUnix && failure == .brokenPipe))
  }
}
