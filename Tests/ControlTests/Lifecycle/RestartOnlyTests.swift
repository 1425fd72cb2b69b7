// SPDX-License-Identifier: Apache-2.0
// What a reload leaves as it was, and names.

import Plan
import Testing

@testable import Control

@Suite("What needs a restart")
struct RestartOnlyTests {
  private let running = ProxyPlan(
    workers: .count(2),
    routes: [RoutePlan(name: "r", listen: [.port(1)], upstream: UpstreamIndex(0))],
    upstreams: [UpstreamPlan(name: "r", endpoints: [EndpointPlan(address: .builtin(.echo))])])

  @Test("An equal plan keeps nothing back")
  func equal() {
    var plan = running
    #expect(plan.keepWhatNeedsRestart(from: running) == [])
    #expect(plan == running)
  }

  @Test("Routes, upstreams and the shutdown are taken up")
  func taken() {
    var plan = running
    plan.routes[0].idle = .seconds(5)
    plan.upstreams[0].connect = .seconds(1)
    plan.shutdown.delay = .seconds(3)
    let wanted = plan
    #expect(plan.keepWhatNeedsRestart(from: running) == [])
    #expect(plan == wanted)
  }

  @Test("What threads and tables were made by is kept, and named by its key")
  func kept() {
    var plan = running
    plan.workers = .auto
    plan.spin = .microseconds(5)
    plan.sessionsMax = .count(7)
    plan.log.level = .debug
    plan.relay.bufferBytes = 1
    plan.shutdown.drain = nil
    #expect(
      plan.keepWhatNeedsRestart(from: running)
        == ["workers", "spin", "max_sessions", "log", "relay"])
    var wanted = running
    wanted.shutdown.drain = nil
    #expect(plan == wanted)
  }
}
