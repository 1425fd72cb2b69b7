// SPDX-License-Identifier: Apache-2.0
// Two tasks at once, gathered: what takes turns takes no longer than the longer one.

import EventLoop

let loop = try Loop()

@Sendable func answer(_ name: String, after delay: Duration) async throws -> String {
  print("\(name) begins")
  try await loop.sleep(for: delay)
  print("\(name) ends")
  return name
}

let answers = try loop.run {
  async let slow = answer("slow", after: .milliseconds(200))
  async let quick = answer("quick", after: .milliseconds(100))
  return try await [slow, quick]
}
print(answers.joined(separator: ", "))
