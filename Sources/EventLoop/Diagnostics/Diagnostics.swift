// SPDX-License-Identifier: Apache-2.0
// What a loop tells of itself: steps that were too slow, how long its turns take, and what lives on it.

import Glibc
import Reactor

/// A job or callback that kept a loop from everything else for too long.
public struct SlowStep: Sendable {
  /// The loop's name.
  public let loop: String
  /// The task or callback.
  public let name: String
  /// How long it took.
  public let duration: Duration

  /// A line on standard error. May block as long as its reader does.
  public func writeToStandardError() {
    let line = "\(loop): \(name) took \(duration) without letting others run\n"
    line.withCString { _ = write(STDERR_FILENO, $0, strlen($0)) }
  }
}

/// How long turns took, in buckets of powers of two: enough for quantiles, no memory, no lock.
public struct LagHistogram: Sendable {
  /// Bucket n counts turns of less than 2ⁿ microseconds (and of no less than half of that); the last
  /// one counts the rest.
  public private(set) var buckets = [UInt64](repeating: 0, count: 32)
  /// How long all turns took together.
  public private(set) var totalNanoseconds: UInt64 = 0

  /// How many turns were counted.
  public var count: UInt64 { buckets.reduce(0, +) }

  mutating func record(_ nanoseconds: UInt64) {
    let microseconds = nanoseconds / 1000
    let bucket = UInt64.bitWidth - microseconds.leadingZeroBitCount
    buckets[min(bucket, buckets.count - 1)] += 1
    totalNanoseconds &+= nanoseconds
  }

  /// A time that the given share of turns stayed under; `nil` before the first turn. `share` is from 0
  /// to 1.
  public func bound(of share: Double) -> Duration? {
    precondition((0...1).contains(share))
    let total = count
    guard total > 0 else { return nil }
    var seen: UInt64 = 0
    for (bucket, turns) in buckets.enumerated() {
      seen += turns
      if Double(seen) >= share * Double(total) { return .microseconds(1 << bucket) }
    }
    return nil
  }
}

/// What lives on a loop.
public struct LoopListing: Sendable {
  /// Something that will happen, or that a task waits for.
  public struct Wait: Sendable, Hashable {
    /// The task's or callback's name.
    public let name: String
    /// What it waits for.
    public let what: String
    /// When the wait ends at the latest, `nil` if never.
    public let deadline: Instant?
  }

  /// A descriptor that is registered with the loop.
  public struct Descriptor: Sendable, Hashable {
    /// Its number.
    public let number: Int32
    /// What it is.
    public let what: String
    /// The task that waits for something to read, if one does.
    public let reader: String?
    /// The task that waits for room to write, if one does.
    public let writer: String?
  }

  /// The names of the tasks that were spawned and have not ended, in that order.
  public let tasks: [String]
  /// What is waited for.
  public let waits: [Wait]
  /// What is registered.
  public let descriptors: [Descriptor]
}

extension Loop {
  /// What lives on the loop now. Loop's thread.
  public var listing: LoopListing {
    checkIsolated()
    return LoopListing(
      tasks: engine.registry.names, waits: engine.waiting, descriptors: engine.descriptors)
  }

  /// How long the turns took so far. Loop's thread.
  public var lag: LagHistogram {
    checkIsolated()
    return engine.lag
  }
}
