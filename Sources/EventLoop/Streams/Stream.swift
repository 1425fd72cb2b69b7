// SPDX-License-Identifier: Apache-2.0
// A connection as a task sees it: read some, exactly, up to a delimiter or to the end; write without
// waiting and wait for what is buffered to drain; end in good order or by a reset. It is what asyncio
// splits into a StreamReader and a StreamWriter.

import Addressing
import Glibc
import Reactor

/// How much may be buffered of what was written and not sent.
public struct Watermarks: Hashable, Sendable {
  /// `drain` waits until no more bytes than this are buffered.
  public let low: Int
  /// `drain` begins to wait when more bytes than this are buffered.
  public let high: Int

  /// `low` must not be negative, and `high` not below it.
  public init(low: Int = 16 << 10, high: Int = 64 << 10) {
    precondition(low >= 0)
    precondition(high >= low)
    self.low = low
    self.high = high
  }
}

/// A connected stream socket: TCP, or unix. It owns its descriptor, and closes with a reset when it is
/// dropped without having been closed.
///
/// Everything here is for tasks of its loop, and traps on any other thread. One task at a time may
/// read, and one may write; a second one traps. A deadline and a cancelled task end waits; what can be
/// done without waiting is done all the same. A wait that ends so loses no byte: what has arrived can
/// be read afterwards.
public final class Stream: Sendable {
  private let socket: StreamSocket

  init(_ socket: StreamSocket) {
    self.socket = socket
  }

  deinit {
    socket.drop()
  }

  /// Takes over a connected, non-blocking stream socket. Closes it when it throws: the kernel refuses to
  /// register it, or there are as many as `LoopOptions.descriptorsMax`.
  public convenience init(
    owning descriptor: consuming Descriptor, peer: SocketAddress? = nil
  ) throws(StreamError) {
    let loop = Loop.ofTask
    let isIP = boundAddress(descriptor.rawValue)?.ip != nil
    do throws(Errno) {
      self.init(try StreamSocket(owning: descriptor, peer: peer, isIP: isIP, on: loop))
    } catch {
      throw .failed(action: "registering", error)
    }
  }

