// SPDX-License-Identifier: Apache-2.0
// Work that blocks is done elsewhere; the loop goes on meanwhile.

import EventLoop
import Glibc

let loop = try Loop()
let pool = BlockingPool(name: "slow-work", threadsMax: 1)
try loop.run {
  async let answer = pool.run {
    usleep(100_000)
    return "the work is done"
  }
  try await loop.sleep(for: .milliseconds(10))
  print("the loop goes on")
  print(try await answer)
}
