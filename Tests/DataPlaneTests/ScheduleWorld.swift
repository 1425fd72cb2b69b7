// SPDX-License-Identifier: Apache-2.0
// What may happen in random schedules, and what the verdict asks. Both can be chosen, so that one rule can
// be looked at alone:
//
//     SLUICE_SCHEDULE_WORLD=all|none|slow-network,unix-sockets,…
//     SLUICE_SCHEDULE_RULES=all|none|complete-streams,timers,…
//
// What is always asked, whatever the rules: no byte is doubled, reordered or invented, every session ends
// and is counted and recorded once, nothing leaks, nobody spins.

import Glibc

/// What may happen in a schedule beside what always may.
struct ScheduleWorld: OptionSet {
  let rawValue: Int

  /// Acknowledgements come later, windows open in steps, unsent bytes are bounded.
  static let slowNetwork = ScheduleWorld(rawValue: 1)
  /// Parties read slowly but steadily until the end, send more after the other's end, or reset after
  /// their own.
  static let slowReaders = ScheduleWorld(rawValue: 2)
  /// Listeners and endpoints may be unix sockets.
  static let unixSockets = ScheduleWorld(rawValue: 4)
  /// Calls that move bytes may fail for want of memory.
  static let shortages = ScheduleWorld(rawValue: 8)
  /// An endpoint's port may be nobody's, so that the proxy is connected to itself.
  static let selfConnections = ScheduleWorld(rawValue: 16)
  /// Clients may finish or reset before they are accepted.
  static let earlyEnds = ScheduleWorld(rawValue: 32)
  /// Up to four workers, and bounds that are tight at every level.
  static let crowds = ScheduleWorld(rawValue: 64)

  static let names: [(String, ScheduleWorld)] = [
    ("slow-network", .slowNetwork), ("slow-readers", .slowReaders),
    ("unix-sockets", .unixSockets), ("shortages", .shortages),
    ("self-connections", .selfConnections), ("early-ends", .earlyEnds), ("crowds", .crowds),
  ]

  static let all = ScheduleWorld(names.map(\.1))
  /// What schedules contain unless the environment says otherwise.
  static let standard = ScheduleWorld.all
}

/// What the verdict asks beside what it always asks.
struct ScheduleRules: OptionSet {
  let rawValue: Int

  /// A stream that its source ended in order reaches a reader that goes on reading, with its end.
  static let completeStreams = ScheduleRules(rawValue: 1)
  /// Of a stream that was cut, every byte that has reached the proxy reaches the reader, and then a reset.
  static let cutStreams = ScheduleRules(rawValue: 2)
  /// No orderly end is sent before the source's own has come and all bytes before it were passed on.
  static let orderlyEnds = ScheduleRules(rawValue: 4)
  /// Timeouts end no session in which something has moved within their time, or could have.
  static let timers = ScheduleRules(rawValue: 8)
  /// Records count no byte that was not acknowledged.
  static let records = ScheduleRules(rawValue: 16)
  /// At rest no client waits for what is free.
  static let rest = ScheduleRules(rawValue: 32)
  /// Clients that leave in silence are not retried, and no endpoint is blamed for them.
  static let blame = ScheduleRules(rawValue: 64)
  /// A connection to ourselves is a refused connection.
  static let selfConnections = ScheduleRules(rawValue: 128)

  static let names: [(String, ScheduleRules)] = [
    ("complete-streams", .completeStreams), ("cut-streams", .cutStreams),
    ("orderly-ends", .orderlyEnds), ("timers", .timers), ("records", .records), ("rest", .rest),
    ("blame", .blame), ("self-connections", .selfConnections),
  ]

  static let all = ScheduleRules(names.map(\.1))
  /// What is asked unless the environment says otherwise.
  static let standard = ScheduleRules.all
}

extension OptionSet {
  /// The options that an environment variable names, `standard` if it is not set.
  static func chosen(
    by variable: String, among names: [(String, Self)], standard: Self
  ) -> Self where Element == Self {
    guard let text = environment(variable) else { return standard }
    if text == "none" { return [] }
    if text == "all" { return Self(names.map(\.1)) }
    return Self(
      text.split(separator: ",").map { word in
        guard let named = names.first(where: { $0.0 == word }) else {
          fatalError("\(variable): no \(word); there are \(names.map(\.0).joined(separator: ", "))")
        }
        return named.1
      })
  }
}

/// A variable of the environment.
func environment(_ name: String) -> String? {
  getenv(name).map { String(cString: $0) }
}
