// SPDX-License-Identifier: Apache-2.0
// A connected socket on a loop: what it keeps between the calls of its stream, and what happens to it
// when no task looks. Sending what is buffered, the end of the write half behind it, and the close
// behind that are done by the loop, so they outlive the tasks and the stream itself.
//
//     open ──close()──▶ sending what is buffered ──▶ throwing away what still arrives ──▶ closed
//       │                       └──── linger over, or failed: reset ──┴────────────────────▲
//       └── abort(), or dropped: reset ────────────────────────────────────────────────────┘
//
// A socket that is closed while bytes lie unread answers with a reset, which may destroy at the
// peer what was sent to it. The same happens when bytes arrive after the close. So where something was not
// read, or the closer says that more is under way, the write half is closed first, and what arrives until
// the peer has finished is thrown away, up to a bound. Not always: a peer that keeps its half open would
// hold every descriptor for as long as the linger.

import Addressing
import Glibc
import Reactor

/// A stream's socket. Loop's thread.
final class StreamSocket: Watch, @unchecked Sendable {
  // SAFETY: as its base class.

  /// How much is thrown away of what arrives after `close`.
  private static let discardedBytesMax = 1 << 20

  let peerAddress: SocketAddress?
  /// A unix socket: a short read may only have met a change of credentials.
  private let readsInPieces: Bool

  /// What was received and not asked for yet.
  private var input = ByteQueue()
  /// What the kernel did not take yet.
  private var output = ByteQueue()
  var watermarks = Watermarks()
  var linger = Duration.seconds(5)

  /// The peer has finished, and everything before was received.
  private var hasEnded = false
  /// What reading came to; it is not asked again, for the kernel tells an error once.
  private var readFailure: Errno?
  /// The same for writing.
  private var writeFailure: Errno?
  /// More was buffered than the high watermark, and the low one was not reached since.
  private var isPaused = false
  /// The write half is to be closed behind what is buffered.
  private var isFinishing = false
  private(set) var isClosing = false
  /// Whoever closes knows that the peer is still sending.
  private var expectsMore = false
  private var isConnecting = false
  private var discardedBytes = 0
  private var lingerEnd: ScheduledCall?
  private var closeFailure: StreamError?
  private var closeWaits: [WaitID] = []

  override var what: String {
    let peer = peerAddress.map { "stream \($0)" } ?? "stream"
    return isClosing ? peer + ", closing" : peer
  }

  /// Takes over a socket. When that fails, it is closed.
  init(
    owning descriptor: consuming Descriptor, peer: SocketAddress?, isIP: Bool,
    isConnecting: Bool = false, on loop: Loop
  ) throws(Errno) {
    peerAddress = peer
    readsInPieces = !isIP
    self.isConnecting = isConnecting
    try super.init(watching: descriptor.rawValue, on: loop)
    _ = descriptor.release()
    isWritable = !isConnecting
  }

  private var engine: LoopEngine { loop.engine }

  var unsentBytes: Int { output.count }

  // MARK: Connecting

  /// Waits until the kernel has connected. Closes the socket when it throws.
  func waitConnected(until deadline: Instant) async throws(StreamError) {
    do throws(StreamError) {
      while !isWritable {
        try StreamSocket.check(await waitWritable("connect", until: deadline))
        guard isOpen else { throw .closed }
      }
      if let errno = engine.kernel.takeError(descriptor) {
        throw .failed(action: "connecting", errno)
      }
    } catch {
      close()
      throw error
    }
    isConnecting = false
  }

  /// Closes a socket that is connected to itself, and says that nobody listens there, which is so.
  func refuseOwnPeer() throws(StreamError) {
    guard engine.kernel.isConnectedToItself(descriptor) else { return }
    // By a reset: an orderly end would keep the port in TIME_WAIT, where its server is to listen.
    close(byReset: true)
    throw .failed(action: "connecting", .connectionRefused)
  }

  static func check(_ wake: Wake) throws(StreamError) {
    switch wake {
    case .ready: break
    case .cancelled: throw .cancelled
    case .deadlinePassed: throw .deadlinePassed
    }
  }

  // MARK: Reading

  /// What can be read without waiting, empty at the end of the stream; `nil` if nothing can.
  func readNow(max: Int) throws(StreamError) -> [UInt8]? {
    if !input.isEmpty { return input.take(min(max, input.count)) }
    guard try mayReceive() else { return hasEnded ? [] : nil }
    let scratch = engine.scratch
    guard max > scratch.count else {
      let room = UnsafeMutableRawBufferPointer(rebasing: scratch[..<max])
      guard let count = try receive(into: room) else { return hasEnded ? [] : nil }
      return Array(UnsafeRawBufferPointer(rebasing: room[..<count]))
    }
    var received: Int?
    var failure: StreamError?
    let bytes = [UInt8](unsafeUninitializedCapacity: max) { room, count in
      do throws(StreamError) {
        received = try receive(into: UnsafeMutableRawBufferPointer(room))
      } catch {
        failure = error
      }
      count = received ?? 0
    }
    if let failure { throw failure }
    return received != nil || hasEnded ? bytes : nil
  }

