// SPDX-License-Identifier: Apache-2.0
// The real kernel. Each call maps its error numbers once, here: EINTR is retried (but for close),
// EAGAIN is an ordinary answer, EBADF and EFAULT are our own bugs and trap where they happen, the
// rest is for the caller to judge.

import Addressing
import CLinux
import Glibc
import SystemPackage

/// The system calls of Linux; `Kernel` says what each of them does.
// swift-format-ignore: AllPublicDeclarationsHaveDocumentation
public struct LinuxKernel: Kernel, Sendable {
  /// There is one kernel; this is a name for it.
  public init() {}

  public func now() -> Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
  }

  // MARK: Polling

  public func makePoll() throws(Errno) -> CInt {
    try value(of: clinux_epoll_create())
  }

  public func register(
    _ descriptor: CInt, with poll: CInt, for interest: Interest, token: Token
  ) throws(Errno) {
    _ = try value(of: clinux_epoll_add(poll, descriptor, interest.rawValue, token.rawValue))
  }

  public func deregister(_ descriptor: CInt, from poll: CInt) {
    let result = clinux_epoll_remove(poll, descriptor)
    precondition(result == 0, "removing a descriptor from epoll: \(Errno(rawValue: -result))")
  }

  public func wait(
    poll: CInt, into events: UnsafeMutableBufferPointer<clinux_event>, timeoutMilliseconds: CInt
  ) -> Int {
    let count = clinux_epoll_wait(
      poll, events.baseAddress, CInt(truncatingIfNeeded: events.count), timeoutMilliseconds)
    // An interrupted wait is a wait without events: the turn goes on and waits again.
    if count == -EINTR { return 0 }
    precondition(count >= 0, "waiting for events: \(Errno(rawValue: -count))")
    return Int(count)
  }

  public func sleep(nanoseconds: UInt64) {
    var time = timespec(
      tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
    // EINTR: a signal ends the sleep early, which does no harm.
    _ = clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nil)
  }

  public func makeBell() throws(Errno) -> CInt {
    try value(of: clinux_eventfd())
  }

  public func ring(_ bell: CInt) {
    var one: UInt64 = 1
    // EAGAIN: the counter is full, so the bell is ringing already.
    while write(bell, &one, 8) == -1, errno == EINTR {}
  }

  public func silence(_ bell: CInt) {
    var count: UInt64 = 0
    while read(bell, &count, 8) == -1, errno == EINTR {}
  }

  // MARK: Connections

  public func accept(from listener: CInt) -> Acceptance {
    var storage = sockaddr_storage()
    var length = UInt32(MemoryLayout<sockaddr_storage>.size)
    while true {
      let result = withUnsafeMutablePointer(to: &storage) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          clinux_accept(listener, $0, &length)
        }
      }
      if result >= 0 { return .accepted(descriptor: result, peer: PeerAddress(storage)) }
      switch -result {
      case EINTR: continue
      case EAGAIN: return .wouldBlock
      case EBADF, EFAULT: trap("accept", -result)
      // The errors of the connection itself, and those of the network that accept(2) says to treat
      // like EAGAIN: the next connection may be sound.
      case ECONNABORTED, EPERM, ENETDOWN, EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
        ENETUNREACH, EOPNOTSUPP, ETIMEDOUT:
        return .aborted(Errno(rawValue: -result))
      default: return .failed(Errno(rawValue: -result))
      }
    }
  }

  public func makeSocket(
    for address: KernelAddress, options: StreamOptions
  ) throws(Errno) -> CInt {
    let type =
      CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue)
      | CInt(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(address.family, type, 0)
    guard descriptor != -1 else { throw Errno(rawValue: errno) }
    if address.isIP {
      keepUrgentDataInPlace(descriptor)
      if options.userTimeoutMilliseconds < lastingUserTimeoutMilliseconds {
        setUserTimeout(descriptor, options.userTimeoutMilliseconds)
      }
    }
    return descriptor
  }

  public func setNoDelay(_ descriptor: CInt) {
    _ = clinux_set_option(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, 1)
  }

  public func setLastingOptions(_ descriptor: CInt, _ options: StreamOptions) {
    setKeepalive(descriptor, options.keepaliveSeconds, unlessPresent: .usual)
    if options.userTimeoutMilliseconds >= lastingUserTimeoutMilliseconds {
      setUserTimeout(descriptor, options.userTimeoutMilliseconds)
    }
    setUnsentMax(descriptor, options.unsentBytesMax)
  }

  public func bindSource(
    _ descriptor: CInt, to address: KernelAddress
  ) throws(Errno) {
    _ = try value(
      of: clinux_set_option(descriptor, SOL_IP, clinux_so_bind_address_no_port, 1))
    let result = address.withSockaddr { bind(descriptor, $0, $1) }
    guard result != -1 else { throw Errno(rawValue: errno) }
  }

  public func connect(
    _ descriptor: CInt, to address: KernelAddress
  ) -> ConnectProgress {
    let result = address.withSockaddr { Glibc.connect(descriptor, $0, $1) }
    guard result == -1 else { return .connected }
    switch errno {
    // An interrupted connect goes on by itself, like one in progress (connect(2)).
    case EINPROGRESS, EINTR: return .inProgress
    case EAGAIN where address.family == CInt(AF_UNIX): return .busy
    case EBADF, EFAULT: trap("connect", errno)
    default: return .failed(Errno(rawValue: errno))
    }
  }

  public func takeError(_ descriptor: CInt) -> Errno? {
    let result = clinux_get_option(descriptor, SOL_SOCKET, SO_ERROR)
    if result < 0 { return Errno(rawValue: -result) }
    return result == 0 ? nil : Errno(rawValue: result)
  }

  public func isConnectedToItself(_ descriptor: CInt) -> Bool {
    guard let local = ipAddress(descriptor, getsockname) else { return false }
    return local == ipAddress(descriptor, getpeername)
  }

  /// One of the two addresses of a TCP socket; `nil` for other sockets, and when there is none.
  private func ipAddress(
    _ descriptor: CInt,
    _ ask: (CInt, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> CInt
  ) -> SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let result = withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { ask(descriptor, $0, &length) }
    }
    if result == -1 {
      if errno == EBADF { trap("asking for an address", errno) }
      return nil
    }
    return PeerAddress(storage).socketAddress
  }

  @discardableResult
  public func shutdownWrite(_ descriptor: CInt) -> Bool {
    shutdown(descriptor, CInt(SHUT_WR))
  }

  public func shutdownRead(_ descriptor: CInt) {
    _ = shutdown(descriptor, CInt(SHUT_RD))
  }

  /// Returns whether the socket was connected.
  private func shutdown(_ descriptor: CInt, _ how: CInt) -> Bool {
    let result = Glibc.shutdown(descriptor, how)
    if result == -1, errno == EBADF { trap("shutdown", errno) }
    return result == 0
  }

  public func receiveQueueBytes(_ descriptor: CInt) -> Int {
    max(0, Int(clinux_receive_queue_bytes(descriptor)))
  }

  public func sendQueueBytes(_ descriptor: CInt) -> Int {
    max(0, Int(clinux_send_queue_bytes(descriptor)))
  }

  public func close(_ descriptor: CInt) {
    if Glibc.close(descriptor) == -1, errno == EBADF { trap("close", errno) }
  }

  public func reset(_ descriptor: CInt) {
    var now = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
    close(descriptor)
  }

  // MARK: Bytes

  public func receive(
    _ descriptor: CInt, into buffer: UnsafeMutableRawBufferPointer
  ) -> Transfer {
    assert(!buffer.isEmpty)
    return transfer("recv") { clinux_receive(descriptor, buffer.baseAddress, buffer.count) }
  }

  public func peekEnd(_ descriptor: CInt) -> PeekedEnd {
    switch transfer("recv", { clinux_peek(descriptor) }) {
    case .moved: .bytes
    case .wouldBlock: .nothing
    case .endOfStream: .endOfStream
    case .failed(let errno): .failed(errno)
    }
  }

  public func send(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Transfer {
    assert(!bytes.isEmpty)
    return transfer("send") { clinux_send(descriptor, bytes.baseAddress, bytes.count) }
  }

  public func splice(from source: CInt, to destination: CInt, bytesMax: Int) -> Transfer {
    assert(bytesMax > 0)
    return transfer("splice") { clinux_splice(source, destination, bytesMax) }
  }

  public func makePipe(bytes: Int) throws(Errno) -> Pipe {
    var ends: [CInt] = [-1, -1]
    _ = try value(of: clinux_pipe(&ends))
    // Refused above a user's share (pipe-user-pages-soft, pipe(7)): the default size serves, too.
    _ = clinux_pipe_set_bytes(ends[1], CInt(clamping: bytes))
    let granted = max(0, Int(clinux_pipe_bytes(ends[1])))
    return Pipe(readEnd: ends[0], writeEnd: ends[1], bytes: granted)
  }

  // MARK: Results

  @inline(__always)  // One call and one switch per transfer; the closure must not survive.
  private func transfer(_ name: StaticString, _ call: () -> Int) -> Transfer {
    while true {
      let result = call()
      if result > 0 { return .moved(result) }
      if result == 0 { return .endOfStream }
      switch CInt(truncatingIfNeeded: -result) {
      case EINTR: continue
      case EAGAIN: return .wouldBlock
      case EBADF, EFAULT: trap(name, CInt(truncatingIfNeeded: -result))
      case let code: return .failed(Errno(rawValue: code))
      }
    }
  }
}

