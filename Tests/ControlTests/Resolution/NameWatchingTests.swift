// SPDX-License-Identifier: Apache-2.0
// Which names a plan has looked up, how often, and what is said of those without an address.

import Addressing
import Plan
import Testing

@testable import Control

@Suite("Names of a plan")
struct NameWatchingTests {
  private let spare = SocketAddress.v4(.loopback, port: 9)

  @Test("Every name that has no address is told, with its upstream and endpoint")
  func unresolved() {
    let plan = samplePlan([
      .name(host: "a", port: 1), .name(host: "good", port: 2), .name(host: "b", port: 3),
    ])
    let reasons = plan.unresolved([
      "a": .failed("gone"), "good": .addresses([]), "b": .failed("away"),
    ])
    #expect(
      reasons == [
        "upstream u, endpoint a:1: cannot look up a: gone",
        "upstream u, endpoint b:3: cannot look up b: away",
      ])
  }

  @Test("The names to look up are those of all upstreams, each once")
  func namesOfPlan() {
    let plan = samplePlan([
      .name(host: "a", port: 1), .name(host: "a", port: 2), .socket(spare), .builtin(.echo),
    ])
    #expect(plan.hostNames == ["a"])
  }

  @Test(
    "A name is looked up again as often as the most eager upstream wants, and only where one does")
  func watchedNames() {
    var plan = samplePlan([.name(host: "a", port: 1), .name(host: "b", port: 1)])
    #expect(plan.watchedNames == [:])
    plan.upstreams[0].resolve = .seconds(30)
    plan.upstreams.append(
      UpstreamPlan(
        name: "v", resolve: .seconds(5),
        endpoints: [EndpointPlan(address: .name(host: "a", port: 2))]))
    #expect(plan.watchedNames == ["a": .seconds(5), "b": .seconds(30)])
  }
}
