// SPDX-License-Identifier: Apache-2.0
// Random schedules against the fake kernel: workers, clients, servers, network and clock take turns
// in an order that follows from a seed, and whatever they do, no byte is lost, doubled or reordered,
// an end is told as what it was, every session ends, and nothing leaks. In most of them the plan
// changes again and again meanwhile, each worker in its own time.
//
// SLUICE_SCHEDULES=N runs N seeds, from SLUICE_SCHEDULE_FIRST on; SLUICE_SCHEDULE_SEED=S runs one
// alone. SLUICE_SCHEDULE_SAYS=1 says each seed beforehand, since one that ends in a trap cannot be
// reported afterwards; SLUICE_SCHEDULE_TRACE=N says all that happens to client N. ScheduleWorld.swift says how to choose what happens and what is asked.

import Glibc
import Testing

@testable import DataPlane

@Suite struct ScheduleTests {
  static var seeds: [UInt64] {
    let number = { (name: String) in environment(name).flatMap { UInt64($0) } }
    if let seed = number("SLUICE_SCHEDULE_SEED") { return [seed] }
    let first = number("SLUICE_SCHEDULE_FIRST") ?? 1
    return Array(first..<first + (number("SLUICE_SCHEDULES") ?? 300))
  }

  static var world: ScheduleWorld {
    .chosen(by: "SLUICE_SCHEDULE_WORLD", among: ScheduleWorld.names, standard: .standard)
  }
  static var rules: ScheduleRules {
    .chosen(by: "SLUICE_SCHEDULE_RULES", among: ScheduleRules.names, standard: .standard)
  }

  static func say(_ text: String) {
    _ = text.utf8.withContiguousStorageIfAvailable { write(2, $0.baseAddress, $0.count) }
  }

  @Test func whateverHappensInWhateverOrderTheStreamsAreKept() throws {
    let (seeds, world, rules) = (ScheduleTests.seeds, ScheduleTests.world, ScheduleTests.rules)
    let isVerbose = environment("SLUICE_SCHEDULE_SAYS") != nil || seeds.count == 1
    var tally = ScheduleTally()
    for seed in seeds {
      if isVerbose { ScheduleTests.say("schedule \(seed)\n") }
      let schedule = try Schedule(seed: seed, world: world, rules: rules)
      if let client = environment("SLUICE_SCHEDULE_TRACE").flatMap({ Int($0) }) {
        schedule.trace(client, ScheduleTests.say)
      }
      schedule.run()
      tally.add(schedule)
      #expect(schedule.complaints.isEmpty, "seed \(seed): \(schedule.complaints)")
    }
    guard seeds.count >= 100 else { return }
    // Schedules in which nothing happens would prove nothing.
    #expect(tally.sessions > 5 * seeds.count)
    #expect(tally.splices > 100)
    #expect(tally.handedOver > 20)
    #expect(tally.staleEvents > 0)
    #expect(tally.changes > 3 * seeds.count)
    for reason in [
      SessionEnd.Reason.finished, .reset, .connectRefused, .idle, .halfCloseTimeout, .allDown,
      .queueFull, .queueTimedOut, .holdFull, .holdTimedOut, .retryBudget, .endpointDown,
    ] {
      #expect(tally.reasons[reason, default: 0] > 0, "no session ended as \(reason)")
    }
  }
}

/// What all schedules together have been through.
struct ScheduleTally {
  var sessions = 0
  var splices = 0
  var handedOver = 0
  var staleEvents = 0
  var changes = 0
  var reasons: [SessionEnd.Reason: Int] = [:]

  mutating func add(_ schedule: Schedule) {
    sessions += schedule.journal.ends.count
    splices += schedule.kernel.spliceCount
    handedOver += schedule.handedOver
    staleEvents += schedule.staleEvents
    changes += schedule.changes
    for named in schedule.journal.ends {
      if let reason = named.record.end?.reason { reasons[reason, default: 0] += 1 }
    }
  }
}
