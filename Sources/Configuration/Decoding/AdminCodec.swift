// SPDX-License-Identifier: Apache-2.0
// The description of the admin interface. It asks nobody who they are, so it may listen only where
// this machine alone can reach it; that is a rule of the file, not advice.

import Addressing
import Plan

private let adminTimeout = Duration.milliseconds(100)...(.seconds(600))

extension Codec<AdminDraft> {
  /// `admin:`.
  static var admin: Codec {
    let timeout = ScalarCodec.duration(adminTimeout)
    let connections = 1...4096
    return .object(
      "admin",
      "An HTTP interface for metrics and probes. It asks nobody who they are, so only this machine can "
        + "reach it. For others, let a route lead to it.",
      AdminDraft(),
      notes: [
        "address": "did you mean `listen`?", "port": "did you mean `listen: \"127.0.0.1:PORT\"`?",
        "bind": "did you mean `listen`?", "max_sessions": "did you mean `max_connections`?",
      ],
      fields: [
        field(
          "listen", \.listen, ScalarCodec.adminAddress.located, isRequired: true,
          "Where it listens. Port 0 lets the kernel pick one, and the log tells which."),
        field(
          "max_connections", \.connectionsMax, .integer(connections),
          standard: adminStandard.connectionsMax,
          "How many connections it holds at once. A further one takes the place of one that asks "
            + "nothing, or is answered 503."),
        field(
          "timeout", \.timeout, timeout, standard: adminStandard.timeout,
          "How long a connection may take to deliver a request, or to take an answer."),
      ])
  }
}

/// What an admin interface is that says nothing but where it listens.
let adminStandard = AdminPlan(listen: .v4(.loopback, port: 0))
