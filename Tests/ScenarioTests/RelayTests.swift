// SPDX-License-Identifier: Apache-2.0
// `workers`, `spin`, `relay`, `tcp` and `builtin:`: bytes arrive whole however they are moved.

import Addressing
import Foundation
import Glibc
import Reactor
import Testing

@Suite("relay")
struct RelayTests {
  @Test(
    "What is sent both ways at once arrives whole",
    arguments: [
      "{}", "{pipes: 0}", "{pipes: 1}", "{buffer: 4KiB}", "{pipe: 4KiB}", "{turn: 4KiB}",
      "{accepts: 1, events: 1}", "{buffer: 1MiB, turn: 64MiB}",
    ])
  func bothWays(relay: String) throws {
    let proxy = try ProxyProcess(
      """
      relay: \(relay)
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:echo"}
      """)
    let bytes = (0..<3_000_000).map { (number: Int) -> UInt8 in
      UInt8(truncatingIfNeeded: (number &* 2_654_435_761) >> 13)
    }
    #expect(try Connection(proxy.address()).exchange(bytes) == bytes)
    #expect(try proxy.record()["down"] == "3000000")
  }

  @Test(
    "Urgent data and what follows it arrives, in its place", arguments: ["{}", "{pipes: 0}"])
  func urgent(relay: String) throws {
    let server = try Server { connection in
      let bytes = try connection.receiveAll()
      try connection.send("\(bytes.count) \(bytes.firstIndex(of: UInt8(ascii: "!")) ?? -1)")
    }
    let proxy = try ProxyProcess(
      """
      relay: \(relay)
      routes:
        r: {listen: "127.0.0.1:0", to: "\(server.address)"}
      """)
    let client = try Connection(proxy.address())
    let bulk = [UInt8](repeating: UInt8(ascii: "."), count: 8_000_000)
    try client.send(bulk)
    try client.sendUrgent(UInt8(ascii: "!"))
    try client.send(bulk)
    client.finish()
    #expect(try client.rest() == "16000001 8000000")
  }

  @Test("An endpoint whose queue is full serves when it has room")
  func busy() throws {
    let name = "unix:@sluice-busy-\(getpid())"
    let target = KernelAddress(try #require(SocketAddress(name)))
    let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(listener) }
    var time = timeval(tv_sec: Int(patience), tv_usec: 0)
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    #expect(target.withSockaddr { bind(listener, $0, $1) } == 0)
    #expect(listen(listener, 0) == 0)
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "\(name)"}
      """)
    let address = try proxy.address()
    let clients = try (0..<6).map { _ in try Connection(address) }
    for client in clients { try client.send("hello") }
    for _ in clients {
      let served = Connection(accepted: accept(listener, nil, nil))
      #expect(try served.receive(5) == "hello")
      try served.send("served")
      served.close()
    }
    for client in clients { #expect(try client.rest() == "served") }
  }
}

@Suite("workers")
struct WorkersTests {
  @Test("There are as many worker threads as asked for", arguments: [1, 3])
  func threads(count: Int) throws {
    let proxy = try ProxyProcess(
      """
      workers: \(count)
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:echo"}
      """)
    // A thread gives itself its name when it begins.
    #expect(eventually { workerNames(of: proxy.program.processID).count == count })
    #expect(proxy.event("ready")?["workers"] == "\(count)")
  }

  /// The names of a process's threads that are workers.
  private func workerNames(of processID: pid_t) -> [String] {
    let tasks = "/proc/\(processID)/task"
    let numbers = (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
    let names = numbers.compactMap {
      try? String(contentsOfFile: "\(tasks)/\($0)/comm", encoding: .utf8)
    }
    return names.filter { $0.hasPrefix("worker-") }
  }

  @Test("Sessions are spread over the workers")
  func spread() throws {
    let server = try Server { try $0.send($0.receiveAll()) }
    let proxy = try ProxyProcess(
      """
      workers: 2
      routes:
        r: {listen: "127.0.0.1:0", to: "\(server.address)", log: {access: [start]}}
      """)
    let address = try proxy.address()
    let clients = try (0..<20).map { _ in try Connection(address) }
    _ = try proxy.records(20, "start")
    // Each worker watches its sessions' two sockets, the listener and its bell; the control loop has
    // little to watch.
    let watched = watchedDescriptors(of: proxy.program.processID).sorted().suffix(2)
    #expect(watched.count == 2)
    let total = watched.reduce(0, +)
    #expect(total == 44)
    let least = watched.first ?? 0
    #expect(least >= 18)
    for client in clients { #expect(try client.ask("hello") == "hello") }
  }

  /// How many descriptors each epoll instance of a process watches.
  private func watchedDescriptors(of processID: pid_t) -> [Int] {
    let files = FileManager.default
    let folder = "/proc/\(processID)"
    let numbers = (try? files.contentsOfDirectory(atPath: "\(folder)/fd")) ?? []
    return numbers.filter {
      (try? files.destinationOfSymbolicLink(atPath: "\(folder)/fd/\($0)"))?
        .contains("eventpoll") == true
    }.map {
      let text = (try? String(contentsOfFile: "\(folder)/fdinfo/\($0)", encoding: .utf8)) ?? ""
      return text.split(separator: "\n").filter { $0.hasPrefix("tfd:") }.count
    }
  }

  @Test(
    "A worker that spins serves like one that does not",
    .enabled(if: AvailableProcessors.current().quotaThousandths == nil))
  func spin() throws {
    let proxy = try ProxyProcess(
      """
      spin: 200us
      workers: 1
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:echo"}
      """)
    let client = try Connection(proxy.address())
    for _ in 0..<100 { #expect(try client.echo("hello") == "hello") }
  }
}

@Suite("builtin")
struct BuiltinTests {
  private func connection(_ service: String) throws -> (ProxyProcess, Connection) {
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:\(service)"}
      """)
    return (proxy, try Connection(proxy.address()))
  }

  @Test("echo sends back what it receives")
  func echo() throws {
    let (proxy, client) = try connection("echo")
    #expect(try client.echo("one") == "one")
    #expect(try client.ask("two") == "two")
    #expect(try proxy.record()["up"] == "6")
  }

  @Test("discard takes everything, sends nothing and closes after the client")
  func discard() throws {
    let (proxy, client) = try connection("discard")
    try client.send([UInt8](repeating: 0, count: 1_000_000))
    client.finish()
    #expect(try client.rest() == "")
    #expect(try proxy.record()["up"] == "1000000")
  }

  @Test("chargen sends the lines of RFC 864 without end")
  func chargen() throws {
    let (proxy, client) = try connection("chargen")
    let lines = try client.receive(74 * 200).split(separator: "\r\n")
    #expect(lines.count == 200)
    #expect(lines[0].hasPrefix(" !\"#$%&'()*+,-./0123456789:;<=>?@ABC"))
    #expect(lines[1].hasPrefix("!\"#$%&'()*+,-./0123456789:;<=>?@ABCD"))
    #expect(lines.allSatisfy { $0.utf8.count == 72 })
    client.reset()
    #expect(try proxy.record()["by"] == "downstream")
  }
}

