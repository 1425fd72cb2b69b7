// SPDX-License-Identifier: Apache-2.0
// The real calls over loopback: what the data plane takes for granted about Linux.

import Addressing
import CLinux
import Glibc
import Reactor
import Testing

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
