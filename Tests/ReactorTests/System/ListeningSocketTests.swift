// SPDX-License-Identifier: Apache-2.0
// Real listening sockets of every kind, and what stands in their way.

import Addressing
import CLinux
import Glibc
import Reactor
import Testing

/// Whether this machine has the IPv6 loopback address.
private let hasIPv6: Bool = {
  do throws(ListeningSocket.Failure) {
    _ = try ListeningSocket(at: .v6(.loopback, port: 0), backlog: 1, options: StreamOptions())
    return true
  } catch {
    return false
  }
}()

@Suite struct ListeningSocketTests {
  private func listen(_ text: String) throws -> SocketAddress? {
    let address = try #require(SocketAddress(text))
    return try ListeningSocket(at: address, backlog: 4, options: StreamOptions()).address
  }

  private func failure(_ address: SocketAddress) -> ListeningSocket.Failure? {
    do throws(ListeningSocket.Failure) {
      _ = try ListeningSocket(at: address, backlog: 4, options: StreamOptions())
      return nil
    } catch {
      return error
    }
  }

  private func temporaryPath() -> String {
    "/tmp/sluice-test-\(getpid())-\(UInt64.random(in: .min ... .max)).sock"
  }

  @Test(arguments: hasIPv6 ? ["127.0.0.1:0", "[::1]:0"] : ["127.0.0.1:0"])
  func thePortThatTheKernelChoseIsTold(_ text: String) throws {
    #expect(try listen(text)?.port != 0)
  }

  @Test func aPortAloneServesBothFamilies() throws {
    let socket = try ListeningSocket(port: 0, backlog: 4, options: StreamOptions())
    let bound = socket.address
    let port = try #require(bound?.port)
    let kernel = LinuxKernel()
    let address = KernelAddress(.v4(IPv4Address(rawValue: 0x7F00_0001), port: port))
    let client = try kernel.makeSocket(for: address, options: StreamOptions())
    let progress = kernel.connect(client, to: address)
    #expect(progress == .inProgress || progress == .connected)
    kernel.close(client)
  }

  @Test func anAddressInUseIsExplained() throws {
    let first = try ListeningSocket(
      at: .v4(IPv4Address(rawValue: 0x7F00_0001), port: 0), backlog: 4, options: StreamOptions())
    let bound = first.address
    let failure = failure(try #require(bound))
    #expect(failure?.errno == .addressInUse)
    #expect(failure?.advice?.contains("another process") == true)
  }

  @Test func whatItIsAskedForCanBeChangedBothWays() throws {
    let tcp = CInt(IPPROTO_TCP)
    let some = StreamOptions(
      noDelay: true, keepaliveSeconds: 33, userTimeoutMilliseconds: 4000, unsentBytesMax: 5000)
    let socket = try ListeningSocket(
      at: .v4(IPv4Address(rawValue: 0x7F00_0001), port: 0), backlog: 4, options: StreamOptions())
    let number = socket.rawValue
    func option(_ level: CInt, _ name: CInt) -> CInt { clinux_get_option(number, level, name) }
    for options in [some, StreamOptions(), some] {
      try socket.change(backlog: 8, options: options)
      let isOn = options == some
      #expect((option(tcp, TCP_NODELAY) != 0) == isOn)
      #expect((option(SOL_SOCKET, SO_KEEPALIVE) != 0) == isOn)
      #expect(option(tcp, clinux_tcp_user_timeout) == (isOn ? 4000 : 0))
      #expect(option(tcp, clinux_tcp_notsent_lowat) == (isOn ? 5000 : 0))
      if isOn { #expect(option(tcp, clinux_tcp_keepidle) == 33) }
    }
  }

  @Test func aStaleSocketFileIsReplacedAndALiveOneIsNot() throws {
    let path = temporaryPath()
    defer { unlink(path) }
    _ = try ListeningSocket(at: .unix(path: path), backlog: 4, options: StreamOptions())
    let live = try ListeningSocket(at: .unix(path: path), backlog: 4, options: StreamOptions())
    #expect(failure(.unix(path: path))?.errno == .addressInUse)
    live.removeOwnedPath()
    #expect(access(path, F_OK) == -1)
  }

  @Test(arguments: [0o600, 0o660, 0o777] as [mode_t])
  func theFileOfASocketHasTheModeThatIsAskedFor(_ mode: mode_t) throws {
    let path = temporaryPath()
    let socket = try ListeningSocket(
      at: .unix(path: path), backlog: 4, options: StreamOptions(), fileMode: mode)
    defer { socket.removeOwnedPath() }
    var status = stat()
    #expect(stat(path, &status) == 0)
    #expect(status.st_mode & 0o7777 == mode)
  }

  /// The calls that come after bind(2), by their numbers.
  private enum LateCall: Int, CaseIterable, Codable {
    case listen, chmod

    #if arch(x86_64)
      var numbers: [UInt64] { self == .listen ? [50] : [90, 268, 452] }
    #else
      var numbers: [UInt64] { self == .listen ? [201] : [53, 452] }
    #endif
    var action: String { self == .listen ? "listen" : "chmod" }
  }

  @Test(arguments: LateCall.allCases)
  private func noFileOfOneThatFailsAfterBindIsLeft(_ call: LateCall) async {
    // In a process of its own, since a filter of seccomp(2) stays.
    await #expect(processExitsWith: .success) { [call] in
      let tests = ListeningSocketTests()
      let path = tests.temporaryPath()
      defer { unlink(path) }
      for number in call.numbers { refuseCall(number, with: EACCES) }
      let failure = #expect(throws: ListeningSocket.Failure.self) {
        _ = try ListeningSocket(
          at: .unix(path: path), backlog: 4, options: StreamOptions(), fileMode: 0o600)
      }
      #expect(failure?.action == call.action)
      #expect(failure?.errno == .permissionDenied)
      #expect(access(path, F_OK) == -1)
    }
  }

