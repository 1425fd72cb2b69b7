// SPDX-License-Identifier: Apache-2.0
// Socket addresses as the kernel takes and gives them. `KernelAddress` is a sockaddr made once per
// endpoint, so that connecting copies nothing; `PeerAddress` is what a session remembers of its
// client, in 24 bytes instead of sockaddr_storage's 128.

import Addressing
import Glibc

/// A socket address in the kernel's form (sockaddr(3type)).
public struct KernelAddress: @unchecked Sendable {
  // SAFETY: plain bytes that never change; `sockaddr_storage` is merely not marked Sendable.
  private var storage = sockaddr_storage()
  private var length: socklen_t

  /// Converts an address. Unix paths and names longer than the kernel takes are refused where
  /// addresses are read; here they trap.
  public init(_ address: SocketAddress) {
    switch address {
    case .v4(let ip, let port):
      length = socklen_t(MemoryLayout<sockaddr_in>.size)
      withUnsafeMutableBytes(of: &storage) { bytes in
        let form = bytes.baseAddress!.assumingMemoryBound(to: sockaddr_in.self)
        form.pointee.sin_family = sa_family_t(AF_INET)
        form.pointee.sin_port = port.bigEndian
        form.pointee.sin_addr.s_addr = ip.rawValue.bigEndian
      }
    case .v6(let ip, let port, let zone):
      length = socklen_t(MemoryLayout<sockaddr_in6>.size)
      withUnsafeMutableBytes(of: &storage) { bytes in
        let form = bytes.baseAddress!.assumingMemoryBound(to: sockaddr_in6.self)
        form.pointee.sin6_family = sa_family_t(AF_INET6)
        form.pointee.sin6_port = port.bigEndian
        form.pointee.sin6_scope_id = zone
        withUnsafeMutableBytes(of: &form.pointee.sin6_addr) { target in
          target.storeBytes(of: ip.high.bigEndian, toByteOffset: 0, as: UInt64.self)
          target.storeBytes(of: ip.low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
      }
    case .unix(let path):
      length = KernelAddress.store(Array(path.utf8) + [0], in: &storage)
    case .abstract(let name):
      length = KernelAddress.store([0] + Array(name.utf8), in: &storage)
    }
  }

  private static func store(_ path: [UInt8], in storage: inout sockaddr_storage) -> socklen_t {
    precondition(
      path.count <= SocketAddress.unixPathBytesMax + 1, "the unix socket name is too long")
    storage.ss_family = sa_family_t(AF_UNIX)
    let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)!
    withUnsafeMutableBytes(of: &storage) { bytes in
      bytes[offset...].copyBytes(from: path)
    }
    return socklen_t(offset + path.count)
  }

  /// `AF_INET`, `AF_INET6` or `AF_UNIX`.
  public var family: CInt { CInt(storage.ss_family) }

  /// Whether TCP's options apply.
  public var isIP: Bool { family != AF_UNIX }

  /// Calls `body` with the address as system calls want it.
  public func withSockaddr<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    withUnsafePointer(to: storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }
}

/// Who is at the other end of an accepted connection: 24 bytes of plain data.
public struct PeerAddress: Hashable, Sendable {
  private enum Family: UInt8 {
    case none, v4, v6, unix
  }
  private var high: UInt64 = 0
  private var low: UInt64 = 0
  private var zone: UInt32 = 0
  private var port: UInt16 = 0
  private var family: Family = .none

  /// Nobody, or a kind of address that is not told apart here.
  public static let unknown = PeerAddress()
  /// A client of a unix socket, which as a rule has no name of its own.
  public static let unix = PeerAddress(family: .unix)

  private init() {}

  private init(family: Family) {
    self.family = family
  }

  /// Remembers an address; of a unix socket only that it is one.
  public init(_ address: SocketAddress) {
    switch address {
    case .v4(let ip, let port):
      low = UInt64(ip.rawValue)
      self.port = port
      family = .v4
    case .v6(let ip, let port, let zone):
      high = ip.high
      low = ip.low
      self.port = port
      self.zone = zone
      family = .v6
    case .unix, .abstract:
      family = .unix
    }
  }

  /// Reads what accept4(2) filled in.
  public init(_ storage: sockaddr_storage) {
    switch CInt(storage.ss_family) {
    case AF_INET:
      withUnsafeBytes(of: storage) { bytes in
        let form = bytes.loadUnaligned(as: sockaddr_in.self)
        low = UInt64(UInt32(bigEndian: form.sin_addr.s_addr))
        port = UInt16(bigEndian: form.sin_port)
      }
      family = .v4
    case AF_INET6:
      withUnsafeBytes(of: storage) { bytes in
        let form = bytes.loadUnaligned(as: sockaddr_in6.self)
        zone = form.sin6_scope_id
        port = UInt16(bigEndian: form.sin6_port)
        withUnsafeBytes(of: form.sin6_addr) { ip in
          high = UInt64(bigEndian: ip.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
          low = UInt64(bigEndian: ip.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        }
      }
      family = .v6
    case AF_UNIX:
      family = .unix
    default:
      break
    }
  }

  /// The first bits of an IP client's address, without its port, the rest being 0; `nil` for others. An
  /// IPv4 address is in the lower word's lower half, also one that came as an IPv6 address (RFC 4291,
  /// 2.5.5.2).
  public func prefix(v4 bits4: Int, v6 bits6: Int) -> (high: UInt64, low: UInt64)? {
    switch family {
    case .v4: return (0, PeerAddress.masked(low, bits: bits4 + 32))
    case .v6 where high == 0 && low >> 32 == 0xFFFF:
      return (0, PeerAddress.masked(low & 0xFFFF_FFFF, bits: bits4 + 32))
    case .v6:
      return (PeerAddress.masked(high, bits: bits6), PeerAddress.masked(low, bits: bits6 - 64))
    case .unix, .none: return nil
    }
  }

  /// The first bits of a word; 64 and more are all.
  private static func masked(_ word: UInt64, bits: Int) -> UInt64 {
    // Shifting by more than its width makes 0 of it.
    bits <= 0 ? 0 : word & ~(UInt64.max >> UInt64(bits))
  }

  /// The address and port of an IP client; `nil` for others.
  public var socketAddress: SocketAddress? {
    switch family {
    case .v4: .v4(IPv4Address(rawValue: UInt32(truncatingIfNeeded: low)), port: port)
    case .v6: .v6(IPv6Address(high: high, low: low), port: port, zone: zone)
    case .unix, .none: nil
    }
  }
}

extension PeerAddress: CustomStringConvertible {
  /// `10.0.0.1:4711`, `[2001:db8::1]:4711`, `unix`, or `unknown`.
  public var description: String {
    switch family {
    case .v4, .v6: socketAddress?.description ?? "unknown"
    case .unix: "unix"
    case .none: "unknown"
    }
  }
}
