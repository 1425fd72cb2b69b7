// SPDX-License-Identifier: Apache-2.0
// A TCP connection's end in the fake kernel, as net/ipv4/tcp.c and tcp_input.c have it:
//   - Bytes go from the send queue to the peer's receive queue when the network carries them. They count
//     as unacknowledged (SIOCOUTQ) until the acknowledgement is back; the end of the stream counts as one
//     more byte. After a failure the number stays what it was.
//   - Reading finds what is queued, then 0 if the peer's end has arrived, then the error, then 0. Writing
//     finds the error, then EPIPE. The error is reported once: to a read, a write, or SO_ERROR.
//   - A reset in CLOSE_WAIT is EPIPE, in every other state ECONNRESET, also after our own end (LAST_ACK).
//     Where both ends were exchanged and acknowledged it is nothing.
//   - Closing with unread bytes sends a reset and drops the send queue. So does the arrival of bytes after
//     closing. Closing with everything read goes on delivering in the background.
//   - `reset` sends none in LAST_ACK and CLOSING, when all has been sent (tcp_disconnect).
//   - epoll looks again when our end is sent and when it is acknowledged (sk_state_change).
//   - Room is reported to a writer that has been refused, when a third of the queue is free and, where the
//     bytes that were not sent are bounded (TCP_NOTSENT_LOWAT), when less than half of these wait.
//   - Reading and splicing stop at urgent data. A read that finds the mark first steps over it; a splice
//     never does. Urgent bytes stay in their place (SO_OOBINLINE).

import Reactor
import SystemPackage

/// One end of a TCP connection.
final class FakeTCPStream: FakeStream {
  var pace: FakePace
  /// The bound on bytes that wait to be sent.
  var unsentBytesMax = Int.max
  /// What has not arrived at the peer.
  private var sendQueue = ByteQueue()
  private var acknowledged = 0
  private var isEndCarried = false
  private var isEndAcknowledged = false
  /// A reset of ours is under way to the peer.
  private var isResetUnderWay = false
  /// How many bytes the peer was allowed to send, all in all.
  private var windowEnd: Int

  init(_ world: FakeWorld, receiveCapacity: Int, sendCapacity: Int, pace: FakePace = .prompt) {
    self.pace = pace
    windowEnd = receiveCapacity
    super.init(world, receiveCapacity: receiveCapacity, sendCapacity: sendCapacity)
  }

  private var other: FakeTCPStream? { peer.map { unsafeDowncast($0, to: FakeTCPStream.self) } }

  override var acknowledgedBytes: Int { acknowledged }
  override var isEndUnderWay: Bool { isWriteShut && !isDead && !isEndCarried && sendQueue.isEmpty }

  override var unacknowledgedBytes: Int {
    state == .connected
      ? writtenBytes - acknowledged + (isWriteShut && !isEndAcknowledged ? 1 : 0) : 0
  }

  override var room: Int {
    max(0, min(sendCapacity - (writtenBytes - acknowledged), unsentBytesMax - sendQueue.count))
  }

  override var isWritable: Bool {
    let free = sendCapacity - (writtenBytes - acknowledged)
    return room > 0 && free * 3 >= sendCapacity
      && sendQueue.count < unsentBytesMax - sendQueue.count
  }

  /// Both ends were exchanged and acknowledged (TIME_WAIT and CLOSE).
  private var isOver: Bool { hasReceivedEnd && isWriteShut && isEndAcknowledged }

  // MARK: System calls

  override func findEnd() -> Transfer {
    if hasReceivedEnd { return .endOfStream }
    if let errno = takeError() { return .failed(errno) }
    return isDead || isReadShut ? .endOfStream : .wouldBlock
  }

  override func refusal() -> Errno? {
    if let errno = takeError() { return errno }
    return isDead || isWriteShut || state == .fresh ? .brokenPipe : nil
  }

  override func accept(_ bytes: UnsafeRawBufferPointer) {
    sendQueue.append(bytes)
    noteBusy()
  }

  /// Opens the window, in steps.
  override func didRead(_ count: Int) {
    let end = arrivedBytes - receiveQueue.count + receiveCapacity
    guard end - windowEnd >= pace.windowStepBytes || receiveQueue.isEmpty else { return }
    windowEnd = end
    peer?.noteBusy()
  }

  override func shutdownWrite() {
    guard !isDead, state == .connected, !isWriteShut else { return }
    isWriteShut = true
    say("shut")
    noteBusy()
    changed()
  }

