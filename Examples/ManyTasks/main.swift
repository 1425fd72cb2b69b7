// SPDX-License-Identifier: Apache-2.0
// Ten thousand tasks that sleep, a third of them cancelled, and the threads they need beside the one that
// is there: none.

import EventLoop
import Glibc

/// How many threads this process has.
func threadCount() -> Int {
  guard let folder = opendir("/proc/self/task") else { return 0 }
  defer { closedir(folder) }
  var count = 0
  while let entry = readdir(folder) {
    // Names are numbers, but for "." and "..".
    if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { count += 1 }
  }
  return count
}

let threadsBefore = threadCount()
let loop = try Loop()
let ends = try loop.run {
  let tasks = (0..<10_000).map { number in
    loop.spawn(name: "task \(number)") {
      do throws(WaitError) {
        try await loop.sleep(for: .milliseconds(number % 50))
        return "slept"
      } catch {
        return "was cancelled"
      }
    }
  }
  try await loop.yield()
  for (number, task) in tasks.enumerated() where number % 3 == 2 { task.cancel() }
  var ends: [String: Int] = [:]
  for task in tasks { ends[try await task.value, default: 0] += 1 }
  return ends.values.reduce(0, +)
}
print("\(ends) tasks, threads more than before: \(threadCount() - threadsBefore)")
