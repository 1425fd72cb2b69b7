// SPDX-License-Identifier: Apache-2.0
// Listening sockets, made before any loop runs. What a client connection shall have (no delay,
// keepalive, user timeout) is set once, here: Linux hands the options of a listening socket down to
// every connection it accepts, so that accepting costs no further call.

import Addressing
import CLinux
import Glibc
import SystemPackage

/// A descriptor and the duty to close it.
public struct Descriptor: ~Copyable, Sendable {
  /// The number, valid as long as this value lives.
  public let rawValue: CInt

  /// Takes over an open descriptor.
  public init(owning rawValue: CInt) {
    precondition(rawValue >= 0)
    self.rawValue = rawValue
  }

  /// Gives the descriptor up; the caller closes it.
  public consuming func release() -> CInt {
    let rawValue = rawValue
    discard self
    return rawValue
  }

  deinit {
    close(rawValue)
  }
}

/// A socket that connections arrive at. It is not accepted from here: loops do that with its number.
public struct ListeningSocket: ~Copyable, Sendable {
  /// Why there is no listening socket.
  public struct Failure: Error, CustomStringConvertible, Sendable {
    /// What was being done: `bind`, `listen`, …
    public let action: String
    /// What the kernel answered, if it was the kernel that refused.
    public let errno: Errno?
    /// What to do about it, where that is known.
    public let advice: String?

    /// Puts the parts together.
    public init(action: String, errno: Errno?, advice: String? = nil) {
      self.action = action
      self.errno = errno
      self.advice = advice
    }

    /// What, why, and what to do, in one line.
    public var description: String {
      [action, errno?.description, advice].compactMap { $0 }.joined(separator: ": ")
    }
  }

  private let descriptor: Descriptor
  /// The address it really has: the port that the kernel chose where 0 was asked for.
  public let address: SocketAddress?
  /// The file of a unix socket that this process made, to be removed at the end.
  private let ownedFile: SocketFile?

  /// The number, valid as long as this value lives.
  public var rawValue: CInt { descriptor.rawValue }

  /// Listens at an address. An IPv6 address serves IPv6 alone. A unix socket file that nobody
  /// listens at any more is replaced; one that answers is an error, like a file of another kind.
  /// `fileMode` is what the file of a unix socket gets, whatever the umask; without it, the umask says.
  /// When it throws, no file of its own is left.
  ///
  /// May block only as long as the file system does.
  public init(
    at address: SocketAddress, backlog: Int, options: StreamOptions, fileMode: mode_t? = nil
  ) throws(Failure) {
    let family = KernelAddress(address).family
    try self.init(
      family: family, address: address, isDual: false, backlog: backlog, options: options,
      fileMode: fileMode)
  }

  /// Listens at a port of every address of the machine, IPv6 and IPv4 with one socket; where there
  /// is no IPv6, IPv4 alone.
  public init(port: UInt16, backlog: Int, options: StreamOptions) throws(Failure) {
    do throws(Failure) {
      try self.init(
        family: AF_INET6, address: .v6(.any, port: port), isDual: true, backlog: backlog,
        options: options)
    } catch {
      guard error.errno == .addressFamilyNotSupported || error.errno == .addressNotAvailable else {
        throw error
      }
      try self.init(
        family: AF_INET, address: .v4(.any, port: port), isDual: false, backlog: backlog,
        options: options)
    }
  }

