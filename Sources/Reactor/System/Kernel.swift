// SPDX-License-Identifier: Apache-2.0
// The kernel as an interface: every system call that a loop makes once it runs. The real one is
// `LinuxKernel`; tests put a fake in its place and so decide about time, short transfers, errors,
// and stale events. Code that is generic over it is specialised for `LinuxKernel` where it is
// defined, so the border costs nothing.
//
// Descriptors are plain numbers here. Who owns one says so in its own type (`SocketHandle`,
// `Pipe`); the fake's numbers must never reach a real close(2).

import CLinux
import SystemPackage

/// The error numbers of system calls (errno(3)).
public typealias Errno = SystemPackage.Errno

/// What became of moving bytes. Ordinary ends are values, not errors.
public enum Transfer: Equatable, Sendable {
  /// This many bytes moved, at least one.
  case moved(Int)
  /// Nothing can move now; epoll(7) will tell when it can.
  case wouldBlock
  /// The peer has finished sending.
  case endOfStream
  /// The descriptor has failed.
  case failed(Errno)
}

/// What became of starting to connect.
public enum ConnectProgress: Equatable, Sendable {
  /// The connection stands.
  case connected
  /// It will stand, or fail, when the socket becomes writable.
  case inProgress
  /// The queue of a unix listener is full (connect(2), EAGAIN); nothing tells when it no longer is.
  case busy
  /// It failed at once.
  case failed(Errno)
}

/// What became of accepting.
public enum Acceptance: Equatable, Sendable {
  /// A connection, its peer, and the caller's duty to close it.
  case accepted(descriptor: CInt, peer: PeerAddress)
  /// Nobody is waiting.
  case wouldBlock
  /// A connection went away while it waited, or met an error of the network (accept(2), *Error
  /// handling*); the next one may be sound.
  case aborted(Errno)
  /// Accepting is impossible: descriptors or memory have run out, or the listener is broken.
  case failed(Errno)
}

/// What reading from a socket would find now.
public enum PeekedEnd: Equatable, Sendable {
  /// No bytes yet, and no end.
  case nothing
  /// At least one byte.
  case bytes
  /// The end of the stream: every byte has been read.
  case endOfStream
  /// An error, which the kernel has now reported and will not report again.
  case failed(Errno)
}

/// Which socket options an upstream connection gets before it connects.
public struct StreamOptions: Hashable, Sendable {
  /// Sends small segments at once (`TCP_NODELAY`).
  public var noDelay: Bool
  /// Seconds of silence until the peer is asked whether it lives (`SO_KEEPALIVE`, with the times of
  /// `KeepaliveTimes`); 0: never. It finds peers that are gone while nothing is sent to them.
  public var keepaliveSeconds: UInt32
  /// Milliseconds that written data may stay unacknowledged, or unsent because the peer does not read
  /// and its window is closed (`TCP_USER_TIMEOUT`, tcp(7)); 0: the kernel's own rule, which gives up
  /// what nobody acknowledges after `net.ipv4.tcp_retries2` retransmissions, some 15 minutes, and
  /// never a peer that answers with a closed window. It also overrides how often keepalive asks.
  public var userTimeoutMilliseconds: UInt32
  /// Bytes that may wait to be sent before the socket counts as full (`TCP_NOTSENT_LOWAT`); 0: as
  /// many as the send buffer holds.
  public var unsentBytesMax: UInt32

  /// Makes a set of options; the defaults are the kernel's.
  public init(
    noDelay: Bool = false, keepaliveSeconds: UInt32 = 0, userTimeoutMilliseconds: UInt32 = 0,
    unsentBytesMax: UInt32 = 0
  ) {
    self.noDelay = noDelay
    self.keepaliveSeconds = keepaliveSeconds
    self.userTimeoutMilliseconds = userTimeoutMilliseconds
    self.unsentBytesMax = unsentBytesMax
  }
}

/// The system calls of a loop. None blocks, but for `wait` and `sleep`.
///
/// Implementations retry `EINTR` and trap on `EBADF` and `EFAULT`, which only a bug of ours can
/// cause.
public protocol Kernel: Sendable {
  /// The monotonic clock.
  func now() -> Instant

  /// A new epoll instance. The caller closes it.
  func makePoll() throws(Errno) -> CInt
  /// Adds a descriptor to an epoll instance.
  func register(_ descriptor: CInt, with poll: CInt, for interest: Interest, token: Token)
    throws(Errno)
  /// Removes a descriptor that was added and is still open.
  func deregister(_ descriptor: CInt, from poll: CInt)
  /// Waits for events: 0 does not block, negative blocks without limit. Returns how many came.
  func wait(
    poll: CInt, into events: UnsafeMutableBufferPointer<clinux_event>, timeoutMilliseconds: CInt
  ) -> Int

  /// Does nothing for a while, whatever happens (clock_nanosleep(2)); the kernel may take some tens
  /// of microseconds longer.
  func sleep(nanoseconds: UInt64)

  /// A new eventfd(2), with which other threads end a `wait`. The caller closes it.
  func makeBell() throws(Errno) -> CInt
  /// Makes the bell readable. Any thread.
  func ring(_ bell: CInt)
  /// Makes the bell unreadable again.
  func silence(_ bell: CInt)

