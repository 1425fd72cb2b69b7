// SPDX-License-Identifier: Apache-2.0
// `listen`: every kind of address that clients can arrive at.

import Foundation
import Glibc
import Testing

@Suite("listen")
struct ListenTests {
  /// A proxy that echoes at `listen`.
  private func proxy(
    at listen: String, environment: [String: String] = [:], descriptors: [Int32: Int32] = [:],
    shell: String? = nil
  ) throws -> ProxyProcess {
    try ProxyProcess(
      """
      routes:
        r: {listen: \(listen), to: "builtin:echo"}
      """, environment: environment, descriptors: descriptors, shell: shell)
  }

  @Test("An IPv4 address and port serves")
  func address() throws {
    let proxy = try proxy(at: "\"127.0.0.1:0\"")
    #expect(try Connection(proxy.address()).ask("hello") == "hello")
  }

  @Test("An IPv6 address serves", .enabled(if: hasIPv6))
  func addressOfVersion6() throws {
    let proxy = try proxy(at: "\"[::1]:0\"")
    #expect(try Connection(proxy.address()).ask("hello") == "hello")
  }

  @Test(
    "A port alone serves both families",
    arguments: hasIPv6 ? ["127.0.0.1", "[::1]"] : ["127.0.0.1"])
  func port(host: String) throws {
    let proxy = try proxy(at: "\":0\"")
    let port = try proxy.address().split(separator: ":")[1]
    #expect(try Connection("\(host):\(port)").ask("hello") == "hello")
  }

  @Test("A client of a dual socket is logged by its IPv4 address")
  func mappedAddress() throws {
    let proxy = try proxy(at: "\":0\"")
    _ = try Connection(proxy.address()).ask("hello")
    #expect(try proxy.record()["client"]?.hasPrefix("127.0.0.1:") == true)
  }

  @Test("A list listens at every address of it")
  func list() throws {
    let proxy = try proxy(at: "[\"127.0.0.1:0\", \"127.0.0.2:0\"]")
    #expect(try Connection(proxy.address()).ask("one") == "one")
    #expect(try Connection(proxy.address(number: 1)).ask("two") == "two")
  }

  @Test("A unix socket serves")
  func unixPath() throws {
    let folder = try Folder()
    let proxy = try proxy(at: "\"unix:\(folder.path("s"))\"")
    #expect(try Connection(proxy.address()).ask("hello") == "hello")
    #expect(try proxy.record()["client"] == "unix")
  }

  @Test("A unix socket's file is removed at the end")
  func unixPathIsRemoved() throws {
    let folder = try Folder()
    let proxy = try proxy(at: "\"unix:\(folder.path("s"))\"")
    #expect(folder.exists("s"))
    #expect(try proxy.end() == .code(0))
    #expect(!folder.exists("s"))
  }

  @Test("The file of a unix socket that nobody listens at any more is replaced")
  func staleUnixPath() throws {
    let folder = try Folder()
    let path = "unix:\(folder.path("s"))"
    // Closed without being removed, as by a process that was killed.
    _ = try BoundSocket(path)
    #expect(folder.exists("s"))
    let proxy = try proxy(at: "\"\(path)\"")
    #expect(try Connection(proxy.address()).ask("hello") == "hello")
  }

  @Test("A unix socket that somebody listens at is not taken away")
  func usedUnixPath() throws {
    let folder = try Folder()
    let path = "unix:\(folder.path("s"))"
    let other = try BoundSocket(path)
    #expect(throws: ScenarioFailure.self) { try proxy(at: "\"\(path)\"") }
    #expect(folder.exists("s"))
    #expect(other.descriptor >= 0)
  }

  @Test("A file of another kind is not taken away")
  func fileOfAnotherKind() throws {
    let folder = try Folder()
    try "precious".write(toFile: folder.path("s"), atomically: false, encoding: .utf8)
    #expect(throws: ScenarioFailure.self) { try proxy(at: "\"unix:\(folder.path("s"))\"") }
    #expect(folder.text("s") == "precious")
  }

  @Test("An abstract name serves")
  func abstractName() throws {
    let proxy = try proxy(at: "\"unix:@sluice-test-\(getpid())-\(UInt32.random(in: 0 ... .max))\"")
    #expect(try Connection(proxy.address()).ask("hello") == "hello")
  }

  @Test("A socket that the parent process has opened serves")
  func inheritedDescriptor() throws {
    let socket = try BoundSocket()
    let proxy = try proxy(at: "\"fd:3\"", descriptors: [3: socket.descriptor])
    #expect(try Connection(socket.address).ask("hello") == "hello")
    #expect(try proxy.address() == socket.address)
  }

  @Test("A client that came before the proxy to an inherited socket is served")
  func inheritedQueue() throws {
    let socket = try BoundSocket()
    let client = try Connection(socket.address)
    let proxy = try proxy(at: "\"fd:3\"", descriptors: [3: socket.descriptor])
    #expect(try client.ask("early") == "early")
    #expect(try proxy.record()["listener"] == "fd:3=\(socket.address)")
  }

  @Test("A descriptor that is no socket is refused by its number")
  func inheritedNothing() throws {
    let failure = #expect(throws: ScenarioFailure.self) { try proxy(at: "\"fd:3\"") }
    #expect(failure?.description.contains("passed no socket as descriptor 3") == true)
  }

  @Test("A service manager's socket that no route listens at is told")
  func unusedActivation() throws {
    let sockets = [try BoundSocket(), try BoundSocket()]
    let proxy = try proxy(
      at: "\"fd:3\"", environment: ["LISTEN_FDS": "2"],
      descriptors: [3: sockets[0].descriptor, 4: sockets[1].descriptor],
      shell: "export LISTEN_PID=$$;")
    #expect(proxy.event("a socket was handed over")?["listen"] == "fd:4")
  }
}
