// SPDX-License-Identifier: Apache-2.0
// The description of how an upstream's endpoints are found.

import Plan

/// What an upstream says about finding its endpoints.
var resolutionFields: [Field<UpstreamSettings>] {
  let resolve = ScalarCodec.duration(.seconds(1)...(.seconds(86400))).orOff()
  return [
    field(
      "resolve", \.resolve, resolve.located, shown: resolve.encode(upstreamStandard.resolve),
      "How often host names are looked up again. `off`: only at the start.")
  ]
}
