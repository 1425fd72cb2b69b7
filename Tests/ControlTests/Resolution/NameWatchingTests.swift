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
    #expect(Set(plan.questions.keys) == ["a"])
  }

  @Test(
    "A name is looked up again as often as the most eager upstream wants, and only where one does")
  func watchedNames() {
    var plan = samplePlan([.name(host: "a", port: 1), .name(host: "b", port: 1)])
    #expect(plan.watchedQuestions == [:])
    plan.upstreams[0].resolve = ResolvePlan(.every(.seconds(30)))
    plan.upstreams.append(
      UpstreamPlan(
        name: "v", resolve: ResolvePlan(.every(.seconds(5)), timeout: .seconds(20)),
        endpoints: [EndpointPlan(address: .name(host: "a", port: 2))]))
    let watched = plan.watchedQuestions.mapValues { [$0.every, $0.timeout] }
    #expect(
      watched == ["a": [.seconds(5), .seconds(20)], "b": [.seconds(30), .seconds(10)]])
    #expect(plan.questions == ["a": .seconds(20), "b": .seconds(10)])
  }
}
