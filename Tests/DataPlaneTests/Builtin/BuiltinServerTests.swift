// SPDX-License-Identifier: Apache-2.0
// Echo, discard and chargen over real sockets.

import Addressing
import Glibc
import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct BuiltinServerTests {
  private let kernel = LinuxKernel()

  private func connect(_ server: BuiltinServer, _ service: BuiltinService) throws -> CInt {
    let address = KernelAddress(try #require(server.addresses[service]))
    let descriptor = try kernel.makeSocket(for: address, options: StreamOptions())
    #expect(kernel.connect(descriptor, to: address) == .connected)
    return descriptor
  }

  /// Reads until `count` bytes or the end have come, for at most ten seconds.
  private func read(_ descriptor: CInt, _ count: Int) -> (bytes: [UInt8], hasEnded: Bool) {
    let deadline = kernel.now().advanced(by: 10_000_000_000)
    var buffer = [UInt8](repeating: 0, count: 4096)
    var all: [UInt8] = []
    while all.count < count, kernel.now() < deadline {
      switch buffer.withUnsafeMutableBytes({ kernel.receive(descriptor, into: $0) }) {
      case .moved(let moved): all += buffer[..<moved]
      case .wouldBlock: sched_yield()
      case .endOfStream, .failed: return (all, true)
      }
    }
    return (all, false)
  }

  @Test func echoReturnsWhatItGetsAndThenTheEnd() throws {
    let server = try BuiltinServer([.echo], connectionsMax: 4)
    defer { server.stop() }
    let client = try connect(server, .echo)
    defer { kernel.close(client) }
    let sent = Array("hello".utf8)
    #expect(sent.withUnsafeBytes { kernel.send(client, $0) } == .moved(5))
    kernel.shutdownWrite(client)
    let answer = read(client, 100)
    #expect(answer.bytes == sent)
    #expect(answer.hasEnded)
  }

  @Test func discardSaysNothingButTheEnd() throws {
    let server = try BuiltinServer([.discard], connectionsMax: 4)
    defer { server.stop() }
    let client = try connect(server, .discard)
    defer { kernel.close(client) }
    #expect([1, 2].withUnsafeBytes { kernel.send(client, $0) } == .moved(16))
    kernel.shutdownWrite(client)
    let answer = read(client, 1)
    #expect(answer.bytes.isEmpty)
    #expect(answer.hasEnded)
  }

  @Test func chargenSendsLinesThatBeginOneCharacterLaterEach() throws {
    let server = try BuiltinServer([.chargen], connectionsMax: 4)
    defer { server.stop() }
    let client = try connect(server, .chargen)
    defer { kernel.close(client) }
    let bytes = read(client, 148).bytes
    let first = Array(" !\"#".utf8)
    try #require(bytes.count >= 148)
    #expect(Array(bytes[..<4]) == first)
    #expect(Array(bytes[72..<74]) == [13, 10])
    #expect(Array(bytes[74..<77]) == Array(first[1...]))
  }

  @Test func beyondItsBoundItHangsUp() throws {
    let server = try BuiltinServer([.echo], connectionsMax: 1)
    defer { server.stop() }
    let first = try connect(server, .echo)
    #expect([UInt8(1)].withUnsafeBytes { kernel.send(first, $0) } == .moved(1))
    #expect(read(first, 1).bytes == [1])
    let second = try connect(server, .echo)
    #expect(read(second, 1).hasEnded)
    kernel.close(first)
    kernel.close(second)
  }

  /// How many sockets this process has open.
  private static func socketCount() -> Int {
    (0..<1000).count { number in
      var status = stat()
      return fstat(CInt(number), &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    }
  }

  @Test func whateverFailsNoSocketStaysOpen() async {
    // In a process of its own, which may run out of descriptors.
    await #expect(processExitsWith: .success) {
      let before = BuiltinServerTests.socketCount()
      var usual = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &usual)
      // So many descriptors are there for the sockets, the bell and epoll: one too few each time.
      for available: CInt in 0..<5 {
        let next = dup(0)
        close(next)
        var few = usual
        few.rlim_cur = rlim_t(next + available)
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &few)
        let failure = #expect(throws: ListeningSocket.Failure.self) {
          _ = try BuiltinServer(BuiltinService.allCases, connectionsMax: 4)
        }
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &usual)
        #expect(failure?.errno == .tooManyOpenFiles)
        #expect(BuiltinServerTests.socketCount() == before)
      }
    }
  }

  @Test func whereThereIsNoThreadNoSocketStaysOpen() async {
    await #expect(processExitsWith: .success) {
      let before = BuiltinServerTests.socketCount()
      // No thread can be made when each is to have a stack that no memory holds. Swift does not import the
      // function (pthread_setattr_default_np(3)).
      typealias SetDefault = @convention(c) (UnsafeRawPointer) -> CInt
      let symbol = try #require(dlsym(nil, "pthread_setattr_default_np"))
      var attributes = pthread_attr_t()
      pthread_attr_init(&attributes)
      pthread_attr_setstacksize(&attributes, 1 << 50)
      #expect(unsafeBitCast(symbol, to: SetDefault.self)(&attributes) == 0)
      let failure = #expect(throws: ListeningSocket.Failure.self) {
        _ = try BuiltinServer([.echo, .discard], connectionsMax: 4)
      }
      #expect(failure?.action == "starting their thread")
      #expect(BuiltinServerTests.socketCount() == before)
    }
  }

  @Test func oneThatIsStoppedOrDroppedHasNoSocket() async {
    await #expect(processExitsWith: .success) {
      let before = BuiltinServerTests.socketCount()
      let stopped = try BuiltinServer(BuiltinService.allCases, connectionsMax: 4)
      #expect(BuiltinServerTests.socketCount() == before + BuiltinService.allCases.count)
      stopped.stop()
      #expect(BuiltinServerTests.socketCount() == before)
      _ = try BuiltinServer(BuiltinService.allCases, connectionsMax: 4)
      let patience = LinuxKernel().now().advanced(by: 10_000_000_000)
      while BuiltinServerTests.socketCount() != before, LinuxKernel().now() < patience {
        usleep(1000)
      }
      #expect(BuiltinServerTests.socketCount() == before)
    }
  }
}
