// SPDX-License-Identifier: Apache-2.0
// c-ares on our loop. The library sends questions, matches answers, asks again, changes to TCP where an
// answer was cut short, and forgoes EDNS where a server does not know it; here it gets its readiness and
// its time. It never reads a file, since all that it would look for is given, and never blocks.
//
// There is a channel for each look-up, gone when that is: nothing is shared, so a look-up is cancelled by
// dropping it, and each comes from a port of its own, which nobody can guess.

import Addressing
import CAres
import EventLoop
import Glibc
import Reactor

/// A question to name servers.
struct DNSQuestion: Hashable, Sendable {
  enum Kind: CInt, Hashable, Sendable {
    case ipv4 = 1
    case ipv6 = 28
    case service = 33
  }

  let name: String
  let kind: Kind
}

/// What became of a question.
enum DNSReply: Hashable, Sendable {
  /// There is an answer, perhaps without what was asked for.
  case message(DNSMessage)
  /// There is no such name, or nothing of this kind.
  case nothing(DNSFailure)
  /// There is no answer.
  case failed(DNSFailure)
}

/// A conversation with name servers. Loop's thread.
final class AresChannel {
  /// The largest datagram that is asked for: it fits into the packets of any network that carries IPv6.
  private static let datagramBytesMax: CInt = 1232
  /// How often each server is asked, each time with twice the patience: 1 + 2 + 4.
  private static let tries: CInt = 3
  private static let patienceParts = 7

  /// A question that waits for its answer.
  private final class Pending {
    var reply: DNSReply?
  }

  private let loop: Loop
  private var channel: ares_channel?
  private var sockets: [ares_socket_t: Socket] = [:]
  private let hasNews = Event()

  private struct Socket {
    let watch: ForeignDescriptor
    var events: Int16
  }

  /// Prepares to ask `servers`, which should answer within `timeout`, all attempts together. With
  /// `takesRefusals`, the first one that says no is believed; otherwise the next one is asked. Without
  /// `usesEDNS`, questions are as RFC 1035 has them. Throws in words what is missing for that.
  init(
    _ servers: [SocketAddress], timeout: Duration, takesRefusals: Bool = false,
    usesEDNS: Bool = true, on loop: Loop
  ) throws(DNSFailure) {
    self.loop = loop
    guard AresChannel.libraryStatus == ARES_SUCCESS else {
      throw DNSFailure(reason: "c-ares does not start")
    }
    var options = ares_options()
    options.flags = (ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES)
    if usesEDNS { options.flags |= CInt(ARES_FLAG_EDNS) }
    if takesRefusals { options.flags |= CInt(ARES_FLAG_NOCHECKRESP) }
    let milliseconds = timeout.wholeNanoseconds / 1_000_000
    options.timeout = CInt(clamping: max(1, milliseconds / UInt64(AresChannel.patienceParts)))
    options.tries = AresChannel.tries
    options.ednspsz = AresChannel.datagramBytesMax
    options.sock_state_cb = { data, socket, readable, writable in
      guard let data else { return }
      // SAFETY: the channel ends before this object does.
      Unmanaged<AresChannel>.fromOpaque(data).takeUnretainedValue()
        .note(socket, isRead: readable != 0, isWritten: writable != 0)
    }
    options.sock_state_cb_data = Unmanaged.passUnretained(self).toOpaque()
    // Everything that the library would otherwise look for in files.
    let mask =
      ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ
      | ARES_OPT_SOCK_STATE_CB | ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_NDOTS
      | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST | ARES_OPT_NOROTATE
    let list = servers.map(\.description).joined(separator: ",")
    var made: ares_channel?
    var status = "b".withCString { lookups in
      // The library copies it.
      options.lookups = UnsafeMutablePointer(mutating: lookups)
      return ares_init_options(&made, &options, mask)
    }
    channel = made
    if status == ARES_SUCCESS, let made { status = ares_set_servers_ports_csv(made, list) }
    guard status == ARES_SUCCESS else {
      close()
      throw DNSFailure(reason: "name servers cannot be asked: \(AresChannel.words(status))")
    }
  }

  deinit {
    close()
  }

  /// Ends it. What was not answered is not any more.
  func close() {
    guard let channel else { return }
    self.channel = nil
    ares_destroy(channel)
    for socket in sockets.values { socket.watch.close() }
    sockets = [:]
  }

  private static let libraryStatus = ares_library_init(ARES_LIB_INIT_ALL)

  // MARK: Asking

  /// Asks all at once. Returns an answer for each, when all are there or `deadline` has come. Throws
  /// when the task is cancelled. Once only.
  func ask(
    _ questions: [DNSQuestion], until deadline: Instant
  ) async throws(WaitError) -> [DNSReply] {
    let waiting = questions.map { _ in Pending() }
    for (question, pending) in zip(questions, waiting) { send(question, pending) }
    defer { close() }
    var isLate = false
    while true {
      // Before, since it may leave something for the next turn, and says so.
      hasNews.clear()
      process()
      if isLate || waiting.allSatisfy({ $0.reply != nil }) { break }
      let next = min(deadline, nextTime() ?? deadline)
      do throws(WaitError) {
        try await hasNews.wait(until: next)
      } catch .deadlinePassed {
        isLate = loop.now >= deadline
      } catch {
        throw error
      }
    }
    let late = DNSReply.failed(DNSFailure(reason: "no answer in time"))
    return waiting.map { $0.reply ?? late }
  }