  /// Two unix sockets that are connected to each other.
  public static func pair() throws(StreamError) -> (Stream, Stream) {
    var ends: [CInt] = [-1, -1]
    let type =
      CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, type, 0, &ends) == 0 else {
      throw .failed(action: "connecting", Errno(rawValue: errno))
    }
    let other = Descriptor(owning: ends[1])
    let one = try Stream(owning: Descriptor(owning: ends[0]))
    return (one, try Stream(owning: other))
  }

  // MARK: Addresses

  /// The address of this side, `nil` if it has none or is closed.
  public var localAddress: SocketAddress? {
    socket.loop.checkIsolated()
    return socket.isOpen ? boundAddress(socket.descriptor) : nil
  }

  /// The address of the other side; `nil` for clients of a unix socket, which as a rule have none.
  public var peerAddress: SocketAddress? { socket.peerAddress }

  // MARK: Reading

  /// Reads what is there, at least one byte and at most `max`; waits until something is. Empty at the end
  /// of the stream. `max` must be positive.
  public func read(
    max: Int = 64 << 10, until deadline: Instant = .distantFuture
  ) async throws(StreamError) -> [UInt8] {
    socket.loop.checkIsolated()
    precondition(max > 0)
    while true {
      if let bytes = try socket.readNow(max: max) { return bytes }
      try await socket.waitForInput(until: deadline)
    }
  }

  /// Reads what is there into the front of `buffer`, over what it holds, and returns how many bytes; waits
  /// until something is. 0 at the end of the stream. `buffer` must not be empty and keeps its count. For
  /// what reads much: nothing is allocated.
  public func read(
    into buffer: inout [UInt8], until deadline: Instant = .distantFuture
  ) async throws(StreamError) -> Int {
    socket.loop.checkIsolated()
    precondition(!buffer.isEmpty)
    while true {
      let count = try buffer.withUnsafeMutableBufferPointer { bytes throws(StreamError) in
        try socket.readNow(into: UnsafeMutableRawBufferPointer(bytes))
      }
      if let count { return count }
      try await socket.waitForInput(until: deadline)
    }
  }

  /// Reads `count` bytes. Throws `endOfStream` when the peer finishes before that.
  public func read(
    exactly count: Int, until deadline: Instant = .distantFuture
  ) async throws(StreamError) -> [UInt8] {
    socket.loop.checkIsolated()
    precondition(count >= 0)
    return try await socket.read(exactly: count, until: deadline)
  }

  /// Reads up to and with the first `delimiter`, which must not be empty. Throws `tooLong` when there is
  /// none in the first `max` bytes, `endOfStream` when the peer finishes before one.
  public func read(
    through delimiter: [UInt8], max: Int, until deadline: Instant = .distantFuture
  ) async throws(StreamError) -> [UInt8] {
    socket.loop.checkIsolated()
    precondition(!delimiter.isEmpty)
    precondition(max > 0)
    return try await socket.read(through: delimiter, max: max, until: deadline)
  }

  /// Reads until the peer finishes. Throws `tooLong` when it sends more than `max` bytes.
  public func readToEnd(
    max: Int, until deadline: Instant = .distantFuture
  ) async throws(StreamError) -> [UInt8] {
    socket.loop.checkIsolated()
    precondition(max >= 0)
    return try await socket.readToEnd(max: max, until: deadline)
  }

  // MARK: Writing

  /// Sends what the kernel takes now and buffers the rest, without a bound: call `drain` after what may
  /// be much. Never waits. Throws `closed` after `close` and `finishWriting`, and `failed` when the
  /// peer is gone, which may be found out only some writes later.
  public func write(_ bytes: [UInt8]) throws(StreamError) {
    socket.loop.checkIsolated()
    try bytes.withUnsafeBufferPointer { bytes throws(StreamError) in
      try socket.write(UnsafeRawBufferPointer(bytes))
    }
  }

  /// The same for a part of an array.
  public func write(_ bytes: ArraySlice<UInt8>) throws(StreamError) {
    socket.loop.checkIsolated()
    try bytes.withUnsafeBufferPointer { bytes throws(StreamError) in
      try socket.write(UnsafeRawBufferPointer(bytes))
    }
  }

  /// Waits while more is buffered than the high watermark, until it is no more than the low one. Returns
  /// at once where less is: what is written then is not yet sent.
  public func drain(until deadline: Instant = .distantFuture) async throws(StreamError) {
    socket.loop.checkIsolated()
    try await socket.drain(until: deadline)
  }

  /// When `drain` waits, and until when. 16 KiB and 64 KiB unless it is changed.
  public var watermarks: Watermarks {
    get {
      socket.loop.checkIsolated()
      return socket.watermarks
    }
    set {
      socket.loop.checkIsolated()
      socket.watermarks = newValue
      socket.reviewPause()
    }
  }

  /// How many bytes were written and not yet taken by the kernel.
  public var unsentBytes: Int {
    socket.loop.checkIsolated()
    return socket.unsentBytes
  }

  /// Tells the peer that no more will come, behind what was written, and waits until all that is sent.
  /// Reading goes on. When the wait ends early, it is told all the same, later. Nothing can be
  /// written any more.
  public func finishWriting(until deadline: Instant = .distantFuture) async throws(StreamError) {
    socket.loop.checkIsolated()
    try await socket.finishWriting(until: deadline)
  }

  // MARK: The end

  /// Whether `close` or `abort` was called.
  public var isClosing: Bool {
    socket.loop.checkIsolated()
    return socket.isClosing
  }

  /// For how long `close` tries to deliver what is buffered. 5 s unless it is changed, before closing.
  public var linger: Duration {
    get {
      socket.loop.checkIsolated()
      return socket.linger
    }
    set {
      socket.loop.checkIsolated()
      socket.linger = newValue
    }
  }

  /// Ends the stream. What was written is still sent, in the background, for as long as `linger`, and
  /// also when the stream is dropped; a loop that ends waits for it. What has arrived and was not
  /// read is thrown away. When sending takes too long, or the peer goes on sending (more than 1 MiB), the
  /// connection is reset. A task that waits here is woken with `closed`.
  ///
  /// `expectingMore` is for who closes in the middle of what the peer sends, having refused a request for
  /// example. Bytes that meet a closed socket are answered with a reset, which can destroy at the peer
  /// what was sent to it. So only the write half is closed behind what is buffered, and what comes is
  /// thrown away until the peer finishes or `linger` is over; that long the descriptor stays open. Without
  /// it, this is done only where something lies unread already. It changes nothing for unix sockets.
  public func close(expectingMore: Bool = false) {
    socket.loop.checkIsolated()
    socket.closeGently(expectingMore: expectingMore)
  }

  /// Ends the stream at once with a reset, so that its peer sees that this was no orderly end. What is
  /// buffered is lost. A task that waits here is woken with `closed`.
  public func abort() {
    socket.loop.checkIsolated()
    socket.close(byReset: true)
  }

  /// Waits until the descriptor is closed, which `close` or `abort` must have asked for, or somebody will.
  /// Throws `failed` when what was written could not be sent.
  public func waitClosed(until deadline: Instant = .distantFuture) async throws(StreamError) {
    socket.loop.checkIsolated()
    try await socket.waitClosed(until: deadline)
  }
}
