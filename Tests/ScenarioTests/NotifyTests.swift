// SPDX-License-Identifier: Apache-2.0
// `NOTIFY_SOCKET`: what a service manager hears from the program (sd_notify(3)).

import Addressing
import Foundation
import Glibc
import Reactor
import Testing

/// A service manager that listens, each wait with a deadline.
private final class Manager {
  let name: String
  private let descriptor: Int32
  private(set) var heard: [String] = []

  /// Listens at a path, or with `@` at an abstract name.
  init(_ name: String) throws {
    self.name = name
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard let address = SocketAddress("unix:\(name)").map(KernelAddress.init),
      address.withSockaddr({ bind(descriptor, $0, $1) }) == 0
    else { throw ScenarioFailure("cannot bind \(name): \(String(cString: strerror(errno)))") }
  }

  deinit {
    close(descriptor)
  }

  /// Waits for a datagram that begins with these words.
  func hears(_ words: String) -> Bool {
    eventually { [self] in
      var buffer = [UInt8](repeating: 0, count: 4096)
      let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      if count > 0 { heard.append(String(decoding: buffer[..<count], as: UTF8.self)) }
      return heard.last?.hasPrefix(words) == true
    }
  }
}

@Suite("service manager")
struct NotifyTests {
  private func proxy(
    _ manager: String, watchdog: String? = nil, shutdown: String = "{drain: off}"
  ) throws -> ProxyProcess {
    var environment = ["NOTIFY_SOCKET": manager]
    environment["WATCHDOG_USEC"] = watchdog
    return try ProxyProcess(
      """
      workers: 2
      shutdown: \(shutdown)
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:echo"}
      """, environment: environment)
  }

  @Test("It hears when clients are served, and when draining begins", arguments: [true, false])
  func readyAndStopping(isAbstract: Bool) throws {
    let folder = try Folder()
    let manager = try Manager(isAbstract ? "@sluice\(folder.root)" : folder.path("notify"))
    let proxy = try proxy(manager.name)
    #expect(manager.hears("READY=1\nSTATUS=serving"))
    let client = try Connection(proxy.address())
    #expect(try client.echo("before") == "before")
    proxy.terminate()
    #expect(manager.hears("STOPPING=1\nSTATUS=draining; 1 session"))
    #expect(try client.ask("after") == "after")
    #expect(try proxy.program.waitForExit() == .code(0))
    #expect(manager.heard.count == 2)
  }

  @Test("The watchdog hears signs of life, while it drains too")
  func watchdog() throws {
    let folder = try Folder()
    let manager = try Manager(folder.path("notify"))
    let proxy = try proxy(manager.name, watchdog: "100000")
    #expect(manager.hears("READY=1"))
    #expect(manager.hears("WATCHDOG=1"))
    let client = try Connection(proxy.address())
    #expect(try client.echo("hello") == "hello")
    proxy.terminate()
    #expect(manager.hears("STOPPING=1"))
    let count = manager.heard.count
    #expect(manager.hears("WATCHDOG=1"))
    #expect(manager.heard.count > count)
    client.close()
    #expect(try proxy.program.waitForExit() == .code(0))
    #expect(proxy.program.errorText.contains(" warning ") == false)
  }

  @Test("A reload is told, and that it is over; a second signal ends the proxy all the same")
  func reloadAndKill() throws {
    let folder = try Folder()
    let manager = try Manager(folder.path("notify"))
    let proxy = try proxy(manager.name)
    #expect(manager.hears("READY=1"))
    proxy.program.send(SIGHUP)
    #expect(manager.hears("RELOADING=1\nMONOTONIC_USEC="))
    #expect(manager.hears("READY=1"))
    let client = try Connection(proxy.address())
    #expect(try client.echo("before") == "before")
    proxy.terminate()
    #expect(manager.hears("STOPPING=1"))
    proxy.terminate()
    #expect(try client.isReset())
    #expect(try proxy.program.waitForExit() == .code(0))
    #expect(manager.heard.last?.hasPrefix("STOPPING=1") == true)
  }

  @Test("A watchdog that is meant for another process hears nothing")
  func otherWatchdog() throws {
    let folder = try Folder()
    let manager = try Manager(folder.path("notify"))
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:echo"}
      """,
      environment: [
        "NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1",
      ])
    #expect(manager.hears("READY=1"))
    #expect(try Connection(proxy.address()).ask("hello") == "hello")
    #expect(try proxy.end() == .code(0))
    #expect(manager.hears("STOPPING=1"))
    #expect(manager.heard.count == 2)
  }

  @Test("A manager that is gone is told of once, and clients are served")
  func gone() throws {
    let proxy = try proxy("/nowhere/notify", watchdog: "10000")
    let event = proxy.event("the service manager cannot be notified")
    #expect(event?.level == "warning")
    #expect(event?["socket"] == "/nowhere/notify")
    #expect(event?["cause"] == "No such file or directory")
    #expect(try Connection(proxy.address()).ask("hello") == "hello")
    #expect(try proxy.end() == .code(0))
    // A worker that is slow to answer, where this machine is busy, is another matter.
    let lines = proxy.program.errorText.split(separator: "\n")
    #expect(lines.count { $0.contains("the service manager cannot be notified") } == 1)
  }
}