/// The result of a wrapped call, or its error.
func value(of result: CInt) throws(Errno) -> CInt {
  guard result < 0 else { return result }
  if result == -EBADF || result == -EFAULT { trap("a system call", -result) }
  throw Errno(rawValue: -result)
}

/// Ends the program where it meets an error that only a bug of its own can cause.
func trap(_ call: StaticString, _ code: CInt) -> Never {
  fatalError(
    "\(call) failed with \(Errno(rawValue: code)): a descriptor or buffer of ours is wrong")
}

/// From here on a user timeout may be set when a connection has lasted for a while.
private let lastingUserTimeoutMilliseconds: UInt32 = 5000

/// Sets what `options` asks for on a TCP socket. Refusals are ignored: an option that a kernel does
/// not know is no reason to lose a connection, and none of these changes what is delivered.
func setStreamOptions(_ descriptor: CInt, _ options: StreamOptions) {
  keepUrgentDataInPlace(descriptor)
  if options.noDelay { _ = clinux_set_option(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, 1) }
  setKeepalive(descriptor, options.keepaliveSeconds)
  setUserTimeout(descriptor, options.userTimeoutMilliseconds)
  setUnsentMax(descriptor, options.unsentBytesMax)
}

/// Urgent data stays in its place in the stream. The urgency is not passed on, but its byte is: without
/// this it would be taken out, and a telnet session would break (tcp(7), RFC 854).
private func keepUrgentDataInPlace(_ descriptor: CInt) {
  _ = clinux_set_option(descriptor, SOL_SOCKET, SO_OOBINLINE, 1)
}

