// SPDX-License-Identifier: Apache-2.0
// A callback that keeps everything else waiting is told by its name.

import EventLoop
import Glibc

let options = LoopOptions(slowThreshold: .milliseconds(500)) { step in
  print("too slow: \(step.name)")
}
let loop = try Loop(options)
try loop.run {
  loop.call(name: "blocking on purpose") {
    // Never do this on a loop: it blocks the thread that everything shares.
    usleep(600_000)
  }
  try await loop.sleep(for: .milliseconds(1))
}
