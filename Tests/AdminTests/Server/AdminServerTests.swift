// SPDX-License-Identifier: Apache-2.0
// The admin interface over real sockets: who gets what, and that nobody can keep others out.

import Addressing
import EventLoop
import Glibc
import HTTPTypes
import Reactor
import Testing

@testable import Admin

@Suite struct AdminServerTests {
  @Test func allPagesAreServedOnOneConnection() throws {
    try serving { server, _ in
      var client = try await Client(server)
      let live = try await client.get("/livez")
      #expect(live.status == 200)
      #expect(live.text == "ok\n")
      #expect(live.fields[.cacheControl] == "no-store")
      let ready = try await client.get("/readyz")
      #expect(ready.status == 200)
      #expect(ready.text == "ok\n")
      let classic = try await client.get("/metrics")
      #expect(classic.fields[.contentType] == ExpositionFormat.classic.contentType)
      #expect(
        classic.text.contains("\nsluice_admin_requests_total{path=\"/readyz\",code=\"200\"} 1\n"))
      let open = try await client.get("/metrics", "Accept: application/openmetrics-text\r\n")
      #expect(open.fields[.contentType] == ExpositionFormat.openMetrics.contentType)
      #expect(open.text.hasSuffix("\n# EOF\n"))
      #expect(
        open.text.contains("\nsluice_admin_requests_total{path=\"/metrics\",code=\"200\"} 1\n"))
      let none = try await client.get("/")
      #expect(none.status == 404)
      #expect(none.keepsConnection)
      #expect(try await client.get("/livez").status == 200)
    }
  }

  @Test func aHeadHasTheLengthAndNoContent() throws {
    try serving { server, _ in
      var client = try await Client(server)
      try client.send("HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n")
      let head = try #require(try await client.answer(to: .head))
      #expect(head.fields[.contentLength] == "3")
      #expect(head.text == "")
      // Were there content, it would be read as the next answer.
      #expect(try await client.get("/livez").text == "ok\n")
    }
  }

  @Test func notReadyIsSaidWithItsReasons() throws {
    let source = AdminSource(
      readiness: { Readiness(reasons: ["draining"], notes: ["slow"]) },
      metrics: { _ in .complete })
    try serving(source) { server, _ in
      var client = try await Client(server)
      let answer = try await client.get("/readyz")
      #expect(answer.status == 503)
      #expect(answer.text == "draining\nnote: slow\n")
      #expect(try await client.get("/livez").status == 200)
    }
  }

  @Test func requestsThatArriveTogetherAreAnsweredInTheirOrder() throws {
    try serving { server, _ in
      var client = try await Client(server)
      let request = " HTTP/1.1\r\nHost: x\r\n\r\n"
      try client.send("GET /livez\(request)GET /nowhere\(request)GET /readyz\(request)GET /li")
      #expect(try await client.answer()?.status == 200)
      #expect(try await client.answer()?.status == 404)
      #expect(try await client.answer()?.status == 200)
      try client.send("vez\(request)")
      #expect(try await client.answer()?.text == "ok\n")
    }
  }

  @Test func aRequestMayArriveByteByByte() throws {
    try serving { server, loop in
      var client = try await Client(server)
      for character in "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" {
        try client.send(String(character))
        try await loop.yield()
      }
      #expect(try await client.answer()?.text == "ok\n")
    }
  }

  @Test(arguments: [
    ("POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
    ("GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 413),
    ("GET /livez HTTP/1.1\r\n\r\n", 400), ("GET /livez HTTP/1.1\nHost: x\n\n", 400),
    ("GET /livez HTTP/3.0\r\n", 505), ("\u{16}\u{3}\u{1}\u{2}\0\u{1}", 400),
    ("GET /\(String(repeating: "a", count: 9000))", 414),
    ("GET / HTTP/1.1\r\nX: \(String(repeating: "a", count: 9000))", 431),
    ("GET / HTTP/1.1\r\n" + String(repeating: "X: y\r\n", count: 65), 431),
  ])
  func whatIsNoRequestForAPageIsToldSoAndEnds(_ text: String, _ status: Int) throws {
    try serving { server, _ in
      var client = try await Client(server)
      try client.send(text)
      let answer = try #require(try await client.answer())
      #expect(answer.status == status)
      #expect(!answer.keepsConnection)
      #expect(answer.text.hasSuffix("\n"))
      #expect(try await client.isEnded())
      var other = try await Client(server)
      #expect(try await other.get("/livez").status == 200)
    }
  }

  @Test func oldClientsGetOneAnswer() throws {
    try serving { server, _ in
      for field in ["", "Connection: keep-alive\r\n"] {
        var client = try await Client(server)
        try client.send("GET /livez HTTP/1.0\r\n\(field)\r\n")
        #expect(try await client.answer()?.keepsConnection == false)
        #expect(try await client.isEnded())
      }
    }
  }

  @Test func aConnectionMakesABoundedNumberOfRequests() throws {
    var limits = AdminLimits.patient
    limits.requestsMax = 2
    try serving(.complete, limits) { server, _ in
      var client = try await Client(server)
      #expect(try await client.get("/livez").keepsConnection)
      #expect(try await client.get("/livez").keepsConnection == false)
      #expect(try await client.isEnded())
    }
  }

  @Test func whoSendsTooSlowlyIsToldSo() throws {
    var limits = AdminLimits.patient
    limits.timeout = .milliseconds(50)
    try serving(.complete, limits) { server, loop in
      var client = try await Client(server)
      try client.send("GET /livez HTTP/1.1\r\n")
      // Bytes that keep coming do not help: the deadline is that of the request.
      let drip = loop.spawn(name: "drip") { [stream = client.stream] in
        while true {
          try stream.write(Array("X: y\r\n".utf8))
          try await loop.sleep(for: .milliseconds(10))
        }
      }
      #expect(try await client.answer()?.status == 408)
      drip.cancel()
      #expect(try await client.isEnded())
    }
  }

  @Test func whoSaysNothingIsLetGo() throws {
    var limits = AdminLimits.patient
    limits.idle = .milliseconds(50)
    try serving(.complete, limits) { server, _ in
      var silent = try await Client(server)
      #expect(try await silent.isEnded())
      var once = try await Client(server)
      #expect(try await once.get("/livez").status == 200)
      #expect(try await once.isEnded())
    }
  }

  @Test func whoDoesNotReadIsLetGo() throws {
    var limits = AdminLimits.patient
    limits.timeout = .milliseconds(50)
    let source = AdminSource(
      readiness: { Readiness() },
      metrics: { _ in
        var snapshot = MetricsSnapshot(version: "1", sessionsMax: 1)
        let name = String(repeating: "x", count: 1 << 18)
        snapshot.routes = (0..<2).map { RouteMetrics(route: "\(name)\($0)") }
        return snapshot
      })
    // The kernel buffers less for a unix socket than for TCP.
    let path = "/tmp/sluice-test-\(getpid())-\(UInt64.random(in: .min ... .max)).sock"
    try serving(source, limits, at: .unix(path: path)) { server, loop in
      let client = try await Client(server)
      try client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
      // It never reads; that the connection is gone shows when it writes.
      try await wait(loop) { () -> Void? in
        do {
          try client.send("x")
          return nil
        } catch {
          return ()
        }
      }
      var other = try await Client(server)
      #expect(try await other.get("/livez").status == 200)
    }
  }

  @Test func whoResetsHarmsNobody() throws {
    try serving { server, _ in
      for _ in 0..<20 {
        let client = try await Client(server)
        try client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        client.stream.abort()
      }
      var other = try await Client(server)
      #expect(try await other.get("/livez").status == 200)
    }
  }

  @Test func overTheBoundThereIsA503() throws {
    var limits = AdminLimits.patient
    limits.connectionsMax = 1
    let loopOfEvent = Gate()
    let source = AdminSource(
      readiness: { Readiness() },
      metrics: { _ in
        try await loopOfEvent.pass()
        return .complete
      })
    try serving(source, limits) { server, loop in
      var first = try await Client(server)
      try first.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
      try await wait(loop) { loopOfEvent.isWaitedFor ? () : nil }
      var second = try await Client(server)
      let answer = try await second.get("/livez")
      #expect(answer.status == 503)
      #expect(try await second.isEnded())
      loopOfEvent.open()
      #expect(try await first.answer()?.status == 200)
      let text = try await first.get("/metrics").text
      #expect(text.contains("\nsluice_admin_requests_total{path=\"other\",code=\"503\"} 1\n"))
    }
  }

  @Test func anIdleConnectionGivesItsPlaceToANewcomer() throws {
    var limits = AdminLimits.patient
    limits.connectionsMax = 2
    try serving(.complete, limits) { server, _ in
      var idle = try await Client(server)
      #expect(try await idle.get("/livez").status == 200)
      var newcomers: [Client] = []
      for _ in 0..<10 {
        var newcomer = try await Client(server)
        #expect(try await newcomer.get("/livez").status == 200)
        newcomers.append(newcomer)
      }
      #expect(try await idle.isEnded())
    }
  }

  @Test func metricsThatCannotBeHadAreExplained() throws {
    let source = AdminSource(
      readiness: { Readiness() },
      metrics: { until in
        #expect(until > Loop.current!.now)
        throw StreamError.deadlinePassed
      })
    try serving(source) { server, _ in
      var client = try await Client(server)
      let answer = try await client.get("/metrics")
      #expect(answer.status == 503)
      #expect(answer.text == "the metrics cannot be collected now: the deadline has passed\n")
      #expect(answer.keepsConnection)
    }
  }

  @Test func aUnixSocketIsForItsGroup() throws {
    let path = "/tmp/sluice-test-\(getpid())-\(UInt64.random(in: .min ... .max)).sock"
    try serving(at: .unix(path: path)) { server, _ in
      var status = stat()
      #expect(stat(path, &status) == 0)
      #expect(status.st_mode & 0o7777 == 0o660)
      var client = try await Client(server)
      #expect(try await client.get("/livez").status == 200)
    }
    #expect(access(path, F_OK) == -1)
  }

  @Test func curlUnderstandsIt() throws {
    guard access("/usr/bin/curl", X_OK) == 0 else { return }
    try serving { server, _ in
      let pool = BlockingPool(name: "curl", threadsMax: 1)
      let url = "http://\(server.address)"
      let text = try await pool.run { () -> String in
        let command =
          "curl --silent --show-error --max-time 20 \(url)/livez --head \(url)/metrics 2>&1"
        guard let pipe = popen(command, "r") else { return "" }
        defer { pclose(pipe) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = fread(&bytes, 1, bytes.count, pipe)
        return String(decoding: bytes[..<count], as: UTF8.self)
      }
      #expect(text.hasPrefix("HTTP/1.1 200 OK\r\n"))
      #expect(text.contains("\r\nContent-Length: 3\r\n"))
      #expect(text.contains("version=0.0.4"))
    }
  }
}

/// A gate that a task of a loop waits at.
private final class Gate: @unchecked Sendable {
  // SAFETY: touched by tasks of one loop alone.
  private(set) var isWaitedFor = false
  private var isOpen = false

  func open() { isOpen = true }

  func pass() async throws {
    isWaitedFor = true
    let loop = Loop.current!
    try await wait(loop) { isOpen ? () : nil }
  }
}
