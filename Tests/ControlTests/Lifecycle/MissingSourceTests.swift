// SPDX-License-Identifier: Apache-2.0
// Source addresses that are not here are told, with whose they are; those that are here are not.

import Addressing
import Plan
import Reactor
import Testing

@testable import Control

@Suite("Missing sources")
struct MissingSourceTests {
  private let here = SocketAddress.v4(.loopback, port: 9)

  @Test("Each upstream's addresses that this machine does not have are told")
  func missing() throws {
    // Of the networks for documentation (RFC 5737): nobody has them.
    let away = try ["192.0.2.1", "198.51.100.1"].map { try #require(IPAddress($0)) }
    let own = try #require(IPAddress("127.0.0.1"))
    var plan = samplePlan([.socket(here)])
    plan.upstreams[0].source = [own, away[0], away[1]]
    plan.upstreams += [
      UpstreamPlan(name: "v", source: [away[0]], endpoints: plan.upstreams[0].endpoints),
      UpstreamPlan(name: "w", source: [own], endpoints: plan.upstreams[0].endpoints),
    ]
    #expect(
      MissingSource.all(in: plan) == [
        MissingSource(upstream: "u", address: away[0], cause: .addressNotAvailable),
        MissingSource(upstream: "u", address: away[1], cause: .addressNotAvailable),
        MissingSource(upstream: "v", address: away[0], cause: .addressNotAvailable),
      ])
  }

  @Test("Without source addresses nothing is told")
  func none() {
    #expect(MissingSource.all(in: samplePlan([.socket(here)])).isEmpty)
  }
}
