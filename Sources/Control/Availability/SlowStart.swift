// SPDX-License-Identifier: Apache-2.0
// The share of an endpoint that has come up: it grows with time, so that caches fill and connections are
// pooled before the whole crowd is there.

import DataPlane

/// The share of an endpoint that has been up for so long, of the `window` over which it grows: in a straight
/// line from next to nothing to `EndpointState.shareMax`.
func slowStartShare(after nanoseconds: UInt64, of window: UInt64) -> Int {
  guard nanoseconds < window else { return EndpointState.shareMax }
  let share = Double(nanoseconds) / Double(window) * Double(EndpointState.shareMax)
  return min(max(1, Int(share)), EndpointState.shareMax)
}
