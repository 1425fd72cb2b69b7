// SPDX-License-Identifier: Apache-2.0
// What answers about services are put together to, what stays where one fails, and when to ask again.

import Addressing
import DNS
import Plan
import Testing

@testable import Control

/// An endpoint of a service.
private func endpoint(
  _ target: String, _ address: String, port: UInt16 = 1, priority: UInt16 = 0, weight: UInt16 = 0
) -> ServiceEndpoint {
  ServiceEndpoint(
    id: ServiceEndpoint.ID(
      target: target, address: IPAddress(address) ?? .v4(.any), port: port), priority: priority,
    weight: weight)
}

@Suite("NameAnswer")
struct NameAnswerTests {
  private let services = DNSServices(
    [
      DNSService(priority: 1, weight: 2, port: 5, target: "a"),
      DNSService(priority: 3, weight: 4, port: 6, target: "b"),
    ], timeToLive: .seconds(60))

  private func found(
    _ addresses: [String], _ seconds: Int = 90, unanswered: IPFamily? = nil
  ) -> Result<DNSAddresses, DNSFailure> {
    .success(
      DNSAddresses(
        addresses.compactMap(IPAddress.init), timeToLive: .seconds(seconds),
        unanswered: unanswered))
  }

  private let failed = Result<DNSAddresses, DNSFailure>.failure(DNSFailure(reason: "gone"))

  @Test("Every address of every server is an endpoint, and the shortest time to live counts")
  func together() {
    let answer = NameAnswer(
      services, ["a": found(["10.0.0.1", "10.0.0.2"]), "b": found(["10.0.0.1"], 7)], after: [])
    #expect(
      answer.resolution
        == .service([
          endpoint("a", "10.0.0.1", port: 5, priority: 1, weight: 2),
          endpoint("a", "10.0.0.2", port: 5, priority: 1, weight: 2),
          endpoint("b", "10.0.0.1", port: 6, priority: 3, weight: 4),
        ]))
    #expect(answer.timeToLive == .seconds(7))
    #expect(answer.failedTargets.isEmpty)
  }

  @Test(
    "A server whose name cannot be looked up keeps the addresses it had, with what is new of it")
  func keeps() {
    let last = [endpoint("a", "10.0.0.7", port: 9), endpoint("b", "10.0.0.8", port: 6)]
    let answer = NameAnswer(services, ["a": failed, "b": found(["10.0.0.9"])], after: last)
    #expect(
      answer.resolution
        == .service([
          endpoint("a", "10.0.0.7", port: 5, priority: 1, weight: 2),
          endpoint("b", "10.0.0.9", port: 6, priority: 3, weight: 4),
        ]))
    #expect(answer.failedTargets == ["a": "gone"])
    #expect(answer.timeToLive == .seconds(60))
  }

  @Test("One that never had any is left out, and if none has, the look-up has failed")
  func leavesOut() {
    let some = NameAnswer(services, ["a": failed, "b": found(["10.0.0.9"])], after: [])
    #expect(
      some.resolution == .service([endpoint("b", "10.0.0.9", port: 6, priority: 3, weight: 4)]))
    let none = NameAnswer(services, ["a": failed, "b": failed], after: [])
    #expect(none.resolution == .failed("no address for a: gone"))
  }

  @Test("A service that comes to more endpoints than it may has failed, and the last ones stay")
  func bound() {
    func answer(_ ports: Int) -> NameAnswer {
      let many = DNSServices(
        (1...ports).map { DNSService(priority: 0, weight: 1, port: UInt16($0), target: "a") },
        timeToLive: .seconds(60))
      let addresses = (0..<32).map { "10.0.0.\($0)" }
      return NameAnswer(many, ["a": found(addresses)], after: [])
    }
    if case .service(let endpoints) = answer(32).resolution {
      #expect(endpoints.count == 1024)
    } else {
      Issue.record("as many as there may be are too many")
    }
    #expect(
      answer(33).resolution == .failed("the service comes to more than 1024 endpoints"))
  }

  @Test("Addresses of a family that nobody answered for stay")
  func unanswered() {
    let last = [endpoint("a", "10.0.0.7"), endpoint("a", "fd00::7")]
    let one = DNSServices([services.services[0]], timeToLive: .seconds(60))
    let answer = NameAnswer(one, ["a": found(["10.0.0.1"], unanswered: .v6)], after: last)
    #expect(
      answer.resolution
        == .service([
          endpoint("a", "10.0.0.1", port: 5, priority: 1, weight: 2),
          endpoint("a", "fd00::7", port: 5, priority: 1, weight: 2),
        ]))
  }
}

