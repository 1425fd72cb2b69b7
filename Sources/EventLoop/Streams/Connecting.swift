// SPDX-License-Identifier: Apache-2.0
// Connecting: to an address, or to the addresses of a host, several at once (RFC 8305, "Happy Eyeballs"),
// so that one that does not answer costs a quarter of a second and not the user's patience.

import Addressing
import Glibc
import Reactor

extension StreamOptions {
  /// What streams have unless they are given others: what is written is sent at once.
  public static var prompt: StreamOptions { StreamOptions(noDelay: true) }
}

extension Stream {
  /// Connects to an address: IPv4, IPv6, a unix socket's path or abstract name. `source` is the address to
  /// connect from, of the same family; the kernel chooses if there is none. A unix listener whose queue is
  /// full is tried again until the deadline. A connection to itself, which the kernel makes now and then
  /// when nobody listens at a local port, is reported as refused. Loop's thread.
  public static func connect(
    to address: SocketAddress, from source: IPAddress? = nil, options: StreamOptions = .prompt,
    until deadline: Instant = .distantFuture
  ) async throws(StreamError) -> Stream {
    let loop = Loop.ofTask
    let kernel = loop.engine.kernel
    let target = KernelAddress(address)
    let descriptor: Descriptor
    do throws(Errno) {
      descriptor = Descriptor(owning: try kernel.makeSocket(for: target, options: options))
    } catch {
      throw .failed(action: "connecting", error)
    }
    if let source {
      do throws(Errno) {
        let from = KernelAddress(SocketAddress(source, port: 0))
        try kernel.bindSource(descriptor.rawValue, to: from)
      } catch {
        throw .failed(action: "binding", error)
      }
    }
    return try await connect(descriptor, to: address, target, until: deadline, on: loop)
  }

  /// Connects a socket that may be bound already. Closes it when it throws.
  static func connect(
    _ descriptor: consuming Descriptor, to address: SocketAddress, _ target: KernelAddress,
    until deadline: Instant, on loop: Loop
  ) async throws(StreamError) -> Stream {
    let isInProgress = try await begin(descriptor.rawValue, to: target, until: deadline, on: loop)
    let socket: StreamSocket
    do throws(Errno) {
      // Registered only now: a socket that does not connect yet would be reported as hung up.
      socket = try StreamSocket(
        owning: descriptor, peer: address, isIP: target.isIP, isConnecting: isInProgress, on: loop)
    } catch {
      throw .failed(action: "connecting", error)
    }
    if isInProgress { try await socket.waitConnected(until: deadline) }
    if target.isIP { try socket.refuseOwnPeer() }
    return Stream(socket)
  }

  /// Starts to connect. Returns whether that is still going on.
  private static func begin(
    _ descriptor: CInt, to target: KernelAddress, until deadline: Instant, on loop: Loop
  ) async throws(StreamError) -> Bool {
    var pauseNanoseconds: UInt64 = 1_000_000
    while true {
      switch loop.engine.kernel.connect(descriptor, to: target) {
      case .connected: return false
      case .inProgress: return true
      case .failed(let errno): throw .failed(action: "connecting", errno)
      case .busy:
        // Nothing tells when there is room in the queue.
        let now = loop.now
        guard now < deadline else { throw .deadlinePassed }
        let end = min(deadline, now.advanced(by: pauseNanoseconds))
        if await loop.park("connect", until: end) == .cancelled { throw .cancelled }
        pauseNanoseconds = min(pauseNanoseconds * 2, 64_000_000)
      }
    }
  }

  /// Connects to a host: looks its name up and tries its addresses in turn, best first and the families
  /// by turns, each after the one before it has failed or `attemptDelay` has gone by. The first that
  /// stands is returned, the others are closed (RFC 8305; both families are looked up in one call, so
  /// no family is waited for). `attemptDelay` is at least 10 ms. Loop's thread.
  ///
  /// Throws `HostConnectError` when every address has failed; `StreamError.cancelled` or `deadlinePassed`;
  /// and what `HostResolver.addresses` throws.
  public static func connect(
    toHost host: String, port: UInt16, resolver: HostResolver,
    attemptDelay: Duration = .milliseconds(250), options: StreamOptions = .prompt,
    until deadline: Instant = .distantFuture
  ) async throws -> Stream {
    let addresses: [IPAddress]
    do {
      addresses = try await resolver.addresses(of: host, until: deadline)
    } catch let error as WaitError {
      throw error == .cancelled ? StreamError.cancelled : StreamError.deadlinePassed
    }
    let race = ConnectRace(
      targets: interleaved(addresses).map { SocketAddress($0, port: port) },
      delay: max(attemptDelay, .milliseconds(10)), options: options, deadline: deadline)
    switch await race.run(on: Loop.ofTask) {
    case .success(let stream): return stream
    case .failure(let failure):
      if Task.isCancelled { throw StreamError.cancelled }
      if failure.attempts.contains(where: { $0.error == .deadlinePassed }) {
        throw StreamError.deadlinePassed
      }
      throw HostConnectError(host: host, port: port, attempts: failure.attempts)
    }
  }

  /// The same addresses, the families by turns, beginning with the first one's (RFC 8305, section 4).
  static func interleaved(_ addresses: [IPAddress]) -> [IPAddress] {
    func isV4(_ address: IPAddress) -> Bool {
      if case .v4 = address { true } else { false }
    }
    guard let first = addresses.first else { return [] }
    let preferred = addresses.filter { isV4($0) == isV4(first) }
    let others = addresses.filter { isV4($0) != isV4(first) }
    return (0..<max(preferred.count, others.count)).flatMap { place in
      [preferred, others].compactMap { place < $0.count ? $0[place] : nil }
    }
  }
}

/// Attempts to connect that overtake each other.
private struct ConnectRace {
  struct Lost: Error {
    let attempts: [HostConnectError.Attempt]
  }

  private enum Outcome: Sendable {
    case connected(Stream)
    case failed(SocketAddress, StreamError)
    /// The attempt of this number has had the time that it has for itself.
    case delayOver(Int)
  }

  let targets: [SocketAddress]
  let delay: Duration
  let options: StreamOptions
  let deadline: Instant

  func run(on loop: Loop) async -> Result<Stream, Lost> {
    await withTaskGroup(of: Outcome.self) { group in
      var started = 0
      var failures: [HostConnectError.Attempt] = []

      func startNext() {
        // What was given up, a delay that is cancelled must not begin again.
        guard !group.isCancelled, started < targets.count else { return }
        let target = targets[started]
        started += 1
        let number = started
        group.addTask(name: "connect to \(target)") { [options, deadline] in
          do throws(StreamError) {
            let stream = try await Stream.connect(to: target, options: options, until: deadline)
            return .connected(stream)
          } catch {
            return .failed(target, error)
          }
        }
        guard started < targets.count else { return }
        group.addTask(name: "next attempt to connect") { [delay] in
          try? await loop.sleep(for: delay)
          return .delayOver(number)
        }
      }

      startNext()
      var winner: Stream?
      for await outcome in group {
        switch outcome {
        case .connected(let stream) where winner == nil:
          winner = stream
          group.cancelAll()
        case .connected(let stream): stream.abort()
        case .failed(let address, let error):
          failures.append(HostConnectError.Attempt(address: address, error: error))
          if error != .deadlinePassed { startNext() }
        case .delayOver(let number):
          // Where an attempt has failed meanwhile, the next one has been started for that.
          if number == started { startNext() }
        }
        if winner == nil, failures.count == started { group.cancelAll() }
      }
      return winner.map { .success($0) } ?? .failure(Lost(attempts: failures))
    }
  }
}