/// Has unacknowledged data end the connection after a while, if `milliseconds` is not 0.
private func setUserTimeout(_ descriptor: CInt, _ milliseconds: UInt32) {
  guard milliseconds > 0 else { return }
  _ = clinux_set_option(
    descriptor, CInt(IPPROTO_TCP), clinux_tcp_user_timeout, CInt(clamping: milliseconds))
}

/// Has the socket count as full when so much waits to be sent, if `bytes` is not 0.
private func setUnsentMax(_ descriptor: CInt, _ bytes: UInt32) {
  guard bytes > 0 else { return }
  _ = clinux_set_option(
    descriptor, CInt(IPPROTO_TCP), clinux_tcp_notsent_lowat, CInt(clamping: bytes))
}

/// Has silent peers be asked whether they live, if `seconds` is not 0. What the socket is known to have
/// already, since it is new, is left out: each is a call per connection.
private func setKeepalive(
  _ descriptor: CInt, _ seconds: UInt32, unlessPresent present: KeepaliveTimes? = nil
) {
  guard seconds > 0 else { return }
  let tcp = CInt(IPPROTO_TCP)
  let times = KeepaliveTimes(seconds: seconds)
  // The times first: asking begins with what they are then.
  if times.idle != present?.idle {
    _ = clinux_set_option(descriptor, tcp, clinux_tcp_keepidle, times.idle)
  }
  if times.interval != present?.interval {
    _ = clinux_set_option(descriptor, tcp, clinux_tcp_keepintvl, times.interval)
  }
  if times.questions != present?.questions {
    _ = clinux_set_option(descriptor, tcp, clinux_tcp_keepcnt, times.questions)
  }
  _ = clinux_set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
}

/// The same for a socket that has been given options before: what is no longer asked for is taken
/// back.
func changeStreamOptions(_ descriptor: CInt, _ options: StreamOptions) {
  let tcp = CInt(IPPROTO_TCP)
  if !options.noDelay { _ = clinux_set_option(descriptor, tcp, TCP_NODELAY, 0) }
  if options.keepaliveSeconds == 0 {
    _ = clinux_set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 0)
  }
  if options.userTimeoutMilliseconds == 0 {
    _ = clinux_set_option(descriptor, tcp, clinux_tcp_user_timeout, 0)
  }
  if options.unsentBytesMax == 0 {
    _ = clinux_set_option(descriptor, tcp, clinux_tcp_notsent_lowat, 0)
  }
  setStreamOptions(descriptor, options)
}
