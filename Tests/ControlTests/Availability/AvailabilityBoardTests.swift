// SPDX-License-Identifier: Apache-2.0
// What checks, sessions and time come to on the board.

import Balancing
import Plan
import Reactor
import Testing

@testable import Control
@testable import DataPlane

private func outlier(
  failures: Int = 3, eject: Duration = .seconds(10), max: Duration = .seconds(60), share: Int = 50
) -> OutlierPlan {
  OutlierPlan(
    failures: failures, ejectTime: eject, ejectTimeMax: max, ejectedPercentMax: share)
}

@Suite struct AvailabilityBoardTests {
  // MARK: Checks

  @Test func verdictsOfChecksCount() {
    let rig = BoardRig(endpoints: 2)
    #expect(rig.letters == "uu")
    #expect(rig.takeTold() == [])
    rig.check(1, isUp: false)
    #expect(rig.letters == "ud")
    #expect(rig.takeTold() == [.endpoint(EndpointIndex(1))])
    rig.check(1, isUp: false)
    #expect(rig.takeTold() == [])
    rig.check(1, isUp: true)
    #expect(rig.letters == "uu")
    #expect(rig.takeTold() == [.endpoint(EndpointIndex(1))])
    #expect(rig.serving == .healthy)
  }

  @Test func whoIsDownFromTheBeginningIsSo() {
    let rig = BoardRig(endpoints: 1)
    rig.upstreams[0].endpoints.append(BoardRig.Endpoint(number: 1, isUp: false))
    rig.follow()
    #expect(rig.letters == "ud")
    rig.check(1, isUp: true)
    #expect(rig.letters == "uu")
  }

  @Test func aVerdictOnWhoIsNotThereIsIgnored() {
    let rig = BoardRig(endpoints: 1)
    rig.check(7, isUp: false)
    #expect(rig.takeTold() == [])
  }

  // MARK: Ejections

