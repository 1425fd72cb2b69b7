// SPDX-License-Identifier: Apache-2.0
// `any_of` and `all_of`: several checks at the same time, one verdict.

import Addressing
import EventLoop
import Plan
import Reactor
import Testing

@testable import Control

@Suite struct SeveralChecksTests {
  private let good = HealthCheckPlan.Part(.tcp)
  private let bad = HealthCheckPlan.Part(.tcp, target: .address(vacantAddress()))
  /// Never ends by itself.
  private let hanging = HealthCheckPlan.Part(.redis(RedisCheckPlan()))
  private let impossible = HealthCheckPlan.Part(
    .script(ScriptCheckPlan(command: ["/nonexistent"])))
  private let refusal = CheckFailure.stream(
    .failed(action: "connecting", .connectionRefused))

  private func verdict(_ kind: HealthCheckPlan.Kind) throws -> CheckOutcome {
    try Loop().run {
      let server = try TalkingServer([])
      let found = await outcome(kind, at: server.address, timeout: .seconds(300))
      // Nobody goes on who was not needed.
      #expect(try await soon { server.ends.count == server.acceptedCount })
      return found
    }
  }

  @Test func oneOfAnyIsEnough() throws {
    #expect(try verdict(.anyOf([bad, good])) == .good)
    #expect(try verdict(.anyOf([hanging, impossible, good])) == .good)
    #expect(
      try verdict(.anyOf([bad, bad]))
        == .failed(.all([.part("tcp", refusal), .part("tcp", refusal)])))
    // Who could not be asked may be good.
    #expect(try verdict(.anyOf([bad, impossible])) == .impossible(.script(.noSuchFileOrDirectory)))
  }

  @Test func oneOfAllIsTooMany() throws {
    #expect(try verdict(.allOf([good, good])) == .good)
    #expect(try verdict(.allOf([good, hanging, bad])) == .failed(.part("tcp", refusal)))
    #expect(try verdict(.allOf([impossible, bad])) == .failed(.part("tcp", refusal)))
    #expect(
      try verdict(.allOf([good, impossible])) == .impossible(.script(.noSuchFileOrDirectory)))
    #expect(
      CheckFailure.all([.part("tcp", .status(500)), .part("redis", .ended)]).description
        == "tcp: status 500; redis: the connection ended without an answer")
  }

  @Test func whoIsNotAskedAnyMoreIsNoVerdict() throws {
    for kind in [HealthCheckPlan.Kind.anyOf([hanging, hanging]), .allOf([hanging, good])] {
      try Loop().run {
        let server = try TalkingServer([])
        let address = server.address
        let task = Loop.current?.spawn(name: "check") {
          await outcome(kind, at: address, timeout: .seconds(300))
        }
        #expect(try await soon { server.acceptedCount == 2 })
        task?.cancel()
        #expect(try await task?.value == .cancelled)
        #expect(try await soon { server.ends.count == 2 })
      }
    }
  }

  @Test func whoWouldBeCountedForLeavingIsNotMadeTo() throws {
    let refused: [UInt8] = [0xFF, 0x15, 0x04] + Array("#28000".utf8)
    let greeting = [10, 0x38, 0] + [UInt8](repeating: 0x61, count: 15)
    try Loop().run {
      let told = Event()
      let server = try TalkingServer([
        .send(MySQLCheck.framed(greeting, number: 0)), .readAny(36), .wait(told),
        .send(MySQLCheck.framed(refused, number: 2)), .finish,
      ])
      let mysql = HealthCheckPlan.Part(
        .mysql(MySQLCheckPlan()), target: .address(server.address))
      let address = server.address
      // The other part has failed, or it all is called off, when the handshake has begun.
      for kind in [HealthCheckPlan.Kind.allOf([bad, mysql]), .mysql(MySQLCheckPlan())] {
        told.clear()
        let heard = server.heard.count
        let task = Loop.current?.spawn(name: "check") {
          await outcome(kind, at: address, timeout: .seconds(300))
        }
        #expect(try await soon { server.heard.count > heard })
        if case .mysql = kind { task?.cancel() }
        try await Loop.current?.sleep(for: .milliseconds(20))
        #expect(server.ends.count == heard)
        told.set()
        let isCancelled = try await task?.value == .cancelled
        #expect(isCancelled == (kind == .mysql(MySQLCheckPlan())))
        #expect(try await soon { server.ends.count > heard })
      }
    }
  }

  @Test func theTimeoutIsThatOfThemAll() throws {
    try Loop().run {
      let server = try TalkingServer([])
      let found = await outcome(
        .allOf([good, hanging]), at: server.address, timeout: .milliseconds(50))
      #expect(found == .failed(.part("redis", .noAnswer(within: .milliseconds(50)))))
    }
  }
}