@Suite("tcp")
struct TCPTests {
  private static let ss = ["/usr/bin/ss", "/bin/ss", "/usr/sbin/ss"].first {
    FileManager.default.isExecutableFile(atPath: $0)
  }

  /// What ss(8) tells of the proxy's side of its client connections.
  private func sockets(_ tcp: String) throws -> String {
    let server = try Server { _ = try $0.receiveAll() }
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "\(server.address)", tcp: \(tcp), log: {access: [start]}}
      """)
    let client = try Connection(proxy.address())
    _ = try proxy.record("start")
    let port = try proxy.address().split(separator: ":")[1]
    let ss = try Program(
      TCPTests.ss ?? "", ["-tnoH", "state", "established", "sport", "=", ":\(port)"])
    #expect(try ss.waitForExit() == .code(0))
    client.close()
    return ss.outputText
  }

  @Test("A silent connection is asked after so long", .enabled(if: ss != nil))
  func keepalive() throws {
    let text = try sockets("{keepalive: 30s}")
    #expect(text.contains("timer:(keepalive,30sec") || text.contains("timer:(keepalive,29sec"))
  }

  /// A client that does not read what it is sent without end.
  private func pausedReader(_ tcp: String) throws -> (ProxyProcess, Connection) {
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: "builtin:chargen", tcp: \(tcp)}
      """)
    return (proxy, try Connection(proxy.address(), receiveBuffer: 4096))
  }

  @Test("user_timeout also ends a session whose reader only pauses, and calls it timed out")
  func userTimeout() throws {
    let (proxy, client) = try pausedReader("{user_timeout: 300ms}")
    let record = try proxy.record()
    #expect(record["end"] == "timed_out")
    #expect(record["by"] == "downstream")
    client.close()
  }

  @Test("Without it a reader may pause")
  func noUserTimeout() throws {
    let (proxy, client) = try pausedReader("{}")
    // Longer than the user timeout above takes to be noticed.
    #expect(proxy.program.wait(within: 5) { proxy.program.outputText.isEmpty ? nil : true } == nil)
    #expect(try client.receive(74 * 5000).utf8.count == 74 * 5000)
  }

  @Test("So is an endpoint's, of a session that lasts", .enabled(if: ss != nil))
  func keepaliveOfEndpoints() throws {
    let server = try Server { _ = try $0.receiveAll() }
    let proxy = try ProxyProcess(
      """
      routes:
        r: {listen: "127.0.0.1:0", to: u}
      upstreams:
        u: {endpoints: ["\(server.address)"], tcp: {keepalive: 30s}}
      """)
    let client = try Connection(proxy.address())
    let port = try #require(server.address.split(separator: ":").last)
    #expect(
      eventually {
        let ss = try? Program(
          TCPTests.ss ?? "", ["-tnoH", "state", "established", "dport", "=", ":\(port)"])
        _ = try? ss?.waitForExit()
        return ss?.outputText.contains("timer:(keepalive,") == true
      })
    client.close()
  }

  @Test("Without keepalive nobody asks", .enabled(if: ss != nil))
  func noKeepalive() throws {
    let text = try sockets("{keepalive: off}")
    #expect(text.contains("127.0.0.1"))
    #expect(!text.contains("keepalive"))
  }
}