  /// Reads into a caller's memory what can be read without waiting; 0: the end; `nil`: nothing can.
  func readNow(into room: UnsafeMutableRawBufferPointer) throws(StreamError) -> Int? {
    if !input.isEmpty {
      let count = min(room.count, input.count)
      input.withBytes { room.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
      input.drop(count)
      return count
    }
    guard try mayReceive() else { return hasEnded ? 0 : nil }
    return try receive(into: room) ?? (hasEnded ? 0 : nil)
  }

  func read(exactly count: Int, until deadline: Instant) async throws(StreamError) -> [UInt8] {
    while input.count < count {
      guard try await fill(until: deadline) else { throw .endOfStream }
    }
    return input.take(count)
  }

  func read(
    through delimiter: [UInt8], max: Int, until deadline: Instant
  ) async throws(StreamError) -> [UInt8] {
    var offset = 0
    while true {
      if let count = input.count(through: delimiter, from: offset) {
        guard count <= max else { throw .tooLong }
        return input.take(count)
      }
      // What was searched is not searched again, but for a delimiter that has only begun.
      offset = Swift.max(0, input.count - delimiter.count + 1)
      guard input.count < max else { throw .tooLong }
      guard try await fill(until: deadline) else { throw .endOfStream }
    }
  }

  func readToEnd(max: Int, until deadline: Instant) async throws(StreamError) -> [UInt8] {
    repeat {
      guard input.count <= max else { throw .tooLong }
    } while try await fill(until: deadline)
    return input.take(input.count)
  }

  /// Waits for more input and keeps it. Returns false at the end of the stream.
  private func fill(until deadline: Instant) async throws(StreamError) -> Bool {
    while true {
      if try mayReceive(), let count = try receive(into: engine.scratch) {
        input.append(UnsafeRawBufferPointer(rebasing: engine.scratch[..<count]))
        return true
      }
      if hasEnded { return false }
      try await waitForInput(until: deadline)
    }
  }

  /// Whether it is worth asking the kernel, and this task's turn.
  private func mayReceive() throws(StreamError) -> Bool {
    guard isOpen, !isClosing else { throw .closed }
    if let readFailure { throw .failed(action: "reading", readFailure) }
    return isReadable && !hasEnded && engine.spend()
  }

  /// Receives once; `nil` when nothing is there, or the end.
  private func receive(into room: UnsafeMutableRawBufferPointer) throws(StreamError) -> Int? {
    switch engine.kernel.receive(descriptor, into: room) {
    case .moved(let count):
      // A short read has emptied the socket, unless an end waits behind it.
      if count < room.count, !isHungUp, !readsInPieces, !hasUrgentData { isReadable = false }
      return count
    case .wouldBlock:
      isReadable = false
      return nil
    case .endOfStream:
      // Writing may have been told of a reset; then this is no orderly end. After EPIPE it is: the peer
      // had finished before.
      if let writeFailure, writeFailure != .brokenPipe {
        readFailure = writeFailure
        throw .failed(action: "reading", writeFailure)
      }
      hasEnded = true
      return nil
    case .failed(let errno):
      readFailure = errno
      throw .failed(action: "reading", errno)
    }
  }

  func waitForInput(until deadline: Instant) async throws(StreamError) {
    // Where there is something to read, this task has read so often that others come first.
    let wake =
      isReadable ? await waitForTurn() : await waitReadable("read", until: deadline)
    guard isOpen, !isClosing else { throw .closed }
    try StreamSocket.check(wake)
  }

  // MARK: Writing

  func write(_ bytes: UnsafeRawBufferPointer) throws(StreamError) {
    guard isOpen, !isClosing, !isFinishing else { throw .closed }
    if let writeFailure { throw .failed(action: "writing", writeFailure) }
    guard !bytes.isEmpty else { return }
    var rest = bytes
    if output.isEmpty, isWritable {
      switch engine.kernel.send(descriptor, bytes) {
      case .moved(let count):
        guard count < bytes.count else { return }
        rest = UnsafeRawBufferPointer(rebasing: bytes[count...])
      case .wouldBlock, .endOfStream: break
      case .failed(let errno):
        writeFailure = errno
        throw .failed(action: "writing", errno)
      }
      isWritable = false
    }
    output.append(rest)
    if output.count > watermarks.high { isPaused = true }
  }

  func drain(until deadline: Instant) async throws(StreamError) {
    while true {
      guard isOpen, !isClosing else { throw .closed }
      if let writeFailure { throw .failed(action: "writing", writeFailure) }
      if isPaused {
        try StreamSocket.check(await waitWritable("drain", until: deadline))
      } else {
        // Where the peer takes everything at once, others must run all the same.
        if !engine.spend() { try StreamSocket.check(await waitForTurn()) }
        return
      }
    }
  }

  func finishWriting(until deadline: Instant) async throws(StreamError) {
    guard isOpen, !isClosing else { throw .closed }
    if !isFinishing {
      isFinishing = true
      if output.isEmpty, writeFailure == nil { engine.kernel.shutdownWrite(descriptor) }
    }
    while true {
      if let writeFailure { throw .failed(action: "writing", writeFailure) }
      if output.isEmpty { return }
      try StreamSocket.check(await waitWritable("finish writing", until: deadline))
      guard isOpen, !isClosing else { throw .closed }
    }
  }

  override func becameWritable() {
    guard !isConnecting else { return wakeWriter() }
    guard !output.isEmpty else { return }
    switch output.withBytes({ engine.kernel.send(descriptor, $0) }) {
    case .moved(let count):
      if count < output.count { isWritable = false }
      output.drop(count)
    case .wouldBlock, .endOfStream: isWritable = false
    case .failed(let errno):
      writeFailure = errno
      output.removeAll()
    }
    if output.count <= watermarks.low { isPaused = false }
    if output.isEmpty { outputWasSent() } else if !isPaused { wakeWriter() }
  }

  private func outputWasSent() {
    if isClosing { return finishClosing() }
    if isFinishing, writeFailure == nil { engine.kernel.shutdownWrite(descriptor) }
    wakeWriter()
  }

  /// The watermarks were changed.
  func reviewPause() {
    if output.count > watermarks.high {
      isPaused = true
    } else if output.count <= watermarks.low {
      isPaused = false
      wakeWriter()
    }
  }

  // MARK: The end

  /// Closes behind what is buffered; bounded by `linger`.
  func closeGently(expectingMore: Bool) {
    guard isOpen, !isClosing else { return }
    isClosing = true
    // What a unix socket has delivered is not destroyed by what its peer sends later.
    expectsMore = expectingMore && !readsInPieces
    wakeReader()
    wakeWriter()
    input.removeAll()
    guard output.isEmpty else { return startLinger() }
    finishClosing()
  }

  private func startLinger() {
    let end = engine.kernel.now().advanced(by: linger.wholeNanoseconds)
    lingerEnd = loop.call(at: end, name: "end of linger") { [self] in
      // Where all was sent, a reset would only endanger it.
      guard !output.isEmpty else { return close() }
      closeFailure = .failed(action: "closing", .timedOut)
      close(byReset: true)
    }
    engine.lingering += 1
  }

  /// Everything was sent: closes, unless something lies unread or will come.
  private func finishClosing() {
    if let writeFailure { closeFailure = .failed(action: "writing", writeFailure) }
    guard writeFailure == nil, readFailure == nil, !hasEnded else { return close() }
    guard expectsMore || engine.kernel.receiveQueueBytes(descriptor) > 0 else { return close() }
    engine.kernel.shutdownWrite(descriptor)
    if lingerEnd == nil { startLinger() }
    discard()
  }

  override func becameReadable() {
    // Behind what is still to be sent, what arrives is of no interest yet.
    if isClosing, output.isEmpty { discard() } else { wakeReader() }
  }

  private func discard() {
    while isOpen {
      switch engine.kernel.receive(descriptor, into: engine.scratch) {
      case .moved(let count):
        discardedBytes += count
        if discardedBytes > StreamSocket.discardedBytesMax { close(byReset: true) }
      case .wouldBlock: return
      case .endOfStream, .failed: close()
      }
    }
  }

  override func close(byReset isReset: Bool = false) {
    guard isOpen else { return }
    if let lingerEnd {
      lingerEnd.cancel()
      self.lingerEnd = nil
      engine.lingering -= 1
    }
    isClosing = true
    input.removeAll()
    output.removeAll()
    super.close(byReset: isReset)
    for wait in closeWaits { engine.wake(wait, .ready) }
    closeWaits = []
  }

  func waitClosed(until deadline: Instant) async throws(StreamError) {
    while isOpen {
      var wait: WaitID?
      let wake = await loop.park("close", until: deadline) { id in
        wait = id
        closeWaits.append(id)
      }
      if wake != .ready { closeWaits.removeAll { $0 == wait } }
      try StreamSocket.check(wake)
    }
    if let closeFailure { throw closeFailure }
  }

  /// The stream is gone. What was not closed in good order must not look as if it were.
  override func wasDropped() {
    if !isClosing { close(byReset: true) }
  }
}
