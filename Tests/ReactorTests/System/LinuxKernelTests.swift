// SPDX-License-Identifier: Apache-2.0
// The real calls over loopback: what the data plane takes for granted about Linux.

import Addressing
import CLinux
import Glibc
import Reactor
import Testing

/// Whether this machine has the IPv6 loopback address.
private let hasIPv6: Bool = {
  let address = KernelAddress(.v6(.loopback, port: 0))
  let number = socket(AF_INET6, CInt(SOCK_STREAM.rawValue), 0)
  guard number != -1 else { return false }
  defer { close(number) }
  return address.withSockaddr { bind(number, $0, $1) } == 0
}()

@Suite struct LinuxKernelTests {
  private let kernel = LinuxKernel()

  /// Asks until there is an answer, for at most ten seconds.
  private func wait<Value>(_ body: () -> Value?) throws -> Value {
    let deadline = kernel.now().advanced(by: 10_000_000_000)
    while kernel.now() < deadline {
      if let value = body() { return value }
      sched_yield()
    }
    throw Late()
  }
  private struct Late: Error {}

  private func connectedPair(_ options: StreamOptions) throws -> (client: CInt, server: CInt) {
    let listener = try ListeningSocket(
      at: .v4(IPv4Address(rawValue: 0x7F00_0001), port: 0), backlog: 16, options: options)
    let bound = listener.address
    let address = KernelAddress(try #require(bound))
    let client = try kernel.makeSocket(for: address, options: StreamOptions())
    let progress = kernel.connect(client, to: address)
    #expect(progress == .inProgress || progress == .connected)
    let number = listener.rawValue
    let server = try wait { () -> CInt? in
      if case .accepted(let descriptor, _) = kernel.accept(from: number) { descriptor } else { nil }
    }
    return (client, server)
  }

  private func receive(_ descriptor: CInt) throws -> (Transfer, [UInt8]) {
    var bytes = [UInt8](repeating: 0, count: 100)
    let transfer = try wait {
      let transfer = bytes.withUnsafeMutableBytes { kernel.receive(descriptor, into: $0) }
      return transfer == .wouldBlock ? nil : transfer
    }
    if case .moved(let count) = transfer { return (transfer, Array(bytes[..<count])) }
    return (transfer, [])
  }

  private func unixPair() -> (CInt, CInt) {
    var ends: [CInt] = [-1, -1]
    let type = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue)
    #expect(socketpair(AF_UNIX, type, 0, &ends) == 0)
    return (ends[0], ends[1])
  }

  private func send(_ descriptor: CInt, _ count: Int) -> Transfer {
    [UInt8](repeating: 7, count: count).withUnsafeBytes { kernel.send(descriptor, $0) }
  }

  /// Writes until the kernel takes no more. Returns how many bytes it has taken.
  private func fill(_ descriptor: CInt) -> Int {
    var sum = 0
    while case .moved(let count) = send(descriptor, 65_536) { sum += count }
    return sum
  }