  /// Accepts one connection, non-blocking and closed on exec.
  func accept(from listener: CInt) -> Acceptance
  /// A new non-blocking stream socket for connecting to `address`, with those of `options` set that
  /// matter from its first byte on: all but `noDelay` and the lasting ones. Each option is a call, and
  /// most connections of a busy proxy are over before they need the others.
  func makeSocket(for address: KernelAddress, options: StreamOptions) throws(Errno) -> CInt
  /// Has small segments be sent at once on a TCP socket of `makeSocket` (`StreamOptions.noDelay`).
  /// What is sent first is sent at once in any case: it is only behind a small segment that nobody has
  /// acknowledged yet that another one waits (RFC 896 as tcp(7) has it).
  func setNoDelay(_ descriptor: CInt)
  /// Sets those of `options` on a TCP socket of `makeSocket` that only matter to a connection that
  /// lasts: keepalive and user timeout, whose silence counts from the last segment, whenever they are
  /// set (a user timeout below five seconds is set by `makeSocket`), and the bound on unsent bytes.
  func setLastingOptions(_ descriptor: CInt, _ options: StreamOptions)
  /// Chooses the source address of a socket that is not connected yet; its port is chosen by
  /// `connect`, when the destination is known (`IP_BIND_ADDRESS_NO_PORT`, ip(7)).
  func bindSource(_ descriptor: CInt, to address: KernelAddress) throws(Errno)
  /// Starts to connect.
  func connect(_ descriptor: CInt, to address: KernelAddress) -> ConnectProgress
  /// Takes the pending error of a socket, `nil` if there is none (`SO_ERROR`, socket(7)).
  func takeError(_ descriptor: CInt) -> Errno?

  /// Whether a connected TCP socket is its own peer: its local and its remote address are equal. This
  /// happens when a socket connects to a local port that nobody listens at, and the kernel chooses that
  /// very port as its source (simultaneous open, RFC 9293, 3.5). `false` for sockets that are not
  /// connected, for unix sockets, and when the kernel does not tell.
  func isConnectedToItself(_ descriptor: CInt) -> Bool

  /// Reads what is there, at most the buffer's size. The buffer must not be empty.
  func receive(_ descriptor: CInt, into buffer: UnsafeMutableRawBufferPointer) -> Transfer
  /// Looks at what the next read of a socket would find, and takes no bytes (`MSG_PEEK`, recv(2)). A
  /// pending error is taken: later reads, writes and `takeError` no longer see it, and a later peek or
  /// read finds the end of the stream.
  func peekEnd(_ descriptor: CInt) -> PeekedEnd
  /// Writes what fits. The buffer must not be empty.
  func send(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Transfer
  /// Moves bytes between a socket and a pipe without copying them (splice(2)).
  func splice(from source: CInt, to destination: CInt, bytesMax: Int) -> Transfer
  /// Sends the end of the stream after what was written. Returns false if the connection was gone already,
  /// which is no error: its own event tells.
  @discardableResult
  func shutdownWrite(_ descriptor: CInt) -> Bool
  /// Takes no more input on a connected unix socket (`SHUT_RD`, shutdown(2)). From then on the peer's
  /// writes fail with EPIPE. What it wrote before can still be read; then reads find the end of the
  /// stream. So the input can be read to its end and the socket closed, while the peer still gets what
  /// was written to it: a unix socket that is closed with unread input gives its peer ECONNRESET
  /// instead. For unix sockets only; TCP tells its peer nothing and goes on accepting bytes.
  func shutdownRead(_ descriptor: CInt)
  /// How many bytes have arrived and were not read yet (`SIOCINQ`, tcp(7)).
  func receiveQueueBytes(_ descriptor: CInt) -> Int
  /// How much of what was written has not reached the peer (`SIOCOUTQ`). 0: all of it has.
  ///
  /// For TCP these are the bytes that the peer's kernel has not acknowledged (tcp(7)). After
  /// `shutdownWrite` the end of the stream counts as one more byte until it is acknowledged. When the
  /// connection fails (reset, timeout), the value stays what it was then: it never becomes 0, and says
  /// how much of what was written was not acknowledged.
  ///
  /// For unix sockets it is the memory of the messages that the peer has not read, not their bytes: on
  /// Linux 6.18 one byte counts 768, 4,096 bytes count 4,864. The memory of a message is freed when all
  /// of it was read, so the value falls in steps. It tells that everything was read (0) and that the
  /// peer has read something (it fell), but not how many bytes are left. The end of the stream does not
  /// count. When the peer closes, it becomes 0, also if the peer had not read everything.
  func sendQueueBytes(_ descriptor: CInt) -> Int
  /// Closes a descriptor; never retried (close(2)).
  func close(_ descriptor: CInt)
  /// Closes a socket so that its peer sees a reset instead of an orderly end (`SO_LINGER` 0,
  /// socket(7)). Unix sockets have no reset and are closed: a peer whose bytes were still unread
  /// here gets ECONNRESET all the same, any other sees an orderly end, truncated or not.
  func reset(_ descriptor: CInt)

  /// A new non-blocking pipe of about `bytes`. The kernel may grant less.
  func makePipe(bytes: Int) throws(Errno) -> Pipe
}

/// Both ends of a pipe and its real size. Plain data: whoever holds it closes both ends.
public struct Pipe: Equatable, Sendable {
  /// Where bytes come out.
  public let readEnd: CInt
  /// Where bytes go in.
  public let writeEnd: CInt
  /// How many bytes the kernel granted, as full pages.
  public let bytes: Int

  /// Takes over both ends.
  public init(readEnd: CInt, writeEnd: CInt, bytes: Int) {
    self.readEnd = readEnd
    self.writeEnd = writeEnd
    self.bytes = bytes
  }
}
