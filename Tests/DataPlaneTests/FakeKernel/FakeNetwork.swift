// SPDX-License-Identifier: Apache-2.0
// The world around the fake kernel: clients that arrive at listeners, servers that are connected to,
// and a network that carries what was sent when it is told to.

import CLinux
import Reactor
import SystemPackage

/// A listening socket of the program under test.
final class FakeListener: FakeFile {
  private(set) var queue: [(stream: FakeStream, peer: PeerAddress)] = []
  private let chaos: FakeChaos

  init(chaos: FakeChaos) {
    self.chaos = chaos
  }

  var waitingCount: Int { queue.count }

  override func readiness() -> UInt32 { queue.isEmpty ? 0 : CLINUX_EPOLLIN }

  func arrive(_ stream: FakeStream, from peer: PeerAddress) {
    queue.append((stream, peer))
    // An exclusive watcher may be the only one that hears of it.
    guard let lucky = watchers.indices.randomElement(in: chaos) else { return }
    for (position, watcher) in watchers.enumerated()
    where position == lucky || !watcher.isExclusive || chaos.below(2) == 0 {
      watcher.poll?.markReady(watcher)
    }
  }

  func accept() -> (stream: FakeStream, peer: PeerAddress)? {
    guard !queue.isEmpty else { return nil }
    queue[0].stream.wasAccepted = true
    return queue.removeFirst()
  }

  /// Whoever still waits is reset.
  override func close() {
    precondition(watchers.isEmpty, "a listener is closed while a worker watches it")
    super.close()
    for (stream, _) in queue { stream.reset() }
    queue = []
  }
}

extension Range<Int> {
  fileprivate func randomElement(in chaos: FakeChaos) -> Int? {
    isEmpty ? nil : lowerBound + chaos.below(count)
  }
}

/// What listens at an address that the program under test connects to.
final class FakeServer {
  enum Manner {
    /// Connections stand once the network says so.
    case accepts
    /// Connections stand within the call, as with unix sockets.
    case acceptsAtOnce
    /// Refused once the network says so.
    case refuses
    /// Refused within the call.
    case refusesAtOnce
    /// Its queue is full, as a unix listener's may be.
    case isBusy
    /// Nothing ever comes back.
    case isSilent
    /// The connection stands and is reset at once.
    case resets
    /// The caller has no port left towards here.
    case hasNoPorts
    /// The network says that there is no way.
    case isUnreachable
  }

  var manner: Manner
  var receiveCapacity: Int
  var sendCapacity: Int
  /// The servers' ends of the connections that stand, in order.
  fileprivate(set) var accepted: [FakeStream] = []
  /// Called with each of them.
  var onAccept: (FakeStream) -> Void = { _ in }
  /// How often anybody has begun to connect.
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
    guard let file = files[listener] as? FakeListener else { fatalError("no listener") }
    let client = makeStream(receiveCapacity: receiveCapacity, sendCapacity: sendCapacity)
    let ours = makeStream()
    join(client, ours)
    file.arrive(ours, from: peer)
    return client
  }

  func makeStream(receiveCapacity: Int? = nil, sendCapacity: Int? = nil) -> FakeStream {
    let stream = FakeStream(
      chaos: chaos, receiveCapacity: receiveCapacity ?? socketBytes,
      sendCapacity: sendCapacity ?? socketBytes)
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
    stream.state = .connecting
    switch server.manner {
    case .acceptsAtOnce:
      establish(stream, server)
      return .connected
    case .refusesAtOnce: return .failed(.connectionRefused)
    case .hasNoPorts: return .failed(.addressNotAvailable)
    case .isBusy: return .busy
    case .accepts, .refuses, .isSilent, .resets, .isUnreachable:
      connecting.append((stream, server))
      return .inProgress
    }
  }

  private func establish(_ stream: FakeStream, _ server: FakeServer) {
    let end = makeStream(
      receiveCapacity: server.receiveCapacity, sendCapacity: server.sendCapacity)
    join(end, stream)
    server.accepted.append(end)
    server.onAccept(end)
  }

  /// Brings one attempt to connect to what its server wants. Returns whether anything has happened.
  private func progress(_ position: Int) -> Bool {
    let (stream, server) = connecting[position]
    if stream.isClosed {
      connecting.remove(at: position)
      return true
    }
    switch server.manner {
    case .isSilent, .isBusy: return false
    case .refuses, .refusesAtOnce: stream.finishConnecting(with: .connectionRefused)
    case .isUnreachable, .hasNoPorts: stream.finishConnecting(with: .noRouteToHost)
    case .accepts, .acceptsAtOnce, .resets:
      establish(stream, server)
      stream.changed()
      if server.manner == .resets { server.accepted.last?.reset() }
    }
    connecting.remove(at: position)
    return true
  }

  /// Carries everything as far as it goes. Returns whether anything has happened.
  @discardableResult
  func carryAll() -> Bool {
    var hasCarried = false
    for position in connecting.indices.reversed() where progress(position) { hasCarried = true }
    while true {
      var isQuiet = true
      for stream in streams where stream.carry() { isQuiet = false }
      if isQuiet { break }
      hasCarried = true
    }
    streams.removeAll { $0.isClosed && ($0.peer?.isClosed ?? true) }
    return hasCarried
  }

  /// Carries something somewhere.
  func carrySomething() {
    if !connecting.isEmpty, chaos.below(3) == 0 { _ = progress(chaos.below(connecting.count)) }
    guard !streams.isEmpty else { return }
    for _ in 0..<chaos.within(1...8) {
      streams[chaos.below(streams.count)].carry(bytesMax: chaos.within(1...2000))
    }
  }
}