  /// Binds a socket to a loopback port and connects it to the same port.
  private func connectToItself(_ ip: SocketAddress) throws -> CInt {
    let any = KernelAddress(ip)
    let descriptor = try kernel.makeSocket(for: any, options: StreamOptions())
    #expect(any.withSockaddr { bind(descriptor, $0, $1) } == 0)
    let own = KernelAddress(try #require(boundAddress(descriptor)))
    #expect([.connected, .inProgress].contains(kernel.connect(descriptor, to: own)))
    return descriptor
  }

  @Test func aSocketThatIsConnectedToItselfIsRecognised() throws {
    let descriptor = try connectToItself(.v4(IPv4Address(rawValue: 0x7F00_0001), port: 0))
    defer { kernel.close(descriptor) }
    // It is a connection: what it sends comes back.
    #expect(kernel.takeError(descriptor) == nil)
    #expect(send(descriptor, 3) == .moved(3))
    #expect(try receive(descriptor).1 == [7, 7, 7])
    #expect(kernel.isConnectedToItself(descriptor))
  }

  @Test(.enabled(if: hasIPv6)) func soIsOneOfIPv6() throws {
    let descriptor = try connectToItself(.v6(.loopback, port: 0))
    defer { kernel.close(descriptor) }
    #expect(kernel.isConnectedToItself(descriptor))
  }

  @Test func otherSocketsAreNotConnectedToThemselves() throws {
    let (client, server) = try connectedPair(StreamOptions())
    #expect(!kernel.isConnectedToItself(client))
    #expect(!kernel.isConnectedToItself(server))
    let (one, other) = unixPair()
    #expect(!kernel.isConnectedToItself(one))
    let fresh = try kernel.makeSocket(
      for: KernelAddress(.v4(IPv4Address(rawValue: 0x7F00_0001), port: 1)), options: StreamOptions()
    )
    #expect(!kernel.isConnectedToItself(fresh))
    for descriptor in [client, server, one, other, fresh] { kernel.close(descriptor) }
  }

  @Test func peekingFindsWhatAReadWouldAndTakesNoBytes() throws {
    let (client, server) = try connectedPair(StreamOptions())
    #expect(kernel.peekEnd(server) == .nothing)
    #expect(send(client, 1) == .moved(1))
    kernel.shutdownWrite(client)
    #expect(try wait { kernel.peekEnd(server) == .nothing ? nil : true })
    #expect(kernel.peekEnd(server) == .bytes)
    #expect(kernel.peekEnd(server) == .bytes)
    #expect(try receive(server).1 == [7])
    #expect(try wait { kernel.peekEnd(server) == .endOfStream ? true : nil })
    #expect(try receive(server).0 == .endOfStream)
    kernel.close(client)
    kernel.close(server)
  }

  @Test func peekingTakesAnError() throws {
    let (client, server) = try connectedPair(StreamOptions())
    kernel.reset(client)
    let found = try wait { () -> PeekedEnd? in
      let found = kernel.peekEnd(server)
      return found == .nothing ? nil : found
    }
    #expect(found == .failed(.connectionReset))
    #expect(kernel.takeError(server) == nil)
    #expect(kernel.peekEnd(server) == .endOfStream)
    kernel.close(server)
  }

  @Test func aUnixSocketWhoseInputIsDrainedAfterShutdownGivesItsPeerNoError() throws {
    let (ours, peers) = unixPair()
    #expect(send(peers, 3) == .moved(3))
    #expect(send(ours, 5) == .moved(5))
    kernel.shutdownRead(ours)
    #expect(send(peers, 1) == .failed(.brokenPipe))
    #expect(kernel.peekEnd(ours) == .bytes)
    #expect(try receive(ours).1.count == 3)
    #expect(kernel.peekEnd(ours) == .endOfStream)
    kernel.close(ours)
    #expect(try receive(peers).1.count == 5)
    #expect(try receive(peers).0 == .endOfStream)
    kernel.close(peers)
  }

  @Test func aUnixSocketThatIsClosedWithUnreadInputGivesItsPeerAnError() throws {
    let (ours, peers) = unixPair()
    #expect(send(peers, 3) == .moved(3))
    kernel.shutdownRead(ours)
    kernel.close(ours)
    #expect(try receive(peers).0 == .failed(.connectionReset))
    kernel.close(peers)
  }

  @Test func theEndOfATCPStreamCountsAsOneByteUntilItIsAcknowledged() throws {
    let (client, server) = try connectedPair(StreamOptions())
    _ = fill(client)
    // The peer reads nothing and its window is closed, so what is left stays.
    var unsent = -1
    _ = try wait { () -> Bool? in
      defer { unsent = kernel.sendQueueBytes(client) }
      return unsent == kernel.sendQueueBytes(client) && unsent > 0 ? true : nil
    }
    kernel.shutdownWrite(client)
    #expect(kernel.sendQueueBytes(client) == unsent + 1)
    while try receive(server).0 != .endOfStream {}
    #expect(try wait { kernel.sendQueueBytes(client) == 0 ? true : nil })
    kernel.close(client)
    kernel.close(server)
  }

  @Test func theSendQueueOfAFailedTCPConnectionKeepsItsLength() throws {
    let (client, server) = try connectedPair(StreamOptions())
    let written = fill(client)
    kernel.reset(server)
    _ = try wait { kernel.peekEnd(client) == .nothing ? nil : true }
    let left = kernel.sendQueueBytes(client)
    #expect(left > 0 && left < written)
    #expect(kernel.sendQueueBytes(client) == left)
    kernel.close(client)
  }

  @Test func theSendQueueOfAUnixSocketIsMemoryThatIsFreedByTheMessage() throws {
    let (ours, peers) = unixPair()
    #expect(send(ours, 100) == .moved(100))
    let one = kernel.sendQueueBytes(ours)
    #expect(one > 100)
    #expect(send(ours, 100) == .moved(100))
    #expect(kernel.sendQueueBytes(ours) == 2 * one)
    kernel.shutdownWrite(ours)
    #expect(kernel.sendQueueBytes(ours) == 2 * one)
    var byte: UInt8 = 0
    #expect(recv(peers, &byte, 1, 0) == 1)
    #expect(kernel.sendQueueBytes(ours) == 2 * one)
    #expect(try receive(peers).1.count == 100)
    #expect(kernel.sendQueueBytes(ours) == one)
    #expect(try receive(peers).1.count == 99)
    #expect(kernel.sendQueueBytes(ours) == 0)
    kernel.close(ours)
    kernel.close(peers)
  }

  @Test func aResetIsSeenAfterTheData() throws {
    let (client, server) = try connectedPair(StreamOptions())
    #expect([1, 2, 3].withUnsafeBytes { kernel.send(client, $0) } == .moved(24))
    _ = try wait { kernel.sendQueueBytes(client) == 0 ? true : nil }
    kernel.reset(client)
    #expect(try receive(server).1.count == 24)
    #expect(try receive(server).0 == .failed(.connectionReset))
    #expect(try receive(server).0 == .endOfStream)
    kernel.close(server)
  }

  @Test func acceptedSocketsInheritTheListenersOptions() throws {
    let options = StreamOptions(noDelay: true, keepaliveSeconds: 77, userTimeoutMilliseconds: 4321)
    let (client, server) = try connectedPair(options)
    let tcp = CInt(IPPROTO_TCP)
    #expect(clinux_get_option(server, tcp, TCP_NODELAY) != 0)
    #expect(clinux_get_option(server, SOL_SOCKET, SO_KEEPALIVE) != 0)
    #expect(clinux_get_option(server, tcp, clinux_tcp_keepidle) == 77)
    #expect(clinux_get_option(server, tcp, clinux_tcp_keepintvl) == 9)
    #expect(clinux_get_option(server, tcp, clinux_tcp_keepcnt) == 9)
    #expect(clinux_get_option(server, tcp, clinux_tcp_user_timeout) == 4321)
    kernel.close(client)
    kernel.close(server)
  }

  @Test func bytesAreSplicedThroughAPipe() throws {
    let (client, server) = try connectedPair(StreamOptions())
    let pipe = try kernel.makePipe(bytes: 65_536)
    #expect(
      [UInt8](repeating: 9, count: 50).withUnsafeBytes { kernel.send(client, $0) } == .moved(50))
    let filled = try wait { () -> Transfer? in
      let transfer = kernel.splice(from: server, to: pipe.writeEnd, bytesMax: 1000)
      return transfer == .wouldBlock ? nil : transfer
    }
    #expect(filled == .moved(50))
    #expect(kernel.splice(from: pipe.readEnd, to: server, bytesMax: 50) == .moved(50))
    #expect(try receive(client).1 == [UInt8](repeating: 9, count: 50))
    kernel.shutdownWrite(client)
    #expect(try receive(server).0 == .endOfStream)
    for descriptor in [client, server, pipe.readEnd, pipe.writeEnd] { kernel.close(descriptor) }
  }
}
