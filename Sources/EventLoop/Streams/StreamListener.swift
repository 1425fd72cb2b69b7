// SPDX-License-Identifier: Apache-2.0
// A listening socket and the connections that arrive there. It is registered edge-triggered like every
// descriptor of a loop, and known to be readable until accept(2) has said that nobody waits: so no edge
// is lost, and a queue that nobody accepts from does not keep the loop awake.

import Addressing
import Reactor

/// A socket that connections arrive at. It owns its descriptor, closes it when it is dropped, and removes
/// the file of a unix socket that it has made.
///
/// Everything here is for tasks of its loop, and traps on any other thread, but for making one, which is
/// possible also while the loop does not run. One task at a time may accept; a second one traps.
public final class StreamListener: Sendable {
  private let watch: ListenerWatch

  /// Where it listens: the port that the kernel chose where 0 was asked for.
  public let address: SocketAddress

  /// Listens at an address, as `ListeningSocket` does. `backlog` connections wait to be accepted.
  /// `options` are those of the connections. `loop` is the one that runs here, unless another is given
  /// that does not run yet.
  public convenience init(
    at address: SocketAddress, backlog: Int = 128, options: StreamOptions = .prompt,
    on loop: Loop? = nil
  ) throws(ListeningSocket.Failure) {
    try self.init(
      ListeningSocket(at: address, backlog: backlog, options: options), at: address, on: loop)
  }

  /// Takes over a socket that listens already, one that was inherited for example.
  public convenience init(
    _ socket: consuming ListeningSocket, on loop: Loop? = nil
  ) throws(ListeningSocket.Failure) {
    guard let address = socket.address else {
      throw ListeningSocket.Failure(
        action: "taking over", errno: nil, advice: "the socket has no address")
    }
    try self.init(socket, at: address, on: loop)
  }

  private init(
    _ socket: consuming ListeningSocket, at address: SocketAddress, on loop: Loop?
  ) throws(ListeningSocket.Failure) {
    self.address = socket.address ?? address
    do throws(Errno) {
      watch = try ListenerWatch(
        socket, at: self.address, on: loop ?? Loop.ofTask)
    } catch {
      throw ListeningSocket.Failure(action: "registering", errno: error)
    }
  }

  deinit {
    watch.drop()
  }

  /// Waits for a connection. Throws `failed` when descriptors or memory have run out, at once and each
  /// time, and after 64 connections in a row that were gone when they were accepted: rest before you ask
  /// again, as `connections` does.
  public func accept(
    until deadline: Instant = .distantFuture
  ) async throws(StreamError) -> Stream {
    watch.loop.checkIsolated()
    return try await watch.accept(until: deadline)
  }

  /// The connections that arrive, one after another.
  public var connections: Connections { Connections(listener: self) }

  /// Listens no more. Connections that were not accepted are reset by the kernel. A task that waits here is
  /// woken with `closed`.
  public func close() {
    watch.loop.checkIsolated()
    watch.close()
  }

  /// Connections as they arrive. Ends when the task is cancelled, which the loop's stop does, too, and
  /// when the listener is closed. Where descriptors or memory have run out (EMFILE, ENFILE, ENOBUFS,
  /// ENOMEM, ENOSPC, `LoopOptions.descriptorsMax`), or 64 accepts in a row have failed, it rests for
  /// 100 ms and tries again; the clients wait in the kernel's queue. Throws when the kernel refuses otherwise.
  /// It holds the listener.
  public struct Connections: AsyncSequence, Sendable {
    /// A connection.
    public typealias Element = Stream
    /// What the kernel refuses with.
    public typealias Failure = StreamError

    fileprivate let listener: StreamListener

    /// Starts to accept.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(listener: listener) }

    /// Accepts one connection after another.
    public struct AsyncIterator: AsyncIteratorProtocol {
      fileprivate let listener: StreamListener

      /// Waits for the next connection; `nil` when the task is cancelled or the listener closed.
      public func next() async throws(StreamError) -> Stream? {
        try await listener.watch.next()
      }

      /// The same; the isolation must be the loop's.
      public func next(
        isolation actor: isolated (any Actor)?
      ) async throws(StreamError) -> Stream? {
        try await listener.watch.next()
      }
    }
  }
}

private final class ListenerWatch: Watch, @unchecked Sendable {
  // SAFETY: as its base class.

  /// After running out of descriptors, some may have been closed by then.
  private static let restNanoseconds: UInt64 = 100_000_000
  private static let shortages: Set<Errno> = [
    .tooManyOpenFiles, .tooManyOpenFilesInSystem, .noBufferSpace, .noMemory, .noSpace,
  ]
  /// So many are no accident: accepting itself is forbidden (EPERM of a seccomp filter), and the
  /// connection stays in the queue.
  private static let abortedInARowMax = 64

  private let address: SocketAddress
  private var socket: ListeningSocket?
  /// Connections that were gone since one was accepted, or none was there.
  private var abortedInARow = 0

  override var what: String { "listener \(address)" }

  init(
    _ socket: consuming ListeningSocket, at address: SocketAddress, on loop: Loop
  ) throws(Errno) {
    self.address = address
    do throws(Errno) {
      try super.init(watching: socket.rawValue, on: loop)
    } catch {
      // Its file would otherwise stay.
      socket.removeOwnedPath()
      throw error
    }
    self.socket = consume socket
  }

  func accept(until deadline: Instant) async throws(StreamError) -> Stream {
    while true {
      guard isOpen else { throw .closed }
      if isReadable, loop.engine.spend() {
        if let stream = try acceptOne() { return stream }
        continue
      }
      try StreamSocket.check(
        isReadable ? await waitForTurn() : await waitReadable("accept", until: deadline))
    }
  }

  /// The next connection, `nil` if it was gone or none is there.
  private func acceptOne() throws(StreamError) -> Stream? {
    // Left in the queue as long as there would be no place for it.
    guard !loop.engine.isFull else { throw .failed(action: "accepting", .tooManyOpenFiles) }
    switch loop.engine.kernel.accept(from: descriptor) {
    case .accepted(let number, let peer):
      abortedInARow = 0
      let peerAddress = peer.socketAddress
      do throws(Errno) {
        let socket = try StreamSocket(
          owning: Descriptor(owning: number), peer: peerAddress, isIP: peerAddress != nil, on: loop)
        return Stream(socket)
      } catch {
        throw .failed(action: "accepting", error)
      }
    case .wouldBlock:
      abortedInARow = 0
      isReadable = false
    case .aborted(let errno):
      abortedInARow += 1
      guard abortedInARow < ListenerWatch.abortedInARowMax else {
        throw .failed(action: "accepting", errno)
      }
    case .failed(let errno): throw .failed(action: "accepting", errno)
    }
    return nil
  }

  func next() async throws(StreamError) -> Stream? {
    loop.checkIsolated()
    while true {
      do throws(StreamError) {
        return try await accept(until: .distantFuture)
      } catch {
        switch error {
        case .cancelled, .closed: return nil
        case .failed(_, let errno) where mustRest(after: errno):
          let end = loop.now.advanced(by: ListenerWatch.restNanoseconds)
          if await loop.park("rest of accepting", until: end) == .cancelled { return nil }
        default: throw error
        }
      }
    }
  }

  /// Whether trying again later may do. After too many aborted ones each further one counts, too.
  private func mustRest(after errno: Errno) -> Bool {
    abortedInARow >= ListenerWatch.abortedInARowMax || ListenerWatch.shortages.contains(errno)
  }

  override func closeDescriptor(byReset isReset: Bool) {
    socket?.removeOwnedPath()
    socket = nil
  }
}
