// SPDX-License-Identifier: Apache-2.0
// The description of how an upstream's endpoints are reached, and what happens when one cannot be.

import Addressing
import Plan

/// What an upstream says about connecting.
var connectFields: [Field<UpstreamSettings>] {
  let timeout = ScalarCodec.duration(.milliseconds(1)...(.seconds(3600)))
  return [
    field(
      "connect", \.connect, timeout.located, shown: timeout.encode(upstreamStandard.connect),
      "How long all attempts to connect may take together."),
    field(
      "attempt", \.attempt, timeout.located, shown: timeout.encode(upstreamStandard.attempt),
      "How long one attempt may take before the next endpoint is tried. One that no other can follow may "
        + "use what is left of `connect`."),
    field(
      "source", \.source,
      .either(
        scalar: ScalarCodec.ipAddress.codec.asList,
        list: .list(ScalarCodec.ipAddress.codec, countMin: 1)),
      "Source addresses of upstream connections, used in turn; without it the kernel chooses."),
    field("tcp", \.tcp, .tcp, "Options of upstream connections."),
    field(
      "avoid_time_wait", \.avoidTimeWait, .boolean, standard: upstreamStandard.avoidTimeWait,
      "Closes the connection to an endpoint by a reset once the client has finished and the endpoint has "
        + "acknowledged everything, so that no socket in TIME_WAIT keeps the local port. The client's end "
        + "of stream then ends the session, and what the endpoint would still send is lost: not for "
        + "protocols in which a client finishes sending and then waits for an answer."),
  ]
}
