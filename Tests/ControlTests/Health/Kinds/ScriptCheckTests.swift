// SPDX-License-Identifier: Apache-2.0
// Scripts as checks: what they get to know, and what is made of how they end.

import Addressing
import EventLoop
import Glibc
import Plan
import Reactor
import Testing

@testable import Control

@Suite struct ScriptCheckTests {
  private let address = SocketAddress.v4(IPv4Address(rawValue: 0x0A00_0001), port: 5432)

  private func script(_ text: String) -> HealthCheckPlan.Kind {
    .script(ScriptCheckPlan(command: ["/bin/sh", "-c", text]))
  }

  @Test func theExitCodeDecides() throws {
    try Loop().run {
      #expect(await outcome(script("exit 0"), at: address) == .good)
      #expect(
        await outcome(script("echo first; echo 'disk full'; echo; exit 2"), at: address)
          == .failed(.script(.exited(2), lastLine: "disk full")))
      #expect(
        await outcome(script("kill -KILL $$"), at: address)
          == .failed(.script(.killed(signal: 9), lastLine: "")))
      #expect(
        await outcome(script("sleep 1000"), at: address, timeout: .milliseconds(50))
          == .failed(.scriptTimeout(.milliseconds(50))))
    }
    #expect(CheckFailure.script(.exited(2), lastLine: "no").description == "exit code 2: no")
    #expect(
      CheckFailure.script(.killed(signal: 9), lastLine: "").description == "killed by signal 9")
    #expect(
      CheckFailure.scriptTimeout(.seconds(1)).description == "the script did not end within 1s")
  }

  @Test func itGetsToKnowTheEndpointAndNoSecrets() throws {
    setenv("SLUICE_TEST_SECRET", "hunter2", 1)
    try Loop().run {
      let wanted =
        "[ \"$SLUICE_UPSTREAM $SLUICE_ENDPOINT $SLUICE_ADDRESS $SLUICE_HOST $SLUICE_PORT\""
      let found = await outcome(
        script("\(wanted) = 'u e 10.0.0.1:5432 10.0.0.1 5432' ] && [ -z \"$SLUICE_TEST_SECRET\" ]"),
        at: address)
      #expect(found == .good)
      let unix = await outcome(
        script("[ \"$SLUICE_ADDRESS\" = unix:/run/a.sock ] && [ -z \"$SLUICE_HOST$SLUICE_PORT\" ]"),
        at: .unix(path: "/run/a.sock"))
      #expect(unix == .good)
    }
  }

  @Test func aScriptThatCannotBeStartedIsHeldAgainstNobody() throws {
    try Loop().run {
      let found = await outcome(
        .script(ScriptCheckPlan(command: ["/nonexistent"])), at: address)
      #expect(found == .impossible(.script(.noSuchFileOrDirectory)))
    }
    #expect(
      CheckHindrance.script(.permissionDenied).description
        == "starting the script: Permission denied")
  }

  @Test func noMoreRunAtOnceThanMay() throws {
    try Loop().run {
      let loop = try #require(Loop.current)
      let runner = ScriptRunner()
      let plan = HealthCheckPlan(script("sleep 1000"), timeout: .seconds(300))
      let check = Check(sampleSubject(plan, at: address), scripts: runner)
      let running = (0..<ScriptRunner.runningMax).map { number in
        loop.spawn(name: "script \(number)") { await check.run(turn: 0, until: .distantFuture) }
      }
      try await loop.sleep(for: .milliseconds(1))
      let found = await check.run(turn: 0, until: loop.now.advanced(by: 20_000_000))
      #expect(found == .impossible(.busy))
      for task in running { task.cancel() }
      for task in running { #expect(try await task.value == .cancelled) }
    }
  }

  @Test func waitingForAPlaceIsNotHeldAgainstTheEndpoint() throws {
    try Loop().run {
      let loop = try #require(Loop.current)
      let runner = ScriptRunner()
      for _ in 0..<ScriptRunner.runningMax { try await runner.places.acquire() }
      let plan = HealthCheckPlan(script("exit 0"), timeout: .seconds(300))
      let check = Check(sampleSubject(plan, at: address), scripts: runner)
      let task = loop.spawn(name: "script") {
        await check.run(turn: 0, until: loop.now.advanced(by: 300_000_000_000))
      }
      try await loop.sleep(for: .milliseconds(1))
      runner.places.release()
      #expect(try await task.value == .good)
      // Its time counts from when it runs: this one is not done by the time by which it must.
      let slow = Check(
        sampleSubject(HealthCheckPlan(script("sleep 0.3"), timeout: .seconds(300)), at: address),
        scripts: runner)
      var found = CheckOutcome.impossible(.busy)
      while found == .impossible(.busy) {
        found = await slow.run(turn: 0, until: loop.now.advanced(by: 200_000_000))
      }
      #expect(found == .good)
      // Who has a place, and no thread that would start it in time, has not been asked.
      let late = await check.run(turn: 0, until: loop.now)
      #expect(late == .impossible(.busy))
    }
  }

  @Test(arguments: [
    ("", ""), ("\n\n", ""), ("a", "a"), ("a\nb\n", "b"), ("a\r\n \n", "a"),
    ("a\tb\u{1B}[1m", "a?b?[1m"),
  ])
  func theLastLineIsToldAsText(_ output: String, _ line: String) {
    #expect(ScriptCheck.lastLine(Array(output.utf8)) == line)
  }

  @Test func aLongLineIsCut() {
    #expect(ScriptCheck.lastLine(Array(repeating: 0x61, count: 4096)).utf8.count == 200)
    #expect(ScriptCheck.lastLine([0xFF, 0xFE]) == "\u{FFFD}\u{FFFD}")
  }
}
