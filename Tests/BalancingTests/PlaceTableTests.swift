// SPDX-License-Identifier: Apache-2.0
// Places by weight, that stay where they are when somebody leaves, and that are the same in every
// version: whoever changes a golden table here moves the clients of everybody.

import Balancing
import Testing

private enum Kind: CaseIterable {
  case rendezvous, maglev

  func table(_ entries: [PlaceTable.Entry], places: Int) -> PlaceTable {
    switch self {
    case .rendezvous: .rendezvous(entries, places: places)
    case .maglev: .maglev(entries, places: places)
    }
  }
}

private func entries(_ weights: [Int]) -> [PlaceTable.Entry] {
  weights.enumerated().map { number, weight in
    var hash = StableHash()
    hash.add(UInt64(number))
    return PlaceTable.Entry(identity: hash.value, weight: weight)
  }
}

private func owners(_ table: PlaceTable) -> [Int?] { (0..<table.count).map { table[$0] } }

@Suite struct PlaceTableTests {
  @Test func rendezvousSharesFollowWeights() {
    let weights = [1, 0, 2, 5, 8]
    var counts = [Double](repeating: 0, count: weights.count)
    for owner in owners(.rendezvous(entries(weights), places: 8191)) { counts[owner ?? 1] += 1 }
    #expect(chiSquare(counts, weights.map { Double($0) }) < 16.3)  // 3 degrees, 1 in 1,000
  }

  @Test func maglevSharesAreEven() {
    let weights = [1, 0, 2, 5, 8]
    var counts = [Int](repeating: 0, count: weights.count)
    for owner in owners(.maglev(entries(weights), places: 8191)) { counts[owner ?? 1] += 1 }
    for (count, weight) in zip(counts, weights) {
      #expect(abs(Double(count) - 8191 * Double(weight) / 16) <= Double(weight) + 1)
    }
  }

  @Test func whoLeavesARendezvousMovesOnlyHisOwn() {
    var random = SplitMix64(seed: 5)
    for _ in 0..<4 {
      let weights = (0..<10).map { _ in Int(random.next(below: 257)) }
      let all = owners(.rendezvous(entries(weights), places: 2039))
      for gone in 0..<10 {
        var changed = weights
        changed[gone] = 0
        let less = owners(.rendezvous(entries(changed), places: 2039))
        #expect(zip(all, less).allSatisfy { $0 == $1 || $0 == gone })
        // Who weighs more takes from others, and gives nothing.
        changed[gone] = weights[gone] + 40
        let more = owners(.rendezvous(entries(changed), places: 2039))
        #expect(zip(all, more).allSatisfy { $0 == $1 || $1 == gone })
      }
    }
  }

  @Test func whoLeavesMaglevMovesFewOthers() {
    let all = owners(.maglev(entries([Int](repeating: 1, count: 10)), places: 65_537))
    for gone in 0..<10 {
      var weights = [Int](repeating: 1, count: 10)
      weights[gone] = 0
      let less = owners(.maglev(entries(weights), places: 65_537))
      let others = zip(all, less).filter { $0.0 != gone }
      let moved = others.count { $0.0 != $0.1 }
      #expect(moved * 50 <= others.count, "\(moved) of \(others.count)")
    }
  }

  @Test(arguments: Kind.allCases)
  private func theOrderOfEntriesDoesNotMatter(_ kind: Kind) {
    let known = entries([3, 1, 4, 1, 5, 9, 2, 6])
    let shuffled = [5, 2, 7, 0, 3, 6, 1, 4]
    let table = owners(kind.table(known, places: 1021))
    let other = owners(kind.table(shuffled.map { known[$0] }, places: 1021))
    #expect(other.map { $0.map { shuffled[$0] } } == table)
  }

  @Test(arguments: Kind.allCases)
  private func withoutAnyWeightNobodyHasAPlace(_ kind: Kind) {
    let table = kind.table(entries([0, 0]), places: 251)
    #expect(owners(table).allSatisfy { $0 == nil })
    #expect(table.owner(of: 1, attempt: 0) == nil)
  }

  @Test(arguments: Kind.allCases)
  private func aSingleEntryHasAllPlaces(_ kind: Kind) {
    #expect(owners(kind.table(entries([0, 7, 0]), places: 251)).allSatisfy { $0 == 1 })
  }

  @Test func tablesAreTheSameInEveryVersion() {
    let known = entries([0, 1, 2, 3, 4])
    let rendezvous = PlaceTable.rendezvous(known, places: 251)
    #expect(
      (0..<24).map { rendezvous[$0 * 10] } == [
        4, 4, 2, 3, 1, 1, 3, 4, 4, 3, 4, 3, 2, 2, 4, 1, 4, 1, 2, 1, 2, 3, 1, 3,
      ])
    let maglev = PlaceTable.maglev(known, places: 251)
    #expect(
      (0..<24).map { maglev[$0 * 10] } == [
        4, 3, 4, 1, 1, 4, 4, 4, 3, 4, 3, 2, 3, 4, 4, 3, 2, 4, 4, 3, 4, 4, 2, 2,
      ])
    #expect(
      (0..<16).map { rendezvous.owner(of: UInt64($0), attempt: $0 % 3) } == [
        4, 4, 4, 3, 3, 4, 4, 2, 2, 2, 3, 3, 3, 4, 4, 4,
      ])
    var hash = StableHash()
    hash.add(1)
    hash.add("sluice".utf8)
    #expect(hash.value == 18_295_650_590_169_443_440)
  }
}
