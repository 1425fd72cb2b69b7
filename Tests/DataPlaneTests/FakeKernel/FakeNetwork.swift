// SPDX-License-Identifier: Apache-2.0
// The world around the fake kernel: clients that arrive at listeners, servers that are connected to,
// and a network that carries what was sent when it is told to.

import Reactor
import SystemPackage

/// What listens at an address that the program under test connects to. Its port is that of a TCP address,
/// or the name of a unix socket (`/9000`).
final class FakeServer {
  enum Manner {
    /// Connections are established once the network says so.
    case accepts
    /// Connections are established within the call.
    case acceptsAtOnce
    /// Refused once the network says so.
    case refuses
    /// Refused within the call.
    case refusesAtOnce
    /// Its queue is full, as a unix listener's may be.
    case isBusy
    /// Nothing ever comes back.
    case isSilent
    /// The connection is established and reset at once.
    case resets
    /// The caller has no port left towards this address.
    case hasNoPorts
    /// The network has no way to this address.
    case isUnreachable
    /// Nothing listens at this local port, and the caller's socket is connected to itself.
    case isCaller
  }

  var manner: Manner
  var receiveCapacity: Int
  var sendCapacity: Int
  /// The servers' ends of the established connections, in order.
  fileprivate(set) var accepted: [FakeStream] = []
  /// Called with each of them.
  var onAccept: (FakeStream) -> Void = { _ in }
  /// Called with each attempt to connect.
  var onConnect: () -> Void = {}
  /// How many attempts to connect there were.
  var attemptCount = 0

  init(_ manner: Manner, receiveCapacity: Int, sendCapacity: Int) {
    self.manner = manner
    self.receiveCapacity = receiveCapacity
    self.sendCapacity = sendCapacity
  }
}

extension FakeKernel {
  /// A client that connects to a listener. Its end is the test's.
  func connectClient(
    to listener: CInt, from peer: PeerAddress = .unknown, receiveCapacity: Int? = nil,
    sendCapacity: Int? = nil
  ) -> FakeStream {
    let file = self.listener(listener)
    let client = makeStream(
      isUnix: file.isUnix, receiveCapacity: receiveCapacity, sendCapacity: sendCapacity)
    let ours = makeStream(isUnix: file.isUnix)
    join(client, ours)
    file.arrive(ours, from: file.isUnix ? .unix : peer)
    return client
  }

  func makeStream(
    isUnix: Bool = false, receiveCapacity: Int? = nil, sendCapacity: Int? = nil
  ) -> FakeStream {
    let received = receiveCapacity ?? socketBytes
    let sent = sendCapacity ?? socketBytes
    let stream: FakeStream =
      isUnix
      ? FakeUnixStream(world, receiveCapacity: received, sendCapacity: sent)
      : FakeTCPStream(
        world, receiveCapacity: received, sendCapacity: sent, pace: makePace(received))
    streams.append(stream)
    return stream
  }

  private func join(_ one: FakeStream, _ other: FakeStream) {
    one.peer = other
    other.peer = one
    one.state = .connected
    other.state = .connected
  }

  /// A server at a port of any address.
  @discardableResult
  func serve(
    _ port: UInt16, _ manner: FakeServer.Manner, receiveCapacity: Int? = nil,
    sendCapacity: Int? = nil
  ) -> FakeServer {
    let server = FakeServer(
      manner, receiveCapacity: receiveCapacity ?? socketBytes,
      sendCapacity: sendCapacity ?? socketBytes)
    servers[port] = server
    return server
  }

  func startConnecting(_ stream: FakeStream, to port: UInt16) -> ConnectProgress {
    guard let server = servers[port] else { return .failed(.connectionRefused) }
    server.attemptCount += 1
    server.onConnect()
    if stream.isUnix { return connectUnix(stream, server) }
    stream.state = .connecting
    switch server.manner {
    case .acceptsAtOnce:
      establish(stream, server)
      return .connected
    case .refusesAtOnce: return .failed(.connectionRefused)
    case .hasNoPorts: return .failed(.addressNotAvailable)
    case .isBusy: return .busy
    case .accepts, .refuses, .isSilent, .resets, .isUnreachable, .isCaller:
      connecting.append((stream, server))
      return .inProgress
    }
  }

  /// A unix socket is connected or refused within the call.
  private func connectUnix(_ stream: FakeStream, _ server: FakeServer) -> ConnectProgress {
    switch server.manner {
    case .accepts, .acceptsAtOnce, .resets:
      establish(stream, server)
      if server.manner == .resets { server.accepted.last?.close() }
      return .connected
    case .refuses, .refusesAtOnce, .isCaller: return .failed(.connectionRefused)
    case .hasNoPorts, .isUnreachable: return .failed(.noSuchFileOrDirectory)
    case .isBusy, .isSilent: return .busy
    }
  }

  private func establish(_ stream: FakeStream, _ server: FakeServer) {
    let end = makeStream(
      isUnix: stream.isUnix, receiveCapacity: server.receiveCapacity,
      sendCapacity: server.sendCapacity)
    join(end, stream)
    server.accepted.append(end)
    server.onAccept(end)
  }

  /// Brings one attempt to connect to what its server wants. Returns whether anything has happened.
  private func progress(_ position: Int) -> Bool {
    let (stream, server) = connecting[position]
    if stream.isClosed {
      connecting.swapRemove(position)
      return true
    }
    let tcp = unsafeDowncast(stream, to: FakeTCPStream.self)
    switch server.manner {
    case .isSilent, .isBusy: return false
    case .refuses, .refusesAtOnce: tcp.finishConnecting(with: .connectionRefused)
    case .isUnreachable, .hasNoPorts: tcp.finishConnecting(with: .noRouteToHost)
    case .accepts, .acceptsAtOnce, .resets:
      establish(stream, server)
      stream.changed()
      if server.manner == .resets { server.accepted.last?.reset() }
    case .isCaller:
      stream.peer = stream
      stream.state = .connected
      stream.changed()
    }
    connecting.swapRemove(position)
    return true
  }

  /// Carries everything as far as it goes, or each stream by so many steps. Returns whether anything has
  /// happened.
  @discardableResult
  func carryAll(stepsMax: Int = .max) -> Bool {
    var hasCarried = false
    for position in connecting.indices.reversed() where progress(position) { hasCarried = true }
    var round: [FakeStream] = []
    var steps = 0
    while !world.busy.isEmpty, steps < stepsMax {
      steps += 1
      swap(&round, &world.busy)
      for stream in round {
        stream.isBusy = false
        guard stream.carry() else { continue }
        hasCarried = true
        stream.noteBusy()
      }
      round.removeAll(keepingCapacity: true)
    }
    return hasCarried
  }

  /// Carries something somewhere.
  func carrySomething() {
    if !connecting.isEmpty, chaos.below(3) == 0 { _ = progress(chaos.below(connecting.count)) }
    for _ in 0..<chaos.within(1...8) where !world.busy.isEmpty {
      let position = chaos.below(world.busy.count)
      if !world.busy[position].carry(bytesMax: chaos.within(1...2000)) { noteQuiet(position) }
    }
  }

  /// A stream has nothing that could be carried now. It says so when that changes.
  private func noteQuiet(_ position: Int) {
    world.busy[position].isBusy = false
    world.busy.swapRemove(position)
  }
}

extension Array {
  /// Removes an element and puts the last one in its place.
  mutating func swapRemove(_ position: Int) {
    swapAt(position, count - 1)
    removeLast()
  }
}
