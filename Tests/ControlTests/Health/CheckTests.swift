// SPDX-License-Identifier: Apache-2.0
// Checks over real sockets: what each kind of server makes of them, and what they leave behind.

import Addressing
import EventLoop
import Plan
import Reactor
import Testing

@testable import Control

@Suite struct CheckTests {
  private func outcome(
    _ plan: HealthCheckPlan, at address: SocketAddress, turn: Int = 0, source: [IPAddress] = []
  ) async -> CheckOutcome {
    guard let loop = Loop.current else { return .cancelled }
    return await Check(sampleSubject(plan, at: address, source: source))
      .run(turn: turn, until: loop.now.advanced(by: plan.timeout.wholeNanoseconds))
  }

  private func http(
    _ plan: HTTPCheckPlan = HTTPCheckPlan(), timeout: Duration = .seconds(20)
  ) -> HealthCheckPlan {
    HealthCheckPlan(.http(plan), timeout: timeout)
  }

  private let patient = HealthCheckPlan(.tcp, timeout: .seconds(20))

  @Test func aConnectionIsGoodAndIsReset() throws {
    try Loop().run {
      let server = try CheckedServer()
      #expect(await outcome(patient, at: server.address) == .good)
      #expect(try await soon { server.ends.count == 1 })
      #expect(server.ends == [.failed(action: "reading", .connectionReset)])
    }
  }

  @Test func aRefusalFails() throws {
    try Loop().run {
      let found = await outcome(patient, at: vacantAddress())
      #expect(found == .failed(.stream(.failed(action: "connecting", .connectionRefused))))
      let gone = await outcome(patient, at: .unix(path: "/nonexistent/sluice.sock"))
      #expect(gone == .failed(.stream(.failed(action: "connecting", .noSuchFileOrDirectory))))
    }
  }

  @Test func aConnectionThatDoesNotComeFailsInTime() throws {
    try Loop().run {
      // Nobody accepts, and the queue is full after two.
      let listener = try StreamListener(at: vacantAddress(), backlog: 1)
      var waiting: [EventLoop.Stream] = []
      for _ in 0..<2 { waiting.append(try await Stream.connect(to: listener.address)) }
      let found = await outcome(
        HealthCheckPlan(.tcp, timeout: .milliseconds(50)), at: listener.address)
      #expect(found == .failed(.noConnection(within: .milliseconds(50))))
      for stream in waiting { stream.abort() }
    }
  }

  @Test func anAnswerIsJudged() throws {
    try Loop().run {
      let server = try CheckedServer(.answer(["HTTP/1.1 200 OK\r\n", "\r\n", "all", " well"]))
      #expect(await outcome(http(), at: server.address) == .good)
      #expect(await outcome(http(HTTPCheckPlan(body: "all well")), at: server.address) == .good)
      #expect(
        await outcome(http(HTTPCheckPlan(body: "all ill")), at: server.address)
          == .failed(.bodyLacks(bytesMax: nil)))
      server.behaviour = .answer(["HTTP/1.1 503 No\r\n\r\n"])
      #expect(await outcome(http(), at: server.address) == .failed(.status(503)))
      server.behaviour = .answer([])
      #expect(await outcome(http(), at: server.address) == .failed(.ended))
      let port = server.address.port ?? 0
      #expect(
        server.requests.first
          == "GET / HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nUser-Agent: sluice\r\n"
          + "Connection: close\r\n\r\n")
    }
  }

  @Test func aServerThatOnlyAcceptsIsNotWaitedForTooLong() throws {
    try Loop().run {
      let server = try CheckedServer(.silence)
      let plan = http(timeout: .milliseconds(50))
      let expected = CheckOutcome.failed(.noAnswer(within: .milliseconds(50)))
      #expect(await outcome(plan, at: server.address) == expected)
      // A byte now and then is no answer either.
      server.behaviour = .answer(["HTTP/1.1 200 OK\r\n"] + Array(repeating: "X", count: 10_000))
      #expect(await outcome(plan, at: server.address) == expected)
    }
  }

  @Test func aServerThatResetsFails() throws {
    try Loop().run {
      let server = try CheckedServer(.reset)
      let found = await outcome(http(), at: server.address)
      guard case .failed(.stream(.failed(_, .connectionReset))) = found else {
        Issue.record("\(found)")
        return
      }
    }
  }

  @Test func sourceAddressesOfTheFamilyAreUsedInTurn() throws {
    let second = IPAddress.v4(IPv4Address(rawValue: 0x7F00_0002))
    let third = IPAddress.v4(IPv4Address(rawValue: 0x7F00_0003))
    try Loop().run {
      let server = try CheckedServer(.silence)
      for turn in 0..<3 {
        let found = await outcome(
          patient, at: server.address, turn: turn, source: [.v6(.loopback), second, third])
        #expect(found == .good)
      }
      #expect(try await soon { server.clients.count == 3 })
      #expect(server.clients.map { $0?.ip } == [second, third, second])
      // A unix socket has none.
      let local = try CheckedServer(.silence, isUnix: true)
      #expect(await outcome(patient, at: local.address, source: [second]) == .good)
    }
  }

  @Test func whatThisProcessLacksIsNotTheEndpointsFault() throws {
    // An address of no machine (RFC 5737).
    let foreign = IPAddress.v4(IPv4Address(rawValue: 0xC000_0201))
    try Loop(LoopOptions(descriptorsMax: 1)).run {
      let listener = try StreamListener(at: .v4(.loopback, port: 0))
      #expect(
        await outcome(patient, at: listener.address)
          == .impossible(.stream(.failed(action: "connecting", .tooManyOpenFiles))))
      #expect(
        await outcome(patient, at: listener.address, source: [foreign])
          == .impossible(.stream(.failed(action: "binding", .addressNotAvailable))))
    }
  }

  @Test func aCancelledCheckEndsAtOnce() throws {
    try Loop().run {
      let server = try CheckedServer(.silence)
      let plan = http(timeout: .seconds(300))
      let address = server.address
      let task = Loop.current?.spawn(name: "check") { await outcome(plan, at: address) }
      #expect(try await soon { server.acceptedCount == 1 })
      task?.cancel()
      #expect(try await task?.value == .cancelled)
      #expect(try await soon { server.ends.count == 1 })
    }
  }

  @Test func causesAreSentences() {
    #expect(CheckFailure.noConnection(within: .seconds(1)).description == "no connection within 1s")
    #expect(
      CheckFailure.noAnswer(within: .milliseconds(1500)).description == "no answer within 1500ms")
    #expect(
      CheckFailure.stream(.failed(action: "connecting", .connectionRefused)).description
        == "connecting: Connection refused")
    #expect(CheckFailure.status(503).description == "status 503")
    #expect(
      CheckFailure.malformed(.truncated).description
        == "the answer is not HTTP as it should be: the connection ended before the message did")
    #expect(
      CheckFailure.bodyLacks(bytesMax: 1024).description
        == "the first 1024 bytes of the answer lack what `body` wants")
  }
}