  @Test func aSocketFileThatSomebodyElseHasPutThereIsLeft() throws {
    let path = temporaryPath()
    defer { unlink(path) }
    let first = try ListeningSocket(at: .unix(path: path), backlog: 4, options: StreamOptions())
    unlink(path)
    let second = try ListeningSocket(at: .unix(path: path), backlog: 4, options: StreamOptions())
    first.removeOwnedPath()
    #expect(access(path, F_OK) == 0)
    second.removeOwnedPath()
    #expect(access(path, F_OK) == -1)
  }

  @Test func aSocketThatCannotBeAskedIsNotSaidToBeInUse() {
    let path = temporaryPath()
    defer { unlink(path) }
    // A stream cannot be connected to it: nobody knows whether somebody uses it.
    let datagram = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
    defer { close(datagram) }
    let address = KernelAddress(.unix(path: path))
    #expect(address.withSockaddr { bind(datagram, $0, $1) } == 0)
    let failure = failure(.unix(path: path))
    #expect(failure?.errno?.rawValue == EPROTOTYPE)
    #expect(failure?.action == "cannot tell whether somebody listens at \(path)")
    #expect(access(path, F_OK) == 0)
  }

  @Test func aFileOfAnotherKindIsLeftAlone() {
    let path = temporaryPath()
    close(open(path, O_CREAT | O_WRONLY, 0o600))
    defer { unlink(path) }
    #expect(failure(.unix(path: path))?.errno == .fileExists)
    #expect(access(path, F_OK) == 0)
  }

  @Test func anAbstractNameIsListenedAt() throws {
    let name = "sluice-test-\(UInt64.random(in: .min ... .max))"
    #expect(try listen("unix:@\(name)") == .abstract(name: name))
  }

  @Test func anInheritedSocketIsTakenOverAndWhatIsNoneIsRefused() throws {
    let number = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    let taken = try ListeningSocket(inherited: number, backlog: 4, options: StreamOptions())
    let bound = taken.address
    #expect(bound?.port != 0)
    let datagram = socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
    defer { close(datagram) }
    #expect(throws: ListeningSocket.Failure.self) {
      _ = try ListeningSocket(inherited: datagram, backlog: 4, options: StreamOptions())
    }
  }

  private static let virtualMachines: CInt = 40  // AF_VSOCK, which Glibc does not import.

  /// Whether the kernel has this family.
  private static func has(_ family: CInt) -> Bool {
    let number = socket(family, CInt(SOCK_STREAM.rawValue), 0)
    if number != -1 { close(number) }
    return number != -1
  }

  @Test(.enabled(if: has(virtualMachines))) func anInheritedSocketOfAnotherFamilyIsRefused() {
    let number = socket(ListeningSocketTests.virtualMachines, CInt(SOCK_STREAM.rawValue), 0)
    defer { close(number) }
    let failure = #expect(throws: ListeningSocket.Failure.self) {
      _ = try ListeningSocket(inherited: number, backlog: 4, options: StreamOptions())
    }
    #expect(failure?.description.contains("neither an IPv4, an IPv6 nor a unix socket") == true)
    #expect(fcntl(number, F_GETFD) != -1)
  }

  @Test(arguments: [AF_INET, AF_INET6, AF_UNIX])
  func inheritedSocketsOfTheseFamiliesAreTakenOver(_ family: CInt) throws {
    let number = socket(family, CInt(SOCK_STREAM.rawValue), 0)
    if family == AF_UNIX {
      let name = KernelAddress(.abstract(name: "sluice-test-\(UInt64.random(in: .min ... .max))"))
      #expect(name.withSockaddr { bind(number, $0, $1) } == 0)
    }
    let taken = try ListeningSocket(inherited: number, backlog: 4, options: StreamOptions())
    #expect(taken.rawValue == number)
  }
}

/// Has a system call fail on this thread, and on those that it starts (seccomp(2)).
private func refuseCall(_ number: UInt64, with refusal: CInt) {
  // The instructions of a filter (struct sock_filter): code, two jumps, a value.
  func instruction(_ code: UInt64, _ isTrue: UInt64, _ isFalse: UInt64, _ value: UInt64) -> UInt64 {
    code | isTrue << 16 | isFalse << 24 | value << 32
  }
  var filter = [
    instruction(0x20, 0, 0, 0),  // Load the number of the call.
    instruction(0x15, 0, 1, number),  // Is it this one?
    instruction(0x06, 0, 0, 0x0005_0000 | UInt64(refusal)),  // SECCOMP_RET_ERRNO
    instruction(0x06, 0, 0, 0x7FFF_0000),  // SECCOMP_RET_ALLOW
  ]
  // prctl(2) is variadic, which Swift does not import.
  typealias Control = @convention(c) (CInt, UInt, UInt, UInt, UInt) -> CInt
  guard let symbol = dlsym(nil, "prctl") else { return }
  let control = unsafeBitCast(symbol, to: Control.self)
  let result = filter.withUnsafeMutableBytes { instructions in
    // struct sock_fprog: a count of 16 bits, and a pointer.
    var program: (UInt64, UnsafeMutableRawPointer?) = (4, instructions.baseAddress)
    return withUnsafeMutableBytes(of: &program) { program in
      control(38, 1, 0, 0, 0)  // PR_SET_NO_NEW_PRIVS
        | control(22, 2, UInt(bitPattern: program.baseAddress), 0, 0)  // PR_SET_SECCOMP, a filter
    }
  }
  #expect(result == 0)
}
