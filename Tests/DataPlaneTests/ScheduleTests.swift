// SPDX-License-Identifier: Apache-2.0
// Random schedules against the fake kernel: workers, clients, servers, network and clock take turns
// in an order that follows from a seed, and whatever they do, no byte is lost, doubled or reordered,
// an end is told as what it was, every session ends, and nothing leaks. In most of them the plan
// changes again and again meanwhile, each worker in its own time.
//
// SLUICE_SCHEDULES=N runs N seeds, from SLUICE_SCHEDULE_FIRST on; SLUICE_SCHEDULE_SEED=S runs one
// alone. Each seed is told beforehand, since one that ends in a trap cannot be reported afterwards.

import Glibc
import Testing

@testable import DataPlane

@Suite struct ScheduleTests {
  private static func environment(_ name: String) -> UInt64? {
    getenv(name).flatMap { UInt64(String(cString: $0)) }
  }

  static var seeds: [UInt64] {
    if let seed = environment("SLUICE_SCHEDULE_SEED") { return [seed] }
    let first = environment("SLUICE_SCHEDULE_FIRST") ?? 1
    return Array(first..<first + (environment("SLUICE_SCHEDULES") ?? 300))
  }

  private func say(_ text: String) {
    _ = text.utf8.withContiguousStorageIfAvailable { write(2, $0.baseAddress, $0.count) }
  }

  @Test func whateverHappensInWhateverOrderTheStreamsAreKept() throws {
    let isVerbose = ScheduleTests.environment("SLUICE_SCHEDULES") != nil
    var tally = ScheduleTally()
    for seed in ScheduleTests.seeds {
      if isVerbose || ScheduleTests.seeds.count == 1 { say("schedule \(seed)\n") }
      let schedule = try Schedule(seed: seed)
      schedule.run()
      tally.add(schedule)
      #expect(schedule.complaints.isEmpty, "seed \(seed): \(schedule.complaints)")
    }
    let count = ScheduleTests.seeds.count
    guard count >= 100 else { return }
    // Schedules in which nothing happens would prove nothing.
    #expect(tally.sessions > 5 * count)
    #expect(tally.splices > 100)
    #expect(tally.handedOver > 20)
    #expect(tally.staleEvents > 0)
    #expect(tally.changes > 3 * count)
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
    sessions += schedule.ends.count
    splices += schedule.kernel.spliceCount
    handedOver += schedule.handedOver
    staleEvents += schedule.staleEvents
    changes += schedule.changes
    for named in schedule.ends {
      if let reason = named.record.end?.reason { reasons[reason, default: 0] += 1 }
    }
  }
}
