// SPDX-License-Identifier: Apache-2.0
// Hello, a little later: a loop runs one task until it is complete.

import EventLoop

let loop = try Loop()
try loop.run {
  print("hello")
  try await loop.sleep(for: .milliseconds(100))
  print("world")
}
