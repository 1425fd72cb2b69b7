// SPDX-License-Identifier: Apache-2.0
// Host names to addresses with getaddrinfo(3), which blocks for as long as it likes and cannot be
// cancelled. So look-ups run on the threads of a pool that does nothing else, and whoever waits does so
// with a deadline and leaves a look-up behind that does not come back.

import Addressing
import Glibc
import Reactor

/// Why a name has no address.
public struct HostNameError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The name that was looked up.
  public let name: String
  /// Why there is none, in words.
  public let reason: String

  /// Puts the two together.
  public init(name: String, reason: String) {
    self.name = name
    self.reason = reason
  }

  /// Which name, and why.
  public var description: String { "cannot resolve \(name): \(reason)" }
}

/// Looks host names up. Any number of tasks may use one.
public struct HostResolver: Sendable {
  /// Looks up one name. May block for as long as it likes: it runs on the pool's threads. Returns at least
  /// one address, best first, none twice.
  public typealias LookUp = @Sendable (_ name: String) throws(HostNameError) -> [IPAddress]

  private let pool: BlockingPool
  private let lookUp: LookUp

  /// A resolver that looks names up on the threads of `pool`, as many at once as that has. It should do
  /// nothing else: a name server that does not answer holds its threads. `lookUp` is the system's own
  /// way (getaddrinfo(3): /etc/hosts, DNS and whatever else nsswitch.conf(5) names) unless another is
  /// given.
  public init(pool: BlockingPool, lookUp: @escaping LookUp = HostResolver.systemAddresses) {
    self.pool = pool
    self.lookUp = lookUp
  }

  /// The addresses of a host, best first (RFC 6724), none twice, never empty. An IP address stands for
  /// itself and is not looked up.
  ///
  /// Throws `HostNameError` when the name has no address; `WaitError` when the task is cancelled or
  /// `deadline` comes first: the look-up is then left behind, and holds its thread until it returns;
  /// `BlockingPoolError` when the pool does not take it. Loop's thread.
  public func addresses(
    of name: String, until deadline: Instant = .distantFuture
  ) async throws -> [IPAddress] {
    if let address = IPAddress(name) { return [address] }
    return try await pool.run(until: deadline) { [lookUp] in
      let addresses = try lookUp(name)
      guard !addresses.isEmpty else { throw HostNameError.withoutAddress(name) }
      return addresses
    }
  }

  /// Asks the system. Blocks.
  ///
  /// Addresses of a family that this machine has none of are left out (AI_ADDRCONFIG): nobody there
  /// could be reached. Loopback does not count there, so what this leaves nothing of is asked for once
  /// more as it is: a name that stands for ::1 serves where there is no other IPv6.
  @Sendable public static func systemAddresses(
    of name: String
  ) throws(HostNameError) -> [IPAddress] {
    // The C library would look up what is before it.
    guard !name.utf8.contains(0) else {
      throw HostNameError(name: name, reason: "the name holds a NUL")
    }
    let start = LinuxKernel().now()
    do throws(Failure) {
      do throws(Failure) {
        return try addresses(of: name, flags: AI_ADDRCONFIG)
      } catch  where error.saysThatThereIsNone || hasBeenQuick(since: start) {
        return try addresses(of: name, flags: 0)
      }
    } catch {
      throw HostNameError(name: name, reason: error.reason)
    }
  }

  /// Whether asking again cannot take long. Where no name server answers, the C library has waited for it
  /// some seconds, and would again.
  private static func hasBeenQuick(since start: Instant) -> Bool {
    LinuxKernel().now().nanoseconds(since: start) < 1_000_000_000
  }

  private struct Failure: Error {
    let code: CInt
    let reason: String

    static let withoutAddress = Failure(code: EAI_NONAME, reason: "the name has no address")

    /// Whether there was an answer, and no address in it: EAI_NONAME, EAI_NODATA, EAI_ADDRFAMILY.
    var saysThatThereIsNone: Bool { [EAI_NONAME, -5, -9].contains(code) }
  }

  private static func addresses(
    of name: String, flags: CInt
  ) throws(Failure) -> [IPAddress] {
    var hints = addrinfo()
    hints.ai_flags = flags
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(name, nil, &hints, &list)
    guard code == 0 else {
      let reason =
        code == EAI_SYSTEM
        ? Errno(rawValue: errno).description : String(cString: gai_strerror(code))
      throw Failure(code: code, reason: reason)
    }
    defer { freeaddrinfo(list) }
    var addresses: [IPAddress] = []
    var next = list
    while let entry = next {
      next = entry.pointee.ai_next
      guard let address = entry.pointee.ai_addr else { continue }
      var storage = sockaddr_storage()
      let length = min(Int(entry.pointee.ai_addrlen), MemoryLayout<sockaddr_storage>.size)
      withUnsafeMutableBytes(of: &storage) {
        $0.copyMemory(from: UnsafeRawBufferPointer(start: address, count: length))
      }
      guard let ip = PeerAddress(storage).socketAddress?.ip, !addresses.contains(ip) else {
        continue
      }
      addresses.append(ip)
    }
    guard !addresses.isEmpty else { throw .withoutAddress }
    return addresses
  }
}

extension HostNameError {
  fileprivate static func withoutAddress(_ name: String) -> HostNameError {
    HostNameError(name: name, reason: "the name has no address")
  }
}
