// SPDX-License-Identifier: Apache-2.0
// A unix stream socket in the fake kernel, as net/unix/af_unix.c has it:
//   - A write goes straight into the peer's receive queue, as one message or several. What it takes there
//     is memory of the sender, bounded by the sender's buffer, and freed message by message once all of a
//     message was read. SIOCOUTQ says how much memory that is.
//   - There is no reset. Closing ends both directions for the peer: it reads what is queued, then
//     ECONNRESET once if input was left unread here, then 0. Its writes fail with EPIPE, and so do those
//     to a peer that takes no more input (SHUT_RD).
//   - Room is reported when no more than a quarter of the buffer is in use, whenever memory is freed.

import Reactor
import SystemPackage

/// One end of a unix connection.
final class FakeUnixStream: FakeStream {
  /// What a message takes beside its bytes. Linux takes some hundred; buffers are smaller here.
  static let messageOverheadBytes = 16

  private struct Message {
    var bytes: Int
    let memoryBytes: Int
  }

  /// The messages of `receiveQueue`, oldest first.
  private var messages: [Message] = []
  private var firstMessage = 0
  /// The memory of the messages that the peer has not read.
  private var memoryBytes = 0
  private var other: FakeUnixStream? { peer.map { unsafeDowncast($0, to: FakeUnixStream.self) } }

  override var isUnix: Bool { true }
  override var acknowledgedBytes: Int { writtenBytes }
  override var unacknowledgedBytes: Int { memoryBytes }
  override var isWritable: Bool { memoryBytes * 4 <= sendCapacity }

  /// Memory is asked for as long as less than all of it is in use; the last message may take more.
  override var room: Int {
    guard memoryBytes < sendCapacity else { return 0 }
    let messageBytes = messageBytesMax
    let memoryPerMessage = messageBytes + FakeUnixStream.messageOverheadBytes
    let count = (sendCapacity - memoryBytes + memoryPerMessage - 1) / memoryPerMessage
    return count * messageBytes
  }

  private var messageBytesMax: Int {
    max(FakeUnixStream.messageOverheadBytes, sendCapacity / 2 - FakeUnixStream.messageOverheadBytes)
  }

  // MARK: System calls

  override func findEnd() -> Transfer {
    if let errno = takeError() { return .failed(errno) }
    return hasReceivedEnd || isReadShut || isDead ? .endOfStream : .wouldBlock
  }

  override func refusal() -> Errno? {
    guard state == .connected else { return .socketNotConnected }
    guard !isWriteShut, let other, !other.isClosed, !other.isReadShut else { return .brokenPipe }
    return nil
  }

  override func accept(_ bytes: UnsafeRawBufferPointer) {
    guard let other else { return }
    var left = bytes.count
    while left > 0 {
      let count = min(left, messageBytesMax)
      let message = Message(
        bytes: count, memoryBytes: count + FakeUnixStream.messageOverheadBytes)
      memoryBytes += message.memoryBytes
      other.messages.append(message)
      left -= count
    }
    other.receiveQueue.append(bytes)
    other.arrivedBytes += bytes.count
    other.noteArrival()
    other.changed()
  }

  override func didRead(_ count: Int) {
    var left = count
    while left > 0 {
      let bytes = min(left, messages[firstMessage].bytes)
      left -= bytes
      messages[firstMessage].bytes -= bytes
      guard messages[firstMessage].bytes == 0 else { break }
      other?.free(messages[firstMessage].memoryBytes)
      firstMessage += 1
    }
    guard firstMessage == messages.count || firstMessage > 64 else { return }
    messages.removeFirst(firstMessage)
    firstMessage = 0
  }

  private func free(_ bytes: Int) {
    memoryBytes -= bytes
    noteAcknowledged()
    if !isClosed, isWritable { changed() }
  }

  override func shutdownWrite() {
    guard !isDead, state == .connected else { return }
    isWriteShut = true
    say("shut")
    changed()
    other?.noteEndArrival()
    other?.changed()
  }

  override func shutdownRead() {
    guard !isDead, state == .connected else { return }
    isReadShut = true
    say("shut for reading")
    changed()
    other?.isWriteShut = true
    other?.changed()
  }

  override func close() {
    precondition(!isClosed, "a socket is closed twice")
    super.close()
    say("close with \(receiveQueue.count) unread")
    isDead = true
    guard state == .connected, let other, !other.isClosed else { return }
    other.noteEndArrival()
    other.isWriteShut = true
    if !receiveQueue.isEmpty {
      for message in messages[firstMessage...] { other.free(message.memoryBytes) }
      receiveQueue.removeAll()
      other.error = .connectionReset
      other.failure = .connectionReset
    }
    other.changed()
  }

  override func reset() {
    wasReset = true
    close()
  }

  override func fail(with errno: Errno? = nil) {
    fatalError("the network does not break unix sockets")
  }
}
