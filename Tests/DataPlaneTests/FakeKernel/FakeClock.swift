// SPDX-License-Identifier: Apache-2.0
// The time of a fake kernel. It stands still until a test moves it.

import Reactor

/// The clock that a fake kernel shares with its sockets.
final class FakeClock {
  var now = Instant(nanoseconds: 1_000_000_000_000)
}
