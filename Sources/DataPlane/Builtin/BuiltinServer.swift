// SPDX-License-Identifier: Apache-2.0
// The endpoints inside the process: echo, discard and chargen (RFC 862, 863, 864), on one thread of
// their own and over real sockets, so that a proxy can be tried where nothing else runs. They are
// reached through unix sockets with unique names in the abstract namespace.
//
// A connection here has at most one buffer of unsent bytes; while it has any, nothing is read.

import Addressing
import Glibc
import Plan
import Reactor

/// A thread that serves builtin endpoints. Dropping it stops the thread without waiting for its end.
public final class BuiltinServer: Sendable {
  /// Where each service listens.
  public let addresses: [BuiltinService: SocketAddress]
  private let inbox: Inbox<Void>
  private let thread = Lock(LoopThread?.none)

  /// Starts to serve `services`, up to `connectionsMax` connections at once. If it throws, everything
  /// that it has opened is closed.
  public init(
    _ services: [BuiltinService], connectionsMax: Int
  ) throws(ListeningSocket.Failure) {
    let listeners = try services.map { service throws(ListeningSocket.Failure) in
      try BuiltinListener(service)
    }
    addresses = Dictionary(
      listeners.map { ($0.service, $0.address) }, uniquingKeysWith: { first, _ in first })
    let made: BuiltinLoop
    do throws(Errno) {
      made = try BuiltinLoop(listeners, connectionsMax: connectionsMax)
    } catch {
      throw ListeningSocket.Failure(action: "starting builtin endpoints", errno: error)
    }
    inbox = made.inbox
    // SAFETY: handed to the thread; from then on only that thread touches it.
    nonisolated(unsafe) let loop = made
    do throws(Errno) {
      try thread.withLock { thread throws(Errno) in
        thread = try LoopThread(name: "builtin") { loop.run() }
      }
    } catch {
      throw ListeningSocket.Failure(action: "starting their thread", errno: error)
    }
  }

  deinit {
    _ = inbox.post(())
    thread.withLock { $0.take() }?.detach()
  }

  /// Closes everything and waits for the thread to end. Call at most once.
  public func stop() {
    _ = inbox.post(())
    thread.withLock { $0.take() }?.join()
  }
}

/// The listening socket of a service. Dropping it closes the socket.
final class BuiltinListener {
  let service: BuiltinService
  let address: SocketAddress
  private let socket: ListeningSocket

  var descriptor: CInt { socket.rawValue }

  init(_ service: BuiltinService) throws(ListeningSocket.Failure) {
    let tag = String(UInt64.random(in: .min ... .max), radix: 36)
    let address = SocketAddress.abstract(name: "sluice-\(getpid())-\(service.rawValue)-\(tag)")
    socket = try ListeningSocket(at: address, backlog: 4096, options: StreamOptions())
    self.address = address
    self.service = service
  }
}

/// The loop of a `BuiltinServer`.
final class BuiltinLoop: LoopCore {
  private struct Connection: ~Copyable {
    let service: BuiltinService
    var side: DataPlane.Connection
    /// What was read and could not be sent back yet.
    var kept: [UInt8] = []
    /// The position in the stream of characters.
    var position = 0
    var isQueued = false
    var hasEnded = false
  }

  private static let bufferBytes = 16 << 10
  private static let turnBytes = 256 << 10
  private static let pauseNanoseconds: UInt64 = 100_000_000

  let kernel = LinuxKernel()
  let poller: Poller<LinuxKernel>
  var now: Instant
  let inbox: Inbox<Void>
  private let bell: Bell<LinuxKernel>
  private var listeners: [BuiltinListener]
  private var connections: Slab<Connection>
  private var queue: [Token] = []
  private var queueInTurn: [Token] = []
  /// Listeners that are not watched for a while.
  private var paused: [Int] = []
  private var resumeAt = Instant.distantFuture
  private var messages: [Void] = []
  private var lastGeneration: UInt32 = 0
  private var isStopped = false
  private let buffer: UnsafeMutableRawBufferPointer
  private let characters = BuiltinLoop.characterStream()

  init(_ listeners: [BuiltinListener], connectionsMax: Int) throws(Errno) {
    self.listeners = listeners
    now = kernel.now()
    let bell = try Bell(kernel)
    self.bell = bell
    inbox = Inbox(messagesMax: 1) { bell.ring() }
    poller = try Poller(kernel: kernel, eventsMax: 256, spinNanoseconds: 0)
    connections = try Slab(capacity: connectionsMax)
    buffer = .allocate(byteCount: BuiltinLoop.bufferBytes, alignment: 16)
    try poller.add(bell.descriptor, for: .readable, token: Token(.bell, index: 0, generation: 0))
    for (position, listener) in listeners.enumerated() {
      try poller.add(
        listener.descriptor, for: .readable, token: Token(.listener, index: position, generation: 0)
      )
    }
  }

  deinit {
    buffer.deallocate()
  }

  func run() {
    while !isStopped { turn() }
    listeners = []
    var next = connections.nextIndex(from: 0)
    while let index = next {
      close(index)
      next = connections.nextIndex(from: index + 1)
    }
  }

  func nextDeadline() -> Instant {
    guard queue.isEmpty else { return now }
    return paused.isEmpty ? .distantFuture : resumeAt
  }

  func prepareToSleep() -> Bool { inbox.prepareToSleep() }

  func receive(_ readiness: Readiness, for token: Token) {
    switch token.kind {
    case .bell: bell.silence()
    case .listener: accept(token.index)
    case .downstream, .upstream:
      guard let connection = find(token) else { return }
      connection.pointee.side.note(readiness)
      serve(token.index, connection)
    case .descriptor: assertionFailure("the built-in server registers none")
    }
  }

