// SPDX-License-Identifier: Apache-2.0
// What `peak_ewma` measures: connecting, or the first byte back.

import Plan
import Reactor
import Testing

@testable import DataPlane

@Suite struct LatencyTests {
  private func rig(_ measure: EWMAPlan.Measure, ports: [UInt16] = [9000]) throws -> Rig {
    var plan = RigPlan(ports: ports)
    plan.upstreams[0].balance = .peakEWMA(EWMAPlan(measure: measure, decay: .seconds(10)))
    return try Rig(plan)
  }

  private func milliseconds(_ rig: Rig, _ position: Int = 0) -> Float? {
    rig.topology.endpoints[position].state.averageLatency
      .seconds(at: rig.worker.now.nanoseconds, decayNanoseconds: 10_000_000_000)
      .map { $0 * 1000 }
  }

  @Test func connectingIsMeasured() throws {
    let rig = try rig(.connect)
    rig.kernel.serve(9000, .accepts)
    _ = rig.connectClient()
    rig.settle()
    // Time stands still on the fake network.
    #expect(try #require(milliseconds(rig)) < 0.01)
    #expect(rig.tearDown() == [])
  }

  @Test func whoFailsCountsAsSlow() throws {
    let rig = try rig(.connect)
    rig.kernel.serve(9000, .refuses)
    _ = rig.connectClient()
    rig.settle()
    #expect(abs(try #require(milliseconds(rig)) - 1500) < 10)
    #expect(rig.tearDown() == [])
  }

  @Test func theFirstByteBackIsMeasuredFromTheLastByteToIt() throws {
    let rig = try rig(.firstByte)
    let server = rig.kernel.serve(9000, .accepts)
    let client = rig.connectClient()
    rig.settle()
    rig.advance(milliseconds: 500)
    #expect(milliseconds(rig) == nil)
    client.write("ask")
    rig.settle()
    // How long a client thinks is not the endpoint's doing.
    rig.advance(milliseconds: 60_000, step: 500)
    client.write("ask more")
    rig.settle()
    rig.advance(milliseconds: 100)
    server.accepted[0].write("answer")
    rig.settle()
    #expect(abs(try #require(milliseconds(rig)) - 100) < 5)
    // Later ones say nothing about the endpoint.
    rig.advance(milliseconds: 5000)
    server.accepted[0].write("more")
    rig.settle()
    #expect(try #require(milliseconds(rig)) < 100)
    #expect(rig.tearDown() == [])
  }

  @Test func whoSpeaksFirstIsMeasuredFromTheConnection() throws {
    let rig = try rig(.firstByte)
    let server = rig.kernel.serve(9000, .accepts)
    _ = rig.connectClient()
    rig.settle()
    rig.advance(milliseconds: 50)
    server.accepted[0].write("hello")
    rig.settle()
    #expect(abs(try #require(milliseconds(rig)) - 50) < 5)
    #expect(rig.tearDown() == [])
  }
}
