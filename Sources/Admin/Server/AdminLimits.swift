// SPDX-License-Identifier: Apache-2.0
// The bounds of the admin interface: whoever can reach it can take this much of the program and no more.

import HTTP1
import Plan

/// How much the admin interface gives to those who ask.
struct AdminLimits: Sendable {
  /// How many connections are served at once, and how many more are told that there is no room.
  var connectionsMax: Int
  /// How long a request may take to arrive, from its first byte on, and an answer to be taken.
  var timeout: Duration
  /// How much of a request is taken. Scrapers send less than a kilobyte.
  var head = HeadLimits(bytesMax: 8 << 10, fieldsMax: 64)
  /// How long a connection is kept for another request: longer than scrapers commonly pause.
  var idle = Duration.seconds(75)
  /// How many requests a connection may make.
  var requestsMax = 1000
  /// How long the rest of the program may take to tell its numbers; within the ten seconds that
  /// Prometheus waits.
  var collect = Duration.seconds(5)
  /// How long an answer may take to be delivered after the connection was ended here.
  var linger = Duration.seconds(2)
  /// How long accepting rests when the kernel refuses.
  var rest = Duration.seconds(1)

  /// The limits of a plan.
  init(_ plan: AdminPlan) {
    connectionsMax = plan.connectionsMax
    timeout = plan.timeout
  }
}
