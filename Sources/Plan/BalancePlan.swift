// SPDX-License-Identifier: Apache-2.0
// How an endpoint is chosen, and what goes with it: the key of hashes, tiers, how an endpoint that is
// back gets its share again.

/// How an endpoint is chosen among those of the best priority that can serve.
public enum BalancePolicy: Hashable, Sendable {
  /// In turn, by weight, interleaved.
  case roundRobin
  /// At random, by weight.
  case random
  /// The one with the fewest sessions per weight; ties at random.
  case leastConnections
  /// Of two drawn at random by weight, the one with fewer sessions per weight.
  case powerOfTwo
  /// The first in the order of the file that has room.
  case first
  /// The one that the client's key belongs to. Who leaves moves his own keys alone.
  case sourceHash(HashPlan)
  /// The same by a Maglev table (Eisenbud et al., 2016): the most even shares, and few keys of others move
  /// with who leaves.
  case maglev(HashPlan)
  /// Of two drawn at random by weight, the one that answers sooner, by a moving average that follows
  /// a peak at once and forgets it slowly, times the sessions that it has.
  case peakEWMA(EWMAPlan)
}

/// What is hashed, and how.
public struct HashPlan: Hashable, Sendable {
  /// What sessions are told apart by. Clients of unix sockets have no address and are all the same.
  public enum Key: Hashable, Sendable {
    /// The client's address.
    case source
    /// The first bits of the client's address: 1 to 32, and 1 to 128.
    case prefix(v4: Int, v6: Int)
    /// The route's `hash_key`, or its name: all of its sessions belong to one endpoint.
    case route
  }

  /// What is hashed.
  public var key: Key
  /// How many places the table has: a prime. Shares are even to about one place.
  public var tableSize: Int
  /// How many sessions an endpoint may have, in percent of its share of all, before its keys go
  /// to others: 101 to 1000; `nil`: any number.
  public var loadPercent: Int?

  /// Makes a choice; the defaults are those of the configuration.
  public init(key: Key = .source, tableSize: Int = 65_537, loadPercent: Int? = nil) {
    self.key = key
    self.tableSize = tableSize
    self.loadPercent = loadPercent
  }
}

/// What is averaged, and for how long it is remembered.
public struct EWMAPlan: Hashable, Sendable {
  /// What is measured.
  public enum Measure: String, Hashable, Sendable, CaseIterable {
    /// How long connecting takes.
    case connect
    /// From the last byte that is forwarded to the endpoint before the first one comes back.
    case firstByte = "first_byte"
  }

  /// What is measured.
  public var measure: Measure
  /// After how long a measurement counts for a third (1 / e) of what it did.
  public var decay: Duration

  /// Makes a choice; the defaults are those of the configuration.
  public init(measure: Measure = .connect, decay: Duration = .seconds(10)) {
    self.measure = measure
    self.decay = decay
  }
}
