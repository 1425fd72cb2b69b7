// SPDX-License-Identifier: Apache-2.0
// How the open-files limit is shared out: never more than there is, and never nothing in silence.

import Addressing
import Plan
import Reactor
import Testing

@testable import Control

@Suite("Resource budget")
struct ResourceBudgetTests {
  private let twoProcessors = AvailableProcessors(affinity: 2, quotaThousandths: nil)

  @Test("Everything that is handed out fits into the limit", arguments: [64, 256, 1024, 20_000])
  func fits(openFilesMax: Int) throws {
    for isBuiltin in [false, true] {
      let plan = samplePlan(isBuiltin ? [.builtin(.echo)] : [.socket(.v4(.loopback, port: 9))])
      let budget = try #require(
        ResourceBudget(plan, openFilesMax: openFilesMax, processors: twoProcessors))
      let perSession = isBuiltin ? 3 : 2
      let used = budget.sessionsMax * perSession + budget.pipes * 2 + budget.workers * 3
      #expect(used + 32 <= openFilesMax)
      #expect(budget.sessionsMax > 0)
    }
  }

  @Test("A limit without room for a session gives no budget", arguments: [0, 10, 31])
  func noRoom(openFilesMax: Int) {
    let plan = samplePlan([.socket(.v4(.loopback, port: 9))])
    #expect(ResourceBudget(plan, openFilesMax: openFilesMax, processors: twoProcessors) == nil)
  }

  @Test("Health checks and the admin interface have their share, and not more than that")
  func control() throws {
    func sessionsMax(_ plan: ProxyPlan) throws -> Int {
      try #require(ResourceBudget(plan, openFilesMax: 1024, processors: twoProcessors)).sessionsMax
    }
    var plan = samplePlan([.socket(.v4(.loopback, port: 9))])
    let alone = try sessionsMax(plan)
    plan.admin = AdminPlan(listen: .v4(.loopback, port: 1), connectionsMax: 10)
    let withAdmin = try sessionsMax(plan)
    #expect((10...11).contains(alone - withAdmin))
    plan.admin = nil
    plan.upstreams[0].endpoints = (1...100).map {
      EndpointPlan(address: .socket(.v4(.loopback, port: $0)))
    }
    #expect(try sessionsMax(plan) == alone)
    plan.upstreams[0].check = HealthCheckPlan(.tcp)
    #expect(try sessionsMax(plan) == alone - 50)
    plan.upstreams[0].endpoints = (1...1000).map {
      EndpointPlan(address: .socket(.v4(.loopback, port: $0)))
    }
    #expect(try sessionsMax(plan) == alone - 64)
  }

  @Test("A number of sessions that there is room for is taken as it is")
  func asked() throws {
    var plan = samplePlan([.socket(.v4(.loopback, port: 9))])
    plan.sessionsMax = .count(100)
    let budget = try #require(
      ResourceBudget(plan, openFilesMax: 1024, processors: twoProcessors))
    #expect(budget.sessionsMax == 100)
    #expect(budget.sessionsMaxFrom == .configuration)
    #expect(budget.refusedSessionsMax == nil)
  }

  @Test("A number of sessions that there is no room for is cut down and remembered")
  func askedTooMuch() throws {
    var plan = samplePlan([.socket(.v4(.loopback, port: 9))])
    plan.sessionsMax = .count(5000)
    let budget = try #require(
      ResourceBudget(plan, openFilesMax: 1024, processors: twoProcessors))
    #expect(budget.sessionsMax < 512)
    #expect(budget.sessionsMaxFrom == .openFiles)
    #expect(budget.refusedSessionsMax == 5000)
  }

  @Test(
    "A limit so high that it says nothing gives a million sessions",
    arguments: [1_073_741_816, Int.max])
  func hugeLimit(openFilesMax: Int) throws {
    for isBuiltin in [false, true] {
      var plan = samplePlan(isBuiltin ? [.builtin(.echo)] : [.socket(.v4(.loopback, port: 9))])
      let budget = try #require(
        ResourceBudget(plan, openFilesMax: openFilesMax, processors: twoProcessors))
      #expect(budget.sessionsMax == 1_000_000)
      #expect(budget.sessionsMaxFrom == .auto)
      #expect(budget.refusedSessionsMax == nil)
      plan.sessionsMax = .count(SessionsMax.countMax)
      let asked = try #require(
        ResourceBudget(plan, openFilesMax: openFilesMax, processors: twoProcessors))
      #expect(asked.sessionsMax == SessionsMax.countMax)
      #expect(asked.sessionsMaxFrom == .configuration)
    }
  }

  @Test("Where memory for the tables is missing, it is said what to lower")
  func noMemory() {
    let failure = StartFailure("starting worker 0", sessionsMax: 7, errno: .noMemory)
    #expect(failure.description.contains("tables of 7 sessions; lower max_sessions"))
    let other = StartFailure("starting worker 0", sessionsMax: 7, errno: .tooManyOpenFiles)
    #expect(other.description == "starting worker 0")
  }

  @Test("Builtin endpoints cost a descriptor per session more")
  func builtins() throws {
    let outside = samplePlan([.socket(.v4(.loopback, port: 9))])
    let inside = samplePlan([.builtin(.echo)])
    let budgets = try [outside, inside].map {
      try #require(ResourceBudget($0, openFilesMax: 10_000, processors: twoProcessors))
    }
    #expect(budgets[0].sessionsMax * 2 / 3 - budgets[1].sessionsMax < 10)
  }

  @Test("As many workers as processors that may really be used")
  func workers() throws {
    let plan = samplePlan([.builtin(.echo)])
    let processors = AvailableProcessors(affinity: 8, quotaThousandths: 2500)
    let budget = try #require(
      ResourceBudget(plan, openFilesMax: 10_000, processors: processors))
    #expect(budget.workers == 2)
  }

  @Test("Pipes that are asked for take no more than half of the descriptors")
  func pipes() throws {
    var plan = samplePlan([.builtin(.echo)])
    plan.relay.pipes = .count(100_000)
    let budget = try #require(
      ResourceBudget(plan, openFilesMax: 1000, processors: twoProcessors))
    #expect(budget.pipes == 250)
  }
}
