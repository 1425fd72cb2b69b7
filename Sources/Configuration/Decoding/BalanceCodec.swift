// SPDX-License-Identifier: Apache-2.0
// The description of how an upstream's endpoints are chosen.

import Plan

/// What an upstream says about choosing.
var balanceFields: [Field<UpstreamSettings>] {
  let later = "this version has `round_robin` and `least_connections`"
  return [
    field(
      "balance", \.balance,
      .choice(
        ["round_robin": .roundRobin, "least_connections": .leastConnections],
        notes: [
          "power_of_two": later, "random": later, "source_hash": later, "maglev": later,
          "first": later, "peak_ewma": later, "roundrobin": "did you mean `round_robin`?",
          "leastconn": "did you mean `least_connections`?",
          "least_conn": "did you mean `least_connections`?",
        ]),
      standard: upstreamStandard.balance,
      "How an endpoint is chosen: in turn by weight, or the one with the fewest sessions per "
        + "weight.")
  ]
}
