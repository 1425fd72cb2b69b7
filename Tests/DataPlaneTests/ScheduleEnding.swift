// SPDX-License-Identifier: Apache-2.0
// How a random schedule comes to its end: nobody new arrives, nothing fails by chance any more, and every
// party hurries, reads slowly but steadily, or stands still for good. Time passes quickly where nothing
// happens.

import Reactor

@testable import DataPlane

extension Schedule {
  /// For how long a schedule may take to end, in rounds.
  private static var roundsMax: Int { 60_000 }
  /// How long to wait for what has no deadline that is seen here: the pace at which waiting sessions go on.
  private static var quietRoundsMax: Int { 50 }

  func comeToAnEnd() {
    kernel.chaos.transferPerMille = 0
    kernel.chaos.reportPerMille = 0
    kernel.chaos.resourcePerMille = 0
    kernel.chaos.shortagePerMille = 0
    kernel.descriptorsMax = 1_000_000
    kernel.nextAcceptError = nil
    rig.post(.use(rig.topology))
    comeToRest()
    restFor(milliseconds: 600)
    reckonRest()
    journal.isEnding = true
    // Without any timeout a session ends by its peers alone.
    let standsStill = hasIdleTimeout && chaos.below(2) == 0
    parties.removeAll { $0.isGone || (standsStill && !$0.isEager) }
    var quietRounds = 0
    for round in 0..<Schedule.roundsMax {
      if isOver || quietRounds == Schedule.quietRoundsMax { break }
      if playRound() {
        kernel.advance(milliseconds: 1 + round / 1000)
        quietRounds = 0
      } else if let next = nextMoment {
        kernel.time = max(next, kernel.time.advanced(by: 1_000_000))
        quietRounds = 0
      } else {
        kernel.advance(milliseconds: 100)
        quietRounds += 1
      }
    }
    if !isOver {
      let seconds = kernel.time.nanoseconds / 1_000_000_000 - 1000
      complain("not over after \(seconds) s, the last \(quietRounds) rounds without anything")
    }
    readRest()
  }

  /// Every worker, the network and every party once. Returns whether anything has happened.
  private func playRound() -> Bool {
    var hasHappened = turnAll()
    if kernel.carryAll(stepsMax: world.contains(.slowNetwork) ? 1 : .max) { hasHappened = true }
    var position = 0
    while position < parties.count {
      if parties[position].comeToAnEnd() { hasHappened = true }
      if parties[position].isGone { parties.swapRemove(position) } else { position += 1 }
    }
    return hasHappened
  }

  private var isOver: Bool {
    rig.topology.sessions.value == 0
      && rig.openListeners.allSatisfy { kernel.listener($0.descriptor).waitingCount == 0 }
  }

  /// When something happens next, but for what the control loop paces.
  private var nextMoment: Instant? {
    var next = Instant.distantFuture
    for worker in rig.workers { next = min(next, worker.nextDeadline()) }
    for party in parties { next = min(next, party.nextActionAt ?? .distantFuture) }
    guard next < .distantFuture else { return nil }
    return min(next, kernel.time.advanced(by: 100_000_000))
  }

  /// Turns all workers, and has the rooms attended to. Returns whether any had something to do.
  private func turnAll() -> Bool {
    var hasHappened = false
    for number in rig.workers.indices {
      turn(number)
      if kernel.lastWait.count > 0 || kernel.lastWait.timeoutMilliseconds == 0 {
        hasHappened = true
      }
    }
    if rig.paceQueues() { hasHappened = true }
    rig.noteReports()
    return hasHappened
  }

  /// Whatever was going on, it comes to rest while time stands still and nobody does anything.
  private func comeToRest() {
    for _ in 0..<20_000 {
      let isQuiet = !kernel.carryAll()
      if !turnAll(), isQuiet, !kernel.carryAll() { return }
    }
    complain("no rest: \(rig.sessionsInWords)")
  }

  /// Time passes in which nobody does anything.
  private func restFor(milliseconds: Int) {
    for _ in 0..<milliseconds / 100 {
      kernel.advance(milliseconds: 100)
      comeToRest()
    }
  }

  /// What is still under way reaches its goal, and is read. Reading makes room for what waits for it.
  private func readRest() {
    repeat {
      kernel.carryAll()
      for party in parties { party.readRest() }
    } while kernel.carryAll()
  }
}
