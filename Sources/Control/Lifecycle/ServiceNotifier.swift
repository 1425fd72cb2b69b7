// SPDX-License-Identifier: Apache-2.0
// What a service manager wants to hear, after the protocol of sd_notify(3): datagrams of `KEY=value`
// lines to the unix socket that NOTIFY_SOCKET names, by path or, with a leading `@`, by abstract name.
//
// Nobody here waits for the manager. What its full queue refuses is sent again later, if it matters
// later; anything else that fails is told once, and serving goes on.

import Addressing
import Glibc
import Logging
import Reactor

/// The way to the service manager that has started this process. One thread may use it at a time.
public final class ServiceNotifier {
  private static let retryNanoseconds: UInt64 = 100_000_000
  /// More often than this would be work, not a sign of life.
  private static let watchdogMicrosecondsMin: UInt64 = 2000

  /// How often the manager wants to hear that all is well: twice in the time after which it would
  /// take the process for hung. `nil` if it does not.
  let watchdogNanoseconds: UInt64?
  /// When to call `retry`.
  private(set) var retryAt = Instant.distantFuture
  private let name: String
  private let address: KernelAddress?
  private var descriptor: CInt = -1
  /// What the manager's queue had no room for, the oldest first.
  private var unsent: [String] = []
  private var hasComplained = false

  /// Reads the variables of the protocol; `nil` when nobody wants to be notified.
  init?(processID: pid_t, environment: (String) -> String?) {
    guard let name = environment("NOTIFY_SOCKET"), !name.isEmpty else { return nil }
    self.name = name
    let isUnix = name.hasPrefix("/") || name.hasPrefix("@")
    address = isUnix ? SocketAddress("unix:\(name)").map(KernelAddress.init) : nil
    let owner = environment("WATCHDOG_PID")
    let isOurs = owner == nil || owner.flatMap { pid_t($0) } == processID
    let time = isOurs ? environment("WATCHDOG_USEC").flatMap { UInt64($0) } : nil
    watchdogNanoseconds = time.flatMap { time in
      guard time > 0 else { return nil }
      let (half, overflow) = max(time, ServiceNotifier.watchdogMicrosecondsMin)
        .multipliedReportingOverflow(by: 500)
      return overflow ? nil : half
    }
  }

  deinit {
    if descriptor != -1 { close(descriptor) }
  }

  /// That of this process. Takes the variables out of the environment, so that nobody else acts upon
  /// them: call it before the first thread starts.
  public static func take() -> ServiceNotifier? {
    let manager = ServiceNotifier(processID: getpid()) { name in
      getenv(name).map { String(cString: $0) }
    }
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { unsetenv(name) }
    return manager
  }

  /// Says that clients are served.
  func ready(_ status: String, now: Instant, logger: Logger) {
    tell("READY=1\nSTATUS=\(status)", now, logger)
  }

  /// Says that the configuration is being read again; `ready` says that this is over, whatever came of it.
  func reloading(now: Instant, logger: Logger) {
    tell("RELOADING=1\nMONOTONIC_USEC=\(now.nanoseconds / 1000)", now, logger)
  }

  /// Says that the end has begun.
  func stopping(_ status: String, now: Instant, logger: Logger) {
    tell("STOPPING=1\nSTATUS=\(status)", now, logger)
  }

  /// Says that all is well. Without room in the manager's queue nothing is said: there will be a next
  /// time.
  func alive(logger: Logger) {
    if unsent.isEmpty { _ = send("WATCHDOG=1", logger) }
  }

  /// Says again what found no room, when it is time.
  func retry(now: Instant, logger: Logger) {
    guard now >= retryAt else { return }
    retryAt = .distantFuture
    while let message = unsent.first {
      guard send(message, logger) else {
        retryAt = now.advanced(by: ServiceNotifier.retryNanoseconds)
        return
      }
      unsent.removeFirst()
    }
  }

  private func tell(_ message: String, _ now: Instant, _ logger: Logger) {
    unsent.append(message)
    retryAt = min(retryAt, now)
    retry(now: now, logger: logger)
  }

  /// Sends a datagram. Returns whether it is done with: false when there was no room.
  private func send(_ message: String, _ logger: Logger) -> Bool {
    guard let address else {
      complain("it is neither a path nor an abstract name", logger)
      return true
    }
    if descriptor == -1 {
      let kind = Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
      descriptor = socket(AF_UNIX, kind, 0)
      guard descriptor != -1 else {
        complain("\(Errno(rawValue: errno))", logger)
        return true
      }
    }
    let bytes = Array(message.utf8)
    let count = address.withSockaddr { address, length in
      sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), address, length)
    }
    guard count == -1 else { return true }
    let code = errno
    if code == EAGAIN || code == EINTR { return false }
    complain("\(Errno(rawValue: code))", logger)
    return true
  }

  private func complain(_ cause: String, _ logger: Logger) {
    guard !hasComplained else { return }
    hasComplained = true
    logger.warning(
      "the service manager cannot be notified",
      metadata: ["socket": "\(name)", "cause": "\(cause)"])
  }
}
