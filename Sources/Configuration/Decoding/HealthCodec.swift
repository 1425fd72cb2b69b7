// SPDX-License-Identifier: Apache-2.0
// The description of what an upstream knows about the health of its endpoints, and what follows from it.
// Checks themselves are in CheckCodec.swift.

import Plan

/// What an upstream says about health.
var healthFields: [Field<UpstreamSettings>] {
  [
    field(
      "check", \.check, .check, shown: .string("off"),
      "Active health checks of the endpoints. Taken whole: an upstream's own replaces "
        + "the one of `defaults`.")
  ]
}
