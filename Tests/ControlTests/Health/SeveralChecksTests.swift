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

  @Test func theTimeoutIsThatOfThemAll() throws {
    try Loop().run {
      let server = try TalkingServer([])
      let found = await outcome(
        .allOf([good, hanging]), at: server.address, timeout: .milliseconds(50))
      #expect(found == .failed(.part("redis", .noAnswer(within: .milliseconds(50)))))
    }
  }
}