@Suite("NameTable: services")
struct NameTableServiceTests {
  private let question = NameQuestion(name: "s", kind: .service, source: .servers([]))

  @Test("Servers come and go by name, address and port; weights and priorities change in place")
  func changes() {
    var table = NameTable()
    let first = endpoint("a", "10.0.0.1", weight: 1)
    let second = endpoint("b", "10.0.0.2")
    table.learn(question, .service([first, second]))
    #expect(table.note(question, .service([second, first])) == .same)
    var heavier = first
    heavier.weight = 9
    #expect(
      table.note(question, .service([second, heavier])) == .changed(added: [], removed: []))
    #expect(table.last(question) == .service([heavier, second]))
    let moved = endpoint("b", "10.0.0.2", port: 2)
    #expect(
      table.note(question, .service([moved, heavier]))
        == .changed(added: ["b(10.0.0.2:2)"], removed: ["b(10.0.0.2:1)"]))
    #expect(table.last(question) == .service([heavier, moved]))
    #expect(table.note(question, .failed("gone")) == .failed("gone"))
    #expect(table.note(question, .failed("gone")) == .stillFailed)
    #expect(table.failuresInRow(question) == 2)
    #expect(table.last(question) == .service([heavier, moved]))
    #expect(table.failing == ["s"])
  }

  @Test("One name asked of two name servers has two answers")
  func sources() {
    var table = NameTable()
    let one = NameQuestion(name: "db", source: .servers([.v4(.loopback, port: 1)]))
    table.learn("db", .addresses([.v4(.loopback)]))
    #expect(!table.knows(one))
    table.learn(one, .addresses([.v4(.any)]))
    _ = table.note(one, .failed("gone"))
    #expect(table.failing == ["db"])
    #expect(table.failures == ["db": 1])
    #expect(table.failuresInRow("db") == 0)
  }
}

@Suite("NameSchedule")
struct NameScheduleTests {
  private func schedule(_ interval: ResolvePlan.Interval) throws -> NameSchedule {
    try #require(NameSchedule(ResolvePlan(interval)))
  }

  @Test("A time to live is waited for within its bounds")
  func bounds() throws {
    let schedule = try schedule(.timeToLive(min: .seconds(2), max: .seconds(60)))
    #expect(schedule.pause(after: .seconds(30), failures: 0) == .seconds(30))
    #expect(schedule.pause(after: .zero, failures: 0) == .seconds(2))
    #expect(schedule.pause(after: .seconds(3600), failures: 0) == .seconds(60))
    #expect(schedule.pause(after: nil, failures: 0) == .seconds(2))
  }

  @Test("After failures the pauses double, up to the bound")
  func failures() throws {
    let schedule = try schedule(.timeToLive(min: .seconds(2), max: .seconds(9)))
    let pauses = (1...40).map { schedule.pause(after: .seconds(60), failures: $0) }
    #expect(pauses.prefix(4) == [.seconds(2), .seconds(4), .seconds(8), .seconds(9)])
    #expect(pauses.last == .seconds(9))
    // One dead server among others: as often, but what the others have said does not hold longer for that.
    let parts = (1...40).map {
      schedule.pause(after: .seconds(60), failures: 0, partialFailures: $0)
    }
    #expect(parts == pauses)
    #expect(
      schedule.pause(after: .seconds(3), failures: 0, partialFailures: 40) == .seconds(3))
    let fixed = try self.schedule(.every(.seconds(30)))
    #expect(fixed.pause(after: nil, failures: 40) == .seconds(30))
  }

  @Test("Of what several upstreams want, the soonest counts")
  func merged() throws {
    var schedule = try schedule(.timeToLive(min: .seconds(5), max: .seconds(60)))
    schedule.merge(try self.schedule(.every(.seconds(20))))
    schedule.merge(try self.schedule(.timeToLive(min: .seconds(9), max: .seconds(30))))
    #expect(schedule.pause(after: .seconds(10), failures: 0) == .seconds(10))
    #expect(schedule.pause(after: .seconds(50), failures: 0) == .seconds(20))
    #expect(schedule.pause(after: .seconds(1), failures: 0) == .seconds(5))
  }

  @Test("Names that are never looked up again have none")
  func never() {
    #expect(NameSchedule(ResolvePlan(.never)) == nil)
  }
}