  private func send(_ question: DNSQuestion, _ pending: Pending) {
    guard let channel else { return }
    // Every question is answered once, by the end of the channel at last.
    let argument = Unmanaged.passRetained(pending).toOpaque()
    ares_query(
      channel, question.name, 1, question.kind.rawValue,
      { argument, status, _, bytes, count in
        guard let argument else { return }
        let pending = Unmanaged<Pending>.fromOpaque(argument).takeRetainedValue()
        let answer = UnsafeBufferPointer(start: bytes, count: bytes == nil ? 0 : Int(count))
        pending.reply = AresChannel.reply(status, answer)
      }, argument)
  }

  /// Lets the library read, write, and ask again, until the kernel has nothing more for it.
  private func process() {
    guard let channel else { return }
    let none = ares_socket_t(-1)
    ares_process_fd(channel, none, none)
    // Each round reads at least one datagram; those of a flood wait until the loop has turned.
    for _ in 0..<16 {
      var items = sockets.map { pollfd(fd: $0.key, events: $0.value.events, revents: 0) }
      guard !items.isEmpty, poll(&items, nfds_t(items.count), 0) > 0 else { return }
      for item in items where item.revents != 0 {
        // An earlier one may have closed it.
        guard let socket = sockets[item.fd] else { continue }
        let failed = Int16(POLLERR | POLLHUP | POLLNVAL)
        let isRead = item.revents & (Int16(POLLIN) | failed) != 0
        let isWritten =
          item.revents & (Int16(POLLOUT) | failed) != 0 && socket.events & Int16(POLLOUT) != 0
        ares_process_fd(channel, isRead ? item.fd : none, isWritten ? item.fd : none)
      }
    }
    hasNews.set()
  }

  /// When the library wants to look at the time.
  private func nextTime() -> Instant? {
    guard let channel else { return nil }
    var time = timeval()
    guard ares_timeout(channel, nil, &time) != nil else { return nil }
    let nanoseconds = UInt64(max(0, time.tv_sec)) * 1_000_000_000
    return loop.now.advanced(by: nanoseconds + UInt64(max(0, time.tv_usec)) * 1000)
  }

  /// The library has a socket, waits for other things at it, or is about to close it.
  private func note(_ socket: ares_socket_t, isRead: Bool, isWritten: Bool) {
    guard isRead || isWritten else {
      sockets.removeValue(forKey: socket)?.watch.close()
      return
    }
    let events = (isRead ? Int16(POLLIN) : 0) | (isWritten ? Int16(POLLOUT) : 0)
    if sockets[socket] != nil {
      sockets[socket]?.events = events
      return
    }
    do throws(Errno) {
      let hasNews = hasNews
      let watch = try ForeignDescriptor(socket, on: loop) { hasNews.set() }
      sockets[socket] = Socket(watch: watch, events: events)
    } catch {
      // Nobody watches it, so its answer is not seen, and the question runs out of time.
    }
  }

  // MARK: Answers

  /// What is said where no server was left to ask: the library does not tell then why.
  static let nobody = DNSFailure(reason: "no name server can be reached")

  /// What is said where a server does not understand the question, as one without EDNS may say of the
  /// second one of a pair: the library asks once more without, and does that once for a whole channel.
  static let malformedQuestion = DNSFailure(reason: words(ARES_EFORMERR))

  private static func reply(_ status: CInt, _ bytes: UnsafeBufferPointer<UInt8>) -> DNSReply {
    switch status {
    case ARES_SUCCESS:
      guard let message = DNSMessage(Array(bytes)) else {
        return .failed(DNSFailure(reason: "the answer is malformed"))
      }
      return .message(message)
    case ARES_ENODATA, ARES_ENOTFOUND:
      return .nothing(DNSFailure(reason: words(status)))
    default:
      return .failed(DNSFailure(reason: words(status)))
    }
  }

  private static func words(_ status: CInt) -> String {
    switch status {
    case ARES_ENODATA: "the name has no such record"
    case ARES_ENOTFOUND: "there is no such name (NXDOMAIN)"
    case ARES_EFORMERR: "the name server does not understand the question (FORMERR)"
    case ARES_ESERVFAIL: "the name server has failed (SERVFAIL)"
    case ARES_EREFUSED: "the name server refuses to answer (REFUSED)"
    case ARES_ECONNREFUSED: AresChannel.nobody.reason
    case ARES_ETIMEOUT: "no answer in time"
    case ARES_EBADNAME: "it is no name that can be asked for"
    default: String(cString: ares_strerror(status))
    }
  }
}
