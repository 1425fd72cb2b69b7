// SPDX-License-Identifier: Apache-2.0
// Asking: yes, no, and all the ways in which there is no answer.

import Addressing
import EventLoop
import Glibc
import HTTP1
import Reactor
import Testing

@testable import Admin

@Suite struct AdminProbeTests {
  /// Asks what sends `text` to whoever connects, and then ends the connection.
  private func ask(somethingThatSays text: String) throws -> AdminProbe.Outcome {
    let loop = try Loop()
    return try loop.run {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      let task = loop.spawn(name: "something") {
        let stream = try await listener.accept(until: Client.deadline)
        try stream.write(Array(text.utf8))
        stream.close()
        try await stream.waitClosed(until: Client.deadline)
      }
      let outcome = await AdminProbe(listener.address, .isReady).ask(until: Client.deadline)
      try? await task.value
      listener.close()
      return outcome
    }
  }

  @Test func theServerIsAsked() throws {
    let source = AdminSource(
      readiness: { Readiness(reasons: ["draining", "worker 1 does not answer"]) },
      metrics: { _ in .complete })
    try serving(source) { server, _ in
      let ready = await AdminProbe(server.address, .isReady).ask(until: Client.deadline)
      #expect(ready == .no("draining\nworker 1 does not answer\n"))
      let live = await AdminProbe(server.address, .isAlive).ask(until: Client.deadline)
      #expect(live == .yes("ok\n"))
    }
    try serving { server, _ in
      let ready = await AdminProbe(server.address, .isReady).ask(until: Client.deadline)
      #expect(ready == .yes("ok\n"))
    }
  }

  @Test func nobodyListensThere() throws {
    let path = "/tmp/sluice-test-\(getpid())-\(UInt64.random(in: .min ... .max)).sock"
    let loop = try Loop()
    let outcome = try loop.run {
      await AdminProbe(.unix(path: path), .isReady).ask(until: Client.deadline)
    }
    #expect(
      outcome
        == .nobody(
          "nobody listens at unix:\(path); is the program running, and does `admin: listen` say "
            + "the same?"))
  }

  @Test func nobodyAnswers() throws {
    let loop = try Loop()
    let outcome = try loop.run {
      // Connections are made by the kernel; nobody accepts them.
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      defer { listener.close() }
      return await AdminProbe(listener.address, .isReady)
        .ask(until: loop.now.advanced(by: 50_000_000))
    }
    guard case .unanswered(let words) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(words.contains("in time"))
  }

  @Test(arguments: [
    ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered 404"),
    ("HTTP/1.1 100 Continue\r\n\r\n", "answered 100"),
    ("SSH-2.0-x\r\n", "does not speak HTTP"), ("", "the connection ended before"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "the connection ended before"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "longer than 65536 bytes"),
  ])
  func somethingElseListensThere(_ text: String, _ part: String) throws {
    let outcome = try ask(somethingThatSays: text)
    guard case .unanswered(let words) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(words.contains(part))
  }

  @Test func aContentMayEndWithTheConnection() throws {
    #expect(
      try ask(somethingThatSays: "HTTP/1.0 200 OK\r\n\r\nok\nnote: x\n") == .yes("ok\nnote: x\n"))
  }
}
