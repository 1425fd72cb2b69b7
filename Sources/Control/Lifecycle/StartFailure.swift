// SPDX-License-Identifier: Apache-2.0
// Why the program could not start: everything that is wrong at once, each in a sentence that says
// what, where, and what to do.

import Reactor

/// The reasons for not starting. Never empty.
public struct StartFailure: Error, CustomStringConvertible {
  /// One sentence each.
  public let reasons: [String]

  init(_ reasons: [String]) {
    self.reasons = reasons
  }

  /// One reason.
  public init(_ reason: String) {
    reasons = [reason]
  }

  /// Something that has a table with a place for every session could not be made.
  init(_ what: String, sessionsMax: Int, errno: Errno?) {
    reasons = [
      errno == .noMemory
        ? "\(what): no memory for tables of \(sessionsMax) sessions; lower max_sessions or workers"
        : what
    ]
  }

  /// The reasons, a line each.
  public var description: String {
    reasons.joined(separator: "\n")
  }
}
