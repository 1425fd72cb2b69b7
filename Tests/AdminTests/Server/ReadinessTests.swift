// SPDX-License-Identifier: Apache-2.0
// When a proxy asks to be left alone, and when it only remarks.

import Testing

@testable import Admin

@Suite struct ReadinessTests {
  private func facts(
    _ stage: ReadinessFacts.Stage = .serving, _ upstreams: ReadinessFacts.Upstream...
  ) -> ReadinessFacts {
    var facts = ReadinessFacts(stage: stage)
    facts.upstreams = upstreams
    return facts
  }

  private let up = ReadinessFacts.Upstream(name: "cache", endpoints: 2, endpointsUp: 1)
  private let down = ReadinessFacts.Upstream(name: "db", endpoints: 3, endpointsUp: 0)

  @Test func aProxyThatServesIsReady() {
    #expect(Readiness(facts()).isReady)
    #expect(Readiness(facts(.serving, up)) == Readiness())
  }

  @Test func startingAndDrainingAreReasons() {
    #expect(Readiness(facts(.starting, up)).reasons == ["starting"])
    #expect(Readiness(facts(.draining, up)).reasons == ["draining"])
  }

  @Test func oneDeadUpstreamOfManyIsANote() {
    let readiness = Readiness(facts(.serving, up, down))
    #expect(readiness.isReady)
    #expect(readiness.notes == ["upstream db: all 3 endpoints are down"])
  }

  @Test func whenAllUpstreamsAreDeadNobodyCanBeServed() {
    let single = ReadinessFacts.Upstream(name: "x", endpoints: 1, endpointsUp: 0)
    let empty = ReadinessFacts.Upstream(name: "y", endpoints: 0, endpointsUp: 0)
    let readiness = Readiness(facts(.serving, down, single, empty))
    #expect(
      readiness.reasons == [
        "upstream db: all 3 endpoints are down", "upstream x: its endpoint is down",
        "upstream y has no endpoint",
      ])
    #expect(readiness.notes.isEmpty)
  }

  @Test func anUpstreamWithoutItsQuorumIsDead() {
    let partial = ReadinessFacts.Upstream(name: "db", endpoints: 3, endpointsUp: 1, quorum: 2)
    #expect(
      Readiness(facts(.serving, partial)).reasons == [
        "upstream db: 1 of 3 endpoints up, and its quorum is 2"
      ])
    #expect(Readiness(facts(.serving, partial, up)).isReady)
    let none = ReadinessFacts.Upstream(name: "db", endpoints: 3, endpointsUp: 0, quorum: 2)
    #expect(
      Readiness(facts(.serving, none)).reasons == ["upstream db: all 3 endpoints are down"])
    let enough = ReadinessFacts.Upstream(name: "db", endpoints: 3, endpointsUp: 2, quorum: 2)
    #expect(Readiness(facts(.serving, enough)) == Readiness())
  }

  @Test func anUpstreamInPanicServes() {
    let panic = ReadinessFacts.Upstream(
      name: "db", endpoints: 3, endpointsUp: 0, isInPanic: true)
    #expect(
      Readiness(facts(.serving, panic))
        == Readiness(notes: ["upstream db: 0 of 3 endpoints up, so all are used"]))
  }

  @Test func aWorkerThatHangsIsAReason() {
    var facts = facts(.serving, up)
    facts.silentWorkers = [1]
    facts.notes = ["accepting pauses"]
    #expect(
      Readiness(facts)
        == Readiness(reasons: ["worker 1 does not answer"], notes: ["accepting pauses"]))
  }
}