  /// Takes over a socket that the parent process has bound (`fd:N`, systemd's `LISTEN_FDS`).
  /// Refused: what is no stream socket, and families whose addresses nothing here can tell.
  public init(inherited number: CInt, backlog: Int, options: StreamOptions) throws(Failure) {
    let type = clinux_get_option(number, SOL_SOCKET, SO_TYPE)
    guard type >= 0 else {
      let advice = type == -EBADF ? "the parent process passed no descriptor \(number)" : nil
      throw Failure(action: "taking over", errno: Errno(rawValue: -type), advice: advice)
    }
    guard type == CInt(SOCK_STREAM.rawValue) else {
      throw Failure(
        action: "taking over", errno: nil, advice: "descriptor \(number) is no stream socket")
    }
    let family = clinux_get_option(number, SOL_SOCKET, SO_DOMAIN)
    guard [AF_INET, AF_INET6, AF_UNIX].contains(family) else {
      throw Failure(
        action: "taking over", errno: nil,
        advice: "descriptor \(number) is neither an IPv4, an IPv6 nor a unix socket "
          + "(address family \(family))")
    }
    // From here on it is ours. It must neither block the loop nor reach a child.
    let descriptor = Descriptor(owning: number)
    _ = fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK)
    _ = fcntl(number, F_SETFD, FD_CLOEXEC)
    if family != AF_UNIX { setStreamOptions(number, options) }
    guard listen(number, CInt(clamping: backlog)) == 0 else {
      let code = errno
      // It stays open: closed, its number could be given to another socket, and be taken over in its place.
      _ = descriptor.release()
      throw Failure(action: "listen", errno: Errno(rawValue: code), advice: nil)
    }
    self.descriptor = descriptor
    // A socket that nobody has bound gets its port only now.
    self.address = boundAddress(number)
    ownedFile = nil
  }

  private init(
    family: CInt, address: SocketAddress, isDual: Bool, backlog: Int, options: StreamOptions,
    fileMode: mode_t? = nil
  ) throws(Failure) {
    let type =
      CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue)
      | CInt(SOCK_CLOEXEC.rawValue)
    let number = socket(family, type, 0)
    guard number != -1 else {
      throw Failure(action: "socket", errno: Errno(rawValue: errno), advice: nil)
    }
    let descriptor = Descriptor(owning: number)
    if family != AF_UNIX {
      // Without this a restart waits for the last process's connections to leave TIME_WAIT.
      _ = clinux_set_option(number, SOL_SOCKET, SO_REUSEADDR, 1)
      setStreamOptions(number, options)
    }
    if family == AF_INET6 {
      _ = clinux_set_option(number, CInt(IPPROTO_IPV6), IPV6_V6ONLY, isDual ? 0 : 1)
    }
    if case .unix(let path) = address { try removeStaleSocket(path) }
    let kernelAddress = KernelAddress(address)
    guard kernelAddress.withSockaddr({ bind(number, $0, $1) }) == 0 else {
      let code = errno
      throw Failure(
        action: "bind", errno: Errno(rawValue: code), advice: bindAdvice(code, address))
    }
    // From here on the file of a unix socket is ours, and is removed when something fails.
    var file: SocketFile?
    if case .unix(let path) = address {
      file = SocketFile(path)
      // Before anybody can connect: that takes `listen`.
      if let fileMode, chmod(path, fileMode) == -1 {
        let code = errno
        file?.remove()
        throw Failure(action: "chmod", errno: Errno(rawValue: code), advice: nil)
      }
    }
    guard listen(number, CInt(clamping: backlog)) == 0 else {
      let code = errno
      file?.remove()
      throw Failure(
        action: "listen", errno: Errno(rawValue: code), advice: bindAdvice(code, address))
    }
    self.descriptor = descriptor
    self.address = address.port == 0 ? boundAddress(number) ?? address : address
    ownedFile = file
  }

  /// Changes what was asked for when it was made, for connections that arrive from now on; those that
  /// wait already keep what they have. Throws when the kernel refuses.
  public borrowing func change(backlog: Int, options: StreamOptions) throws(Failure) {
    // Linux takes a second listen(2) as a new backlog, and nobody is turned away meanwhile.
    guard listen(rawValue, CInt(clamping: backlog)) == 0 else {
      throw Failure(action: "listen", errno: Errno(rawValue: errno))
    }
    if clinux_get_option(rawValue, SOL_SOCKET, SO_DOMAIN) != AF_UNIX {
      changeStreamOptions(rawValue, options)
    }
  }

  /// Removes the file of a unix socket that this process made, if it is still there: somebody else
  /// may have put another in its place. Call once, when listening ends.
  public borrowing func removeOwnedPath() {
    ownedFile?.remove()
  }

  /// Gives the socket up; the caller closes it.
  public consuming func release() -> CInt {
    descriptor.release()
  }
}

/// A file as the file system knows it, not only by its name.
private struct SocketFile: Equatable {
  let path: String
  let device: dev_t
  let inode: ino_t

  /// What is at `path` now, `nil` if nothing is.
  init?(_ path: String) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return nil }
    self.path = path
    device = status.st_dev
    inode = status.st_ino
  }

  /// Removes it, unless another file is at its path by now. To be called while its socket is open: that
  /// holds on to the inode, so that no other file can have the number.
  func remove() {
    if SocketFile(path) == self { unlink(path) }
  }
}

private func bindAdvice(_ code: CInt, _ address: SocketAddress) -> String? {
  switch code {
  case EADDRINUSE:
    "another process listens there already (see: ss --listening --processes)"
  case EACCES where (address.port ?? 1024) < 1024:
    "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE"
  case EADDRNOTAVAIL:
    "this machine does not have that address"
  case ENOENT:
    "the folder of the socket does not exist"
  default: nil
  }
}

/// Makes room for a unix socket: its file stays behind when a process ends without removing it.
private func removeStaleSocket(_ path: String) throws(ListeningSocket.Failure) {
  var status = stat()
  guard lstat(path, &status) == 0 else { return }
  guard status.st_mode & S_IFMT == S_IFSOCK else {
    throw ListeningSocket.Failure(
      action: "bind", errno: .fileExists, advice: "\(path) is a file of another kind; remove it")
  }
  let number = socket(
    AF_UNIX,
    CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
      | CInt(SOCK_NONBLOCK.rawValue), 0)
  guard number != -1 else { return }
  let probe = Descriptor(owning: number)
  let address = KernelAddress(.unix(path: path))
  let result = address.withSockaddr { connect(probe.rawValue, $0, $1) }
  switch result == 0 ? 0 : errno {
  case ECONNREFUSED:
    // Only this proves that nobody listens.
    unlink(path)
  case ENOENT:
    break  // Somebody else has just removed it.
  case 0, EAGAIN:
    // EAGAIN: somebody listens and the queue is full.
    throw ListeningSocket.Failure(
      action: "bind", errno: .addressInUse, advice: "another process listens at \(path)")
  case let code:
    throw ListeningSocket.Failure(
      action: "cannot tell whether somebody listens at \(path)", errno: Errno(rawValue: code),
      advice: "remove the file if nobody does")
  }
}

/// The address that a socket is bound to, `nil` if it has none that can be told.
public func boundAddress(_ descriptor: CInt) -> SocketAddress? {
  var storage = sockaddr_storage()
  var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
  let result = withUnsafeMutablePointer(to: &storage) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      getsockname(descriptor, $0, &length)
    }
  }
  guard result == 0 else { return nil }
  if let address = PeerAddress(storage).socketAddress { return address }
  guard CInt(storage.ss_family) == AF_UNIX else { return nil }
  let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)!
  return withUnsafeBytes(of: storage) { bytes -> SocketAddress? in
    let name = bytes[offset..<min(Int(length), bytes.count)]
    guard let first = name.first else { return nil }
    if first == 0 { return .abstract(name: String(decoding: name.dropFirst(), as: UTF8.self)) }
    return .unix(path: String(decoding: name.prefix { $0 != 0 }, as: UTF8.self))
  }
}
