// SPDX-License-Identifier: Apache-2.0
// The protocol of sd_notify(3): its variables, and a manager that is slow or gone.

import CLinux
import Foundation
import Glibc
import Reactor
import Testing

@testable import Control

@Suite("Service manager")
struct ServiceNotifierTests {
  private func manager(_ variables: [String: String]) -> ServiceNotifier? {
    ServiceNotifier(processID: 42) { variables[$0] }
  }

  @Test("Without a socket nobody is notified", arguments: [nil, ""])
  func none(socket: String?) {
    var variables = ["WATCHDOG_USEC": "1000000"]
    variables["NOTIFY_SOCKET"] = socket
    #expect(manager(variables) == nil)
  }

  @Test(
    "The watchdog is served twice in its time, when it is meant for this process",
    arguments: [
      ("1000000", nil, 500_000_000), ("1000000", "42", 500_000_000), ("1000000", "43", nil),
      ("1000000", "x", nil), ("0", nil, nil), ("1", nil, 1_000_000), ("-5", nil, nil),
      ("18446744073709551615", nil, nil), (nil, "42", nil),
    ] as [(String?, String?, UInt64?)])
  func watchdog(time: String?, processID: String?, expected: UInt64?) throws {
    var variables = ["NOTIFY_SOCKET": "/run/x"]
    variables["WATCHDOG_USEC"] = time
    variables["WATCHDOG_PID"] = processID
    #expect(try #require(manager(variables)).watchdogNanoseconds == expected)
  }

  @Test(
    "A manager that cannot be notified is told of once",
    arguments: [
      ("/nowhere/socket", "No such file or directory"),
      ("relative", "it is neither a path nor an abstract name"),
      ("vsock:2:1", "it is neither a path nor an abstract name"),
      ("@sluice-tests-nobody", "Connection refused"),
      ("/" + String(repeating: "x", count: 200), "it is neither a path nor an abstract name"),
    ])
  func unreachable(socket: String, cause: String) throws {
    let recorder = CollectedLog()
    let manager = try #require(self.manager(["NOTIFY_SOCKET": socket]))
    manager.ready("", now: LinuxKernel().now(), logger: recorder.logger)
    manager.alive(logger: recorder.logger)
    manager.stopping("", now: LinuxKernel().now(), logger: recorder.logger)
    #expect(recorder.values(of: "cause") == [cause])
    #expect(manager.retryAt == .distantFuture)
  }

  @Test("What a full queue refuses is said again later, in order, but for signs of life")
  func fullQueue() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let recorder = CollectedLog()
    let reader = try DatagramReader("\(folder)/notify")
    let manager = try #require(self.manager(["NOTIFY_SOCKET": "\(folder)/notify"]))
    // Nobody reads: it is full after some.
    var sent = 0
    let now = Instant(nanoseconds: 1)
    while manager.retryAt == .distantFuture, sent < 10_000 {
      manager.ready("\(sent)", now: now, logger: recorder.logger)
      sent += 1
    }
    #expect(manager.retryAt > now)
    manager.alive(logger: recorder.logger)
    manager.stopping("", now: now, logger: recorder.logger)
    for number in 0..<sent - 1 { #expect(reader.next() == "READY=1\nSTATUS=\(number)") }
    #expect(reader.next() == nil)
    manager.retry(now: manager.retryAt, logger: recorder.logger)
    #expect(manager.retryAt == .distantFuture)
    #expect(reader.next() == "READY=1\nSTATUS=\(sent - 1)")
    #expect(reader.next() == "STOPPING=1\nSTATUS=")
    #expect(reader.next() == nil)
    manager.alive(logger: recorder.logger)
    #expect(reader.next() == "WATCHDOG=1")
    #expect(recorder.values(of: "cause").isEmpty)
  }
}

/// The manager's end of the protocol.
private final class DatagramReader {
  private let descriptor: CInt

  init(_ path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
    let address = KernelAddress(.unix(path: path))
    guard address.withSockaddr({ bind(descriptor, $0, $1) }) == 0 else {
      throw Errno(rawValue: errno)
    }
  }

  deinit {
    close(descriptor)
  }

  /// The next datagram, `nil` if there is none.
  func next() -> String? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = recv(descriptor, &buffer, buffer.count, 0)
    return count >= 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
  }
}