  func finishTurn() {
    swap(&queue, &queueInTurn)
    for token in queueInTurn {
      guard let connection = find(token) else { continue }
      connection.pointee.isQueued = false
      serve(token.index, connection)
    }
    queueInTurn.removeAll(keepingCapacity: true)
    resume()
    inbox.drain(into: &messages)
    if !messages.isEmpty { isStopped = true }
    messages.removeAll(keepingCapacity: true)
  }

  private func find(_ token: Token) -> UnsafeMutablePointer<Connection>? {
    guard let connection = connections.find(token.index) else { return nil }
    return connection.pointee.side.generation == token.generation ? connection : nil
  }

  private func accept(_ position: Int) {
    for _ in 0..<64 {
      let descriptor: CInt
      switch kernel.accept(from: listeners[position].descriptor) {
      case .accepted(let accepted, _): descriptor = accepted
      case .aborted: continue
      case .wouldBlock: return
      case .failed: return pause(position)
      }
      // In the kernel's queue it would be reported again and again.
      guard !connections.isFull else {
        kernel.close(descriptor)
        continue
      }
      lastGeneration &+= 1
      let index = connections.insert(
        Connection(
          service: listeners[position].service,
          side: DataPlane.Connection(
            socket: SocketHandle(owning: descriptor), generation: lastGeneration)))
      guard let connection = connections.find(index) else { return }
      connection.pointee.side.flags = .writable
      let token = Token(.downstream, index: index, generation: lastGeneration)
      do throws(Errno) {
        try poller.add(descriptor, for: .stream, token: token)
      } catch {
        close(index)
        continue
      }
      serve(index, connection)
    }
  }

  /// No descriptors are left: a listener that stays registered would be reported again and again.
  private func pause(_ position: Int) {
    poller.remove(listeners[position].descriptor)
    paused.append(position)
    resumeAt = now.advanced(by: BuiltinLoop.pauseNanoseconds)
  }

  private func resume() {
    guard !paused.isEmpty, now >= resumeAt else { return }
    let positions = paused
    paused = []
    for position in positions {
      let token = Token(.listener, index: position, generation: 0)
      do throws(Errno) {
        try poller.add(listeners[position].descriptor, for: .readable, token: token)
      } catch {
        paused.append(position)
        resumeAt = now.advanced(by: BuiltinLoop.pauseNanoseconds)
      }
    }
  }

  private func close(_ index: Int) {
    var connection = connections.remove(index)
    kernel.close(connection.side.socket.take())
  }

  // MARK: Services

  private enum Step {
    case moved(Int)
    case waiting
    case over
  }

  private func serve(_ index: Int, _ connection: UnsafeMutablePointer<Connection>) {
    var budget = BuiltinLoop.turnBytes
    while budget > 0 {
      switch step(connection) {
      case .moved(let count): budget -= count
      case .waiting: return
      case .over: return close(index)
      }
    }
    guard !connection.pointee.isQueued else { return }
    connection.pointee.isQueued = true
    queue.append(
      Token(.downstream, index: index, generation: connection.pointee.side.generation))
  }

  private func step(_ connection: UnsafeMutablePointer<Connection>) -> Step {
    if !connection.pointee.kept.isEmpty {
      let sent = connection.pointee.kept.withUnsafeBytes { send($0, connection) }
      if case .moved(let count) = sent { connection.pointee.kept.removeFirst(count) }
      if connection.pointee.kept.isEmpty { connection.pointee.kept = [] }
      return sent
    }
    if connection.pointee.hasEnded { return .over }
    if connection.pointee.side.flags.contains(.readable) {
      switch kernel.receive(connection.pointee.side.socket.rawValue, into: buffer) {
      case .moved(let count):
        guard connection.pointee.service == .echo else { return .moved(count) }
        return echo(UnsafeRawBufferPointer(rebasing: buffer[..<count]), connection)
      case .wouldBlock:
        connection.pointee.side.flags.remove(.readable)
      case .endOfStream, .failed:
        connection.pointee.hasEnded = true
        return .moved(0)
      }
    }
    guard connection.pointee.service == .chargen else { return .waiting }
    let start = connection.pointee.position
    let sent = characters.withUnsafeBytes { bytes in
      send(UnsafeRawBufferPointer(rebasing: bytes[start...]), connection)
    }
    if case .moved(let count) = sent {
      connection.pointee.position = (start + count) % characters.count
    }
    return sent
  }

  private func echo(
    _ bytes: UnsafeRawBufferPointer, _ connection: UnsafeMutablePointer<Connection>
  ) -> Step {
    switch send(bytes, connection) {
    case .moved(let sent):
      if sent < bytes.count { connection.pointee.kept = Array(bytes[sent...]) }
      return .moved(bytes.count)
    case .waiting:
      connection.pointee.kept = Array(bytes)
      return .moved(bytes.count)
    case .over:
      return .over
    }
  }

  private func send(
    _ bytes: UnsafeRawBufferPointer, _ connection: UnsafeMutablePointer<Connection>
  ) -> Step {
    guard connection.pointee.side.flags.contains(.writable) else { return .waiting }
    switch kernel.send(connection.pointee.side.socket.rawValue, bytes) {
    case .moved(let count):
      return .moved(count)
    case .wouldBlock, .endOfStream:
      connection.pointee.side.flags.remove(.writable)
      return .waiting
    case .failed:
      return .over
    }
  }

  /// RFC 864's recommended pattern: lines of 72 printable characters, each line starting one further.
  private static func characterStream() -> [UInt8] {
    let printable = Array(UInt8(ascii: " ")...UInt8(ascii: "~"))
    return printable.indices.flatMap { first in
      (0..<72).map { printable[(first + $0) % printable.count] } + Array("\r\n".utf8)
    }
  }
}