  override func shutdownRead() {
    guard !isDead, state == .connected else { return }
    isReadShut = true
    changed()
  }

  override func close() {
    precondition(!isClosed, "a socket is closed twice")
    super.close()
    say("close with \(receiveQueue.count) unread")
    guard !isOver else { return receiveQueue.removeAll() }
    guard !isDead, state == .connected else { return die() }
    if receiveQueue.isEmpty {
      isWriteShut = true
      noteBusy()
      peer?.noteBusy()
    } else {
      die()
      isResetUnderWay = true
      noteBusy()
    }
  }

  override func reset() {
    precondition(!isClosed, "a socket is closed twice")
    wasReset = true
    super.close()
    say("reset")
    guard !isOver else { return receiveQueue.removeAll() }
    let hasSentAll = sendQueue.isEmpty && isEndCarried
    let isQuiet = receiveQueue.isEmpty && hasReceivedEnd && hasSentAll
    let sendsReset = !isDead && state == .connected && !isQuiet
    die()
    isResetUnderWay = sendsReset
    if sendsReset { noteBusy() }
  }

  private func die() {
    isDead = true
    sendQueue.removeAll()
    if isClosed { receiveQueue.removeAll() }
    // What the peer still sends is answered by a reset.
    peer?.noteBusy()
  }

  // MARK: The network

  /// Ends an attempt to connect.
  func finishConnecting(with errno: Errno) {
    precondition(state == .connecting)
    error = errno
    failure = errno
    isDead = true
    changed()
  }

  override func fail(with errno: Errno? = nil) {
    guard !isDead, !isOver else { return }
    let cause = errno ?? (hasReceivedEnd && !isWriteShut ? .brokenPipe : .connectionReset)
    die()
    say("a reset arrives, \(cause)\(isClosed ? " after close" : "")")
    guard !isClosed else { return }
    failure = cause
    error = cause
    changed()
  }

  /// Both ends of the connection are reset.
  func abort() {
    peer?.fail()
    fail()
  }

  /// How many bytes the peer may send.
  private var window: Int { max(0, windowEnd - arrivedBytes) }
  /// Whether bytes that arrive are taken. Otherwise they are answered by a reset.
  private var takesBytes: Bool {
    !isDead && !isClosed && !hasReceivedEnd && !(isReadShut && isWriteShut)
  }

  private func arrive(_ count: Int, from queue: inout ByteQueue) {
    if chaos.happens(chaos.urgentPerMille) { urgentMark = arrivedBytes + chaos.below(count) }
    queue.take(count, into: &receiveQueue)
    arrivedBytes += count
    say("\(count) bytes arrive")
    noteArrival()
    changed()
  }

  private func arriveEnd() {
    say("the end arrives")
    noteEndArrival()
    changed()
  }

  override func carry(bytesMax: Int = .max) -> Bool {
    guard let other, state == .connected else { return false }
    if isResetUnderWay {
      isResetUnderWay = false
      other.fail()
      return true
    }
    guard !isDead else { return false }
    var hasCarried = acknowledge()
    if !sendQueue.isEmpty {
      guard other.takesBytes else {
        other.fail()
        fail()
        return true
      }
      let count = min(bytesMax, sendQueue.count, other.window)
      if count > 0 {
        other.arrive(count, from: &sendQueue)
        hasCarried = true
      }
    }
    if sendQueue.isEmpty, isWriteShut, !isEndCarried, !other.pace.endNeedsRoom || other.window > 0 {
      guard !other.isDead else {
        fail()
        return true
      }
      isEndCarried = true
      hasCarried = true
      other.arriveEnd()
    }
    if hasCarried, !pace.acknowledgesLater { _ = acknowledge() }
    return hasCarried
  }

  /// What has arrived is acknowledged. Returns whether there was anything.
  private func acknowledge() -> Bool {
    let carried = writtenBytes - sendQueue.count
    let isEndNew = isEndCarried && !isEndAcknowledged
    guard carried > acknowledged || isEndNew else { return false }
    acknowledged = carried
    say("\(acknowledged) of \(writtenBytes)\(isEndNew ? " and the end" : "") acknowledged")
    noteAcknowledged()
    if isEndNew {
      isEndAcknowledged = true
      changed()
    } else if wantsRoom, isWritable {
      wantsRoom = false
      changed()
    }
    return true
  }
}