  @Test func whoFailsIsLeftOutAndComesBackOnProbation() {
    let rig = BoardRig(endpoints: 3) { $0.outlier = outlier() }
    rig.fail(1, times: 2)
    #expect(rig.letters == "uuu")
    rig.fail(1)
    #expect(rig.letters == "ueu")
    #expect(rig.takeTold() == [.endpoint(EndpointIndex(1))])
    // Sessions that were on their way fail as well.
    rig.fail(1, times: 5)
    rig.pass(9.9)
    #expect(rig.letters == "ueu")
    rig.pass(0.2)
    #expect(rig.letters == "uuu")
    #expect(rig.state(1).failuresInARow == 2)
    rig.fail(1)
    #expect(rig.letters == "ueu")
    rig.pass(19)
    #expect(rig.letters == "ueu")
    rig.pass(1.1)
    #expect(rig.letters == "uuu")
    #expect(
      rig.log.lines == [
        "warning endpoint is ejected endpoint=e1 failures=3 for=10s upstream=u",
        "info endpoint is ejected no more cause=its time is over endpoint=e1 upstream=u",
        "warning endpoint is ejected endpoint=e1 failures=3 for=20s upstream=u",
        "info endpoint is ejected no more cause=its time is over endpoint=e1 upstream=u",
      ])
    #expect(rig.board.ejectionStandings().values.map(\.count).sorted() == [0, 0, 2])
  }

  @Test func aSuccessEndsTheProbation() {
    let rig = BoardRig(endpoints: 2) { $0.outlier = outlier() }
    rig.fail(0, times: 3)
    rig.pass(11)
    rig.serve(0)
    rig.fail(0, times: 2)
    #expect(rig.letters == "uu")
    rig.fail(0)
    #expect(rig.letters == "eu")
  }

  @Test func inPanicASuccessBringsBackAtOnce() {
    let rig = BoardRig(endpoints: 4) {
      $0.outlier = outlier(share: 100)
      $0.panicPercent = 75
    }
    rig.fail(0, times: 3)
    #expect(rig.letters == "euuu")
    #expect(rig.serving == .healthy)
    // With two down at once, the one that is ejected would not be enough.
    rig.upstreams[0].endpoints[1].isUp = false
    rig.upstreams[0].endpoints[2].isUp = false
    rig.follow()
    #expect(rig.letters == "eddu")
    #expect(rig.serving == .panic)
    rig.now += 2
    // Whose connection is older says nothing about new ones, however often.
    rig.serve(0, connectedFor: 3)
    rig.serve(0, connectedFor: 2.5)
    #expect(rig.letters == "eddu")
    rig.serve(0, connectedFor: 1)
    #expect(rig.letters == "uddu")
    #expect(rig.state(0).failuresInARow == 0)
    rig.check(1, isUp: true)
    #expect(rig.serving == .healthy)
    #expect(
      rig.log.lines.last?.contains("enough endpoints are healthy again") == true)
    #expect(rig.log.values(of: "cause") == ["it has served a session"])
  }

  @Test func aShareIsLeftOutAtMostAndItIsSaidOnce() {
    let rig = BoardRig(endpoints: 4) { $0.outlier = outlier() }
    for number in 0..<4 { rig.fail(number, times: 9) }
    #expect(rig.letters == "eeuu")
    #expect(rig.log.lines.count == 3)
    #expect(
      rig.log.lines.last
        == "warning endpoint keeps failing and is not ejected cause=enough others are ejected=2 "
        + "endpoint=e2 healthy=2 upstream=u")
  }

  @Test func whoFailsIsEjectedAsSoonAsHeMayBe() {
    let rig = BoardRig(endpoints: 2) { $0.outlier = outlier() }
    rig.fail(0, times: 3)
    rig.now += 1
    rig.fail(1, times: 7)
    #expect(rig.letters == "eu")
    // They take turns, as long as neither has served anybody.
    rig.pass(9.1)
    #expect(rig.letters == "ue")
    rig.fail(0)
    #expect(rig.letters == "ue")
    rig.pass(10.1)
    #expect(rig.letters == "eu")
    // Who has served meanwhile is not ejected any more.
    rig.fail(1)
    rig.serve(1)
    rig.pass(21)
    #expect(rig.letters == "uu")
  }

  @Test func theLastOneIsNeverEjected() {
    let rig = BoardRig(endpoints: 3) { $0.outlier = outlier(share: 100) }
    rig.check(0, isUp: false)
    rig.check(1, isUp: false)
    rig.fail(2, times: 9)
    #expect(rig.letters == "ddu")
    let single = BoardRig(endpoints: 1) { $0.outlier = outlier(share: 100) }
    single.fail(0, times: 9)
    #expect(single.letters == "u")
  }

  @Test func whoIsNeededComesBack() {
    let rig = BoardRig(endpoints: 3) { $0.outlier = outlier(share: 100) }
    rig.fail(0, times: 3)
    rig.now += 1
    rig.fail(1, times: 3)
    #expect(rig.letters == "eeu")
    rig.check(2, isUp: false)
    // The one that would be back first, and no more than are needed.
    #expect(rig.letters == "ued")
    #expect(rig.log.values(of: "cause") == ["too few others are left"])
    rig.fail(0)
    #expect(rig.letters == "ued")
    rig.check(0, isUp: false)
    #expect(rig.letters == "dud")
  }

  @Test func checksThatAreGoodAgainAreNewerThanAnEjection() {
    let rig = BoardRig(endpoints: 3) { $0.outlier = outlier() }
    rig.fail(0, times: 3)
    rig.check(0, isUp: false)
    #expect(rig.letters == "duu")
    rig.now += 1
    rig.check(0, isUp: true)
    #expect(rig.letters == "uuu")
    // On probation, though.
    rig.fail(0)
    #expect(rig.letters == "euu")
  }

  @Test func timePassesForWhoIsDown() {
    let rig = BoardRig(endpoints: 3) { $0.outlier = outlier() }
    rig.fail(0, times: 3)
    rig.check(0, isUp: false)
    rig.pass(11)
    #expect(rig.letters == "duu")
    rig.check(0, isUp: true)
    #expect(rig.letters == "uuu")
    rig.fail(0, times: 2)
    #expect(rig.letters == "uuu")
  }

  @Test func weightNothingIsNobody() {
    let rig = BoardRig(endpoints: 3) {
      $0.outlier = outlier(share: 100)
      $0.quorum = 2
    }
    rig.upstreams[0].endpoints[2].weight = 0
    rig.follow()
    rig.fail(0, times: 3)
    #expect(rig.letters == "uuu")
    rig.check(0, isUp: false)
    #expect(rig.serving == .none)
    #expect(
      rig.board.upstreamStandings()["u"]
        == UpstreamStanding(endpoints: 2, healthy: 1, quorum: 2))
  }

  // MARK: Panic and quorum

  @Test(arguments: [(50, 4, 1), (50, 5, 2), (1, 3, 0), (100, 3, 2), (34, 3, 1), (33, 3, 0)])
  func panicBeginsBelowItsShare(_ percent: Int, _ endpoints: Int, _ first: Int) {
    let rig = BoardRig(endpoints: endpoints) { $0.panicPercent = percent }
    var healthy = endpoints
    while rig.serving == .healthy, healthy > 0 {
      healthy -= 1
      rig.check(healthy, isUp: false)
    }
    #expect(rig.serving == .panic)
    #expect(healthy == first)
    for number in 0..<endpoints { rig.check(number, isUp: true) }
    #expect(rig.serving == .healthy)
    #expect(rig.takeTold().filter { $0 == .upstream(0) }.count == 2)
  }

  @Test func withoutItsQuorumAnUpstreamServesNobody() {
    let rig = BoardRig(endpoints: 3) { $0.quorum = 2 }
    rig.check(0, isUp: false)
    #expect(rig.serving == .healthy)
    _ = rig.takeTold()
    rig.check(1, isUp: false)
    #expect(rig.serving == .none)
    #expect(rig.takeTold() == [.endpoint(EndpointIndex(1)), .upstream(0)])
    rig.check(2, isUp: false)
    rig.check(2, isUp: true)
    rig.check(0, isUp: true)
    #expect(rig.serving == .healthy)
    #expect(
      rig.log.lines == [
        "error fewer endpoints are healthy than the quorum endpoints=3 healthy=1 upstream=u",
        "info the quorum is there endpoints=3 healthy=2 upstream=u",
      ])
  }

  @Test func anEjectionNeverCostsTheQuorum() {
    let rig = BoardRig(endpoints: 4) {
      $0.quorum = 3
      $0.outlier = outlier(share: 100)
    }
    rig.fail(0, times: 3)
    rig.fail(1, times: 3)
    #expect(rig.letters == "euuu")
    rig.check(3, isUp: false)
    #expect(rig.letters == "uuud")
    #expect(rig.serving == .healthy)
    // Who would not be enough stays where he is.
    let late = BoardRig(endpoints: 4) {
      $0.quorum = 3
      $0.outlier = outlier(share: 100)
    }
    late.fail(0, times: 3)
    late.upstreams[0].endpoints[1].isUp = false
    late.upstreams[0].endpoints[2].isUp = false
    late.follow()
    #expect(late.letters == "eddu")
    #expect(late.serving == .none)
  }

  @Test func anEjectionNeverStartsThePanic() {
    let rig = BoardRig(endpoints: 5) {
      $0.panicPercent = 50
      $0.outlier = outlier(share: 100)
    }
    for number in 0..<5 { rig.fail(number, times: 3) }
    #expect(rig.letters == "eeuuu")
    #expect(rig.serving == .healthy)
    #expect(rig.log.values(of: "cause") == ["it is needed"])
    // When checks take away those that are left, ejected ones come back.
    rig.check(4, isUp: false)
    #expect(rig.letters.filter { $0 == "u" }.count == 3)
    #expect(rig.serving == .healthy)
    #expect(rig.takeTold().filter { $0 == .upstream(0) } == [])
  }

  @Test func anUpstreamMayBeginWithoutItsQuorum() {
    let rig = BoardRig(endpoints: 0) { $0.quorum = 2 }
    rig.upstreams[0].endpoints = (0..<3).map { BoardRig.Endpoint(number: $0, isUp: false) }
    rig.follow()
    #expect(rig.serving == .none)
    rig.check(0, isUp: true)
    #expect(rig.serving == .none)
    rig.check(1, isUp: true)
    #expect(rig.serving == .healthy)
  }

  // MARK: Sessions of who goes down

  @Test func sessionsOfWhoGoesDownEndAsThePlanSays() {
    let close = OnDown.close(over: .seconds(2))
    let rig = BoardRig(endpoints: 2) {
      $0.onDown = close
      $0.outlier = outlier()
    }
    let index = EndpointIndex(0)
    rig.check(0, isUp: false)
    #expect(rig.takeTold() == [.endpoint(index), .closeSessions(index, close)])
    rig.check(0, isUp: true)
    #expect(rig.takeTold() == [.endpoint(index), .keepSessions(index)])
    // An ejection is a guess: those that it has go on.
    rig.fail(0, times: 3)
    #expect(rig.takeTold() == [.endpoint(index)])
    rig.check(0, isUp: false)
    #expect(rig.takeTold() == [.endpoint(index), .closeSessions(index, close)])
  }

  // MARK: Slow start

  @Test func theShareOfWhoComesUpGrows() {
    let rig = BoardRig(endpoints: 2) { $0.slowStart = .seconds(10) }
    #expect(rig.state(0).share == 256)
    rig.check(0, isUp: false)
    rig.now += 5
    rig.check(0, isUp: true)
    #expect(rig.state(0).share == 1)
    _ = rig.takeTold()
    rig.pass(5)
    #expect((126...128).contains(rig.state(0).share))
    #expect((23...25).contains(rig.takeTold().count))
    // It may go down in between.
    rig.check(0, isUp: false)
    #expect(rig.state(0).share == 256)
    rig.check(0, isUp: true)
    rig.pass(11)
    #expect(rig.state(0).share == 256)
    #expect(rig.board.nextMoment == .distantFuture)
    #expect(rig.state(1).share == 256)
  }

  @Test func whoIsNewLaterGrowsAndWhoIsThereFromTheStartDoesNot() {
    let rig = BoardRig(endpoints: 1) { $0.slowStart = .seconds(10) }
    rig.upstreams[0].endpoints.append(BoardRig.Endpoint(number: 1))
    rig.follow()
    #expect(rig.state(0).share == 256)
    #expect(rig.state(1).share == 1)
    // All of a new upstream's endpoints are new: none of them is spared.
    var other = rig.upstreams[0]
    other.plan.name = "v"
    other.endpoints = [BoardRig.Endpoint(number: 5)]
    rig.upstreams.append(other)
    rig.follow()
    #expect(rig.state(5).share == 256)
    rig.upstreams[0].plan.slowStart = nil
    rig.follow()
    rig.pass(0.3)
    #expect(rig.state(1).share == 256)
  }

  // MARK: The default policy

  @Test func byDefaultAllButTheLastUsableOneMayBeEjected() {
    let rig = BoardRig(endpoints: 3) { $0.outlier = .connectFailures }
    rig.fail(0, times: 3)
    rig.fail(1, times: 3)
    #expect(rig.letters == "eeu")
    rig.fail(2, times: 3)
    #expect(rig.letters == "eeu")
    #expect(rig.log.values(of: "cause") == ["it is needed"])
    // With others in service again, the one that kept failing is ejected.
    rig.pass(10.1)
    #expect(rig.letters == "uue")
  }

  @Test func byDefaultAnEjectionNeverLastsLongerThanAMinute() {
    let rig = BoardRig(endpoints: 2) { $0.outlier = .connectFailures }
    var lengths: [Double] = []
    for _ in 0..<8 {
      rig.fail(0, times: 3)
      let before = rig.now
      while rig.letters != "uu" { rig.pass(1) }
      lengths.append((rig.now - before).rounded())
    }
    #expect(lengths == [10, 20, 30, 40, 50, 60, 60, 60])
  }

  @Test func byDefaultASingleEndpointIsNotCounted() {
    let rig = BoardRig(endpoints: 1) { $0.outlier = .connectFailures }
    #expect(rig.failuresMax == 0)
    #expect(rig.board.ejectionStandings().isEmpty)
    // One that gets no sessions makes no difference.
    rig.upstreams[0].endpoints.append(BoardRig.Endpoint(number: 1, weight: 0))
    rig.follow()
    #expect(rig.failuresMax == 0)
    #expect(rig.board.ejectionStandings().isEmpty)
    rig.upstreams[0].endpoints.append(BoardRig.Endpoint(number: 2))
    rig.follow()
    #expect(rig.failuresMax == 3)
    #expect(rig.board.ejectionStandings().count == 3)
    rig.fail(0, times: 3)
    #expect(rig.letters == "euu")
  }

  @Test func byDefaultTheOneThatIsLeftComesBack() {
    let rig = BoardRig(endpoints: 2) { $0.outlier = .connectFailures }
    rig.fail(0, times: 3)
    #expect(rig.letters == "eu")
    let left = rig.upstreams[0].endpoints.removeLast()
    rig.follow()
    #expect(rig.letters == "u")
    #expect(rig.log.values(of: "cause") == ["too few others are left"])
    #expect(rig.board.nextMoment == .distantFuture)
    rig.upstreams[0].endpoints.append(left)
    rig.follow()
    #expect(rig.letters == "uu")
    #expect(rig.state(0).failuresInARow == 0)
  }

  // MARK: Changes of the plan

  @Test func whatIsKnownOutlivesAPlan() {
    let rig = BoardRig(endpoints: 3) { $0.outlier = outlier() }
    rig.fail(1, times: 3)
    rig.pass(5)
    rig.upstreams[0].plan.outlier = outlier(failures: 5, eject: .seconds(1))
    rig.upstreams[0].endpoints.append(BoardRig.Endpoint(number: 3))
    rig.follow()
    #expect(rig.letters == "ueuu")
    rig.pass(4.9)
    #expect(rig.letters == "ueuu")
    rig.pass(0.2)
    #expect(rig.letters == "uuuu")
    #expect(rig.state(1).failuresInARow == 4)
  }

  @Test func anotherBoundCountsAnew() {
    let rig = BoardRig(endpoints: 3) { $0.outlier = outlier(failures: 5) }
    rig.fail(0, times: 4)
    rig.upstreams[0].plan.outlier = outlier(failures: 3)
    rig.follow()
    rig.fail(0, times: 2)
    #expect(rig.letters == "uuu")
    rig.fail(0)
    #expect(rig.letters == "euu")
  }

  @Test func withoutThePolicyNobodyIsLeftOut() {
    let rig = BoardRig(endpoints: 3) { $0.outlier = outlier() }
    rig.fail(0, times: 3)
    rig.upstreams[0].plan.outlier = nil
    rig.follow()
    #expect(rig.letters == "uuu")
    #expect(rig.board.nextMoment == .distantFuture)
    #expect(rig.board.ejectionStandings().isEmpty)
    #expect(rig.log.values(of: "cause") == ["the configuration leaves out none"])
  }

  @Test func whoLeavesAndComesBackBeginsAnew() {
    let rig = BoardRig(endpoints: 3) { $0.outlier = outlier() }
    rig.fail(0, times: 3)
    let left = rig.upstreams[0].endpoints.removeFirst()
    rig.follow()
    #expect(rig.board.nextMoment == .distantFuture)
    rig.upstreams[0].endpoints.append(left)
    rig.follow()
    #expect(rig.letters == "uuu")
    rig.fail(0, times: 2)
    #expect(rig.letters == "uuu")
    rig.fail(0)
    #expect(rig.letters == "uue")
  }

  @Test func wordsAboutWhoIsGoneAreIgnored() {
    let rig = BoardRig(endpoints: 2) { $0.outlier = outlier() }
    rig.upstreams[0].endpoints.removeLast()
    rig.follow()
    rig.fail(1, times: 3)
    rig.serve(1)
    #expect(rig.state(1).availability == .up)
    #expect(rig.log.lines == [])
  }

  // MARK: Everything at once

  /// Whatever happens in whatever order, the board agrees with itself.
  @Test(arguments: 0..<150 as Range<UInt64>)
  func onRandomWalksWhatIsTrueOfTheBoardStaysTrue(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    func below(_ bound: Int) -> Int { Int(random.next(below: UInt64(bound))) }
    let rig = BoardRig(endpoints: 1 + below(8)) { plan in
      plan.outlier = outlier(failures: 1 + below(3), share: 1 + below(100))
      if below(2) == 0 { plan.slowStart = .seconds(5) }
      if below(2) == 0 { plan.quorum = 1 + below(4) } else { plan.panicPercent = 1 + below(100) }
    }
    var nextNumber = rig.upstreams[0].endpoints.count
    for step in 0..<300 {
      let members = rig.upstreams[0].endpoints
      let number = members.isEmpty ? 0 : members[below(members.count)].number
      switch below(12) {
      case 0...2: rig.check(number, isUp: below(3) > 0)
      case 3...6: rig.fail(number, times: 1 + below(3))
      case 7: rig.serve(number, connectedFor: Double(below(20)))
      case 8...9: rig.pass(Double(below(15)))
      case 10:
        rig.upstreams[0].endpoints.append(
          BoardRig.Endpoint(number: nextNumber, weight: below(5) > 0 ? 1 : 0, isUp: below(4) > 0))
        nextNumber += 1
        rig.follow()
      default:
        if !members.isEmpty { rig.upstreams[0].endpoints.remove(at: below(members.count)) }
        if below(4) == 0 { rig.upstreams[0].plan.outlier?.failures = 1 + below(3) }
        rig.follow()
      }
      expectSound(rig, "seed \(seed), step \(step)")
    }
  }

  private func expectSound(_ rig: BoardRig, _ place: Comment) {
    let plan = rig.upstreams[0].plan
    let counted = rig.upstreams[0].endpoints.filter { $0.weight > 0 }
    let all = counted.map { rig.state($0.number).availability }
    let healthy = all.count { $0 == .up }
    let ejected = all.count { $0 == .ejected }
    for endpoint in rig.upstreams[0].endpoints where !endpoint.isUp {
      #expect(rig.state(endpoint.number).availability == .down, place)
    }
    #expect(
      rig.board.upstreamStandings()["u"]
        == UpstreamStanding(endpoints: counted.count, healthy: healthy, quorum: plan.quorum), place)
    // Nobody is left out who would be enough, for the quorum or against a panic.
    let calm = plan.panicPercent.map { ($0 * counted.count + 99) / 100 } ?? 0
    let needed = max(1, plan.quorum, calm)
    #expect(ejected == 0 || healthy >= needed || healthy + ejected < needed, place)
    let panic = plan.panicPercent.map { healthy * 100 < $0 * counted.count } ?? false
    let isNone = plan.quorum > 1 && healthy < plan.quorum
    #expect(rig.serving == (isNone ? .none : panic ? .panic : .healthy), place)
    for endpoint in rig.upstreams[0].endpoints {
      let state = rig.state(endpoint.number)
      #expect((1...256).contains(state.share), place)
      if state.availability != .up { #expect(state.share == 256, place) }
    }
  }
}
