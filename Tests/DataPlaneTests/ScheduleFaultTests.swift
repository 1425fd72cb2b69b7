// SPDX-License-Identifier: Apache-2.0
// That the verdict of random schedules finds faults: one is injected into each schedule (FakeFaults.swift),
// and schedules that end without complaints otherwise must end with some.
//
//     SLUICE_INJECT=lost-wakeup|reset|early-timer
//
// runs SLUICE_SCHEDULES schedules (10,000) with faults of one kind and says how many were found, and after
// how many schedules the first was. Otherwise each kind is tried until one is found.

import Testing

@testable import DataPlane

@Suite struct ScheduleFaultTests {
  @Test(arguments: FakeFaults.Kind.allCases)
  func anInjectedFaultIsFound(_ kind: FakeFaults.Kind) throws {
    let chosen = environment("SLUICE_INJECT")
    guard chosen == nil || chosen == kind.rawValue else { return }
    precondition(
      chosen == nil || FakeFaults.Kind(rawValue: chosen ?? "") != nil,
      "SLUICE_INJECT is one of \(FakeFaults.Kind.allCases.map(\.rawValue))")
    let first = environment("SLUICE_SCHEDULE_FIRST").flatMap { UInt64($0) } ?? 1
    let count =
      chosen == nil ? 300 : environment("SLUICE_SCHEDULES").flatMap { UInt64($0) } ?? 10_000
    var (injected, found, firstFound) = (0, 0, UInt64?.none)
    for seed in first..<first + count {
      if environment("SLUICE_SCHEDULE_SAYS") != nil { ScheduleTests.say("schedule \(seed)\n") }
      let schedule = try run(seed, kind)
      guard schedule.kernel.faults.hasHappened else { continue }
      injected += 1
      guard !schedule.complaints.isEmpty, try run(seed, nil).complaints.isEmpty else { continue }
      found += 1
      if firstFound == nil {
        firstFound = seed - first + 1
        if chosen != nil { ScheduleTests.say("seed \(seed): \(schedule.complaints)\n") }
      }
      if chosen == nil { break }
    }
    if chosen != nil {
      let after = firstFound.map { "the first after \($0) schedules" } ?? "none"
      ScheduleTests.say("\(kind.rawValue): \(found) of \(injected) faults found, \(after)\n")
    }
    #expect(injected > 0)
    #expect(found > 0, "no fault of the kind \(kind.rawValue) was found in \(count) schedules")
  }

  private func run(_ seed: UInt64, _ fault: FakeFaults.Kind?) throws -> Schedule {
    let schedule = try Schedule(seed: seed, world: ScheduleTests.world, rules: .all, fault: fault)
    schedule.run()
    return schedule
  }
}
