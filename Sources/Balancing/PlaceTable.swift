// SPDX-License-Identifier: Apache-2.0
// Consistent hashing by a table of places: a key belongs to a place, a place to an entry. The table
// holds all entries, also those that cannot serve at the moment: a key whose entry cannot goes to the
// place of its next hash. So nobody else moves, everybody is back when it can, and whoever knows the
// entries agrees.
//
// How a place finds its entry depends only on what the entries are (`identity`) and on their weights,
// never on their order.

/// An entry for each of a number of places.
public struct PlaceTable: Sendable {
  /// What takes part.
  public struct Entry: Hashable, Sendable {
    /// Tells it from all others, in every process.
    public let identity: UInt64
    /// Its share, 0 to 256.
    public let weight: Int

    /// Puts both together.
    public init(identity: UInt64, weight: Int) {
      self.identity = identity
      self.weight = weight
    }
  }

  /// The position of the entry of each place; -1 for none.
  private let owners: [Int32]

  init(owners: [Int32]) {
    self.owners = owners
  }

  /// How many places there are.
  public var count: Int { owners.count }

  /// The entry of a place.
  public subscript(place: Int) -> Int? {
    let owner = owners[place]
    return owner < 0 ? nil : Int(owner)
  }

  /// The entry that a key belongs to; `attempt` 1 and so on is where it goes instead.
  public func owner(of key: UInt64, attempt: Int) -> Int? {
    let hash = PlaceTable.bits(of: key, attempt: attempt)
    return self[Int(hash.multipliedFullWidth(by: UInt64(owners.count)).high)]
  }

  /// The bits that a key draws by at an attempt.
  public static func bits(of key: UInt64, attempt: Int) -> UInt64 {
    StableHash.mix(key &+ UInt64(attempt) &* 0x9E37_79B9_7F4A_7C15)
  }
}

extension PlaceTable {
  /// Weighted rendezvous: each place belongs to the entry that comes there first, if each comes to
  /// places at random, as often as it weighs. Who leaves, or weighs something else, moves only his own
  /// places: no other entry comes earlier or later for it. Shares are those of chance: with n entries,
  /// √(n / `places`) off, about.
  ///
  /// Each entry is a Poisson process over all places, so that about places × ln(places) arrivals make the
  /// table, however many entries there are. (Thaler and Ravishankar, 1998, ask every entry at every place.)
  public static func rendezvous(_ entries: [Entry], places: Int) -> PlaceTable {
    precondition(places > 0)
    var owners = [Int32](repeating: -1, count: places)
    let total = entries.reduce(0) { $0 + $1.weight }
    guard total > 0 else { return PlaceTable(owners: owners) }
    var arrivals = [Double](repeating: .infinity, count: places)
    var walks = entries.map { entry in
      var walk = Walk(random: SplitMix64(seed: entry.identity), weight: Double(entry.weight))
      if entry.weight > 0 { walk.step() }
      return walk
    }
    // All that comes before the end of a round is known when the round is over.
    let round = Double(places) / Double(total)
    var end = round * (negativeLogarithm(of: 1 / Double(places)) + 1)
    while true {
      var latest = 0.0
      for position in walks.indices where entries[position].weight > 0 {
        while walks[position].time < end {
          let place = Int(walks[position].random.next(below: UInt64(places)))
          if walks[position].time < arrivals[place] {
            arrivals[place] = walks[position].time
            owners[place] = Int32(position)
          }
          walks[position].step()
        }
      }
      for time in arrivals { latest = max(latest, time) }
      if latest < .infinity { return PlaceTable(owners: owners) }
      end += round
    }
  }

  /// Maglev (Eisenbud et al., 2016), weighted: entries take places in turn, each in an order of its
  /// own. Shares are even to about one place; who leaves moves few places of others.
  public static func maglev(_ entries: [Entry], places: Int) -> PlaceTable {
    precondition(places > 1)
    var owners = [Int32](repeating: -1, count: places)
    let order = entries.indices.filter { entries[$0].weight > 0 }
      .sorted { (entries[$0].identity, $0) < (entries[$1].identity, $1) }
    let weightMax = order.reduce(0) { max($0, entries[$1].weight) }
    guard weightMax > 0 else { return PlaceTable(owners: owners) }
    var next = entries.map { Int($0.identity % UInt64(places)) }
    let skips = entries.map { Int(StableHash.mix($0.identity) % UInt64(places - 1)) + 1 }
    var owed = [Int](repeating: 0, count: entries.count)
    var left = places
    while true {
      for position in order {
        // Lighter ones sit rounds out.
        owed[position] += entries[position].weight
        guard owed[position] >= weightMax else { continue }
        owed[position] -= weightMax
        var place = next[position]
        while owners[place] >= 0 { place = advanced(place, skips[position], places) }
        owners[place] = Int32(position)
        next[position] = advanced(place, skips[position], places)
        left -= 1
        if left == 0 { return PlaceTable(owners: owners) }
      }
    }
  }

  private static func advanced(_ place: Int, _ skip: Int, _ places: Int) -> Int {
    let next = place + skip
    return next < places ? next : next - places
  }
}

/// One entry's way from place to place.
private struct Walk {
  var random: SplitMix64
  /// How long it takes to a place on average, in parts of the time that an entry of weight 1 takes.
  private let pause: Double
  /// When it comes to the next place.
  var time = 0.0

  init(random: SplitMix64, weight: Double) {
    self.random = random
    pause = 1 / weight
  }

  mutating func step() {
    // Within 0..<1, and 1 instead of 0.
    let chance = Double((random.next() >> 11) + 1) * 0x1p-53
    time += negativeLogarithm(of: chance) * pause
  }
}

/// -ln of a number above 0, to about 12 digits. The C library's may differ in the last one from machine to
/// machine, and machines have to agree.
private func negativeLogarithm(of number: Double) -> Double {
  assert(number > 0)
  var exponent = Int(number.bitPattern >> 52) - 1023
  var significand = Double(
    bitPattern: number.bitPattern & 0xF_FFFF_FFFF_FFFF | 0x3FF0_0000_0000_0000)
  if significand > 1.414_213_562 {
    significand *= 0.5
    exponent += 1
  }
  // ln m = 2 artanh z, with |z| below 0.172.
  let z = (significand - 1) / (significand + 1)
  let square = z * z
  let high = (square * (1.0 / 13) + 1.0 / 11) * square + 1.0 / 9
  let middle = (high * square + 1.0 / 7) * square + 1.0 / 5
  let series = (middle * square + 1.0 / 3) * square + 1
  return -(2 * z * series + Double(exponent) * 0.693_147_180_559_945_3)
}
