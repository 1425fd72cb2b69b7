// SPDX-License-Identifier: Apache-2.0
// Ten thousand tasks that sleep, read from sockets and are cancelled at random, on one loop; a million
// timers; and what all that leaves behind: nothing. Usage: example-many-tasks [SEED].

import EventLoop
import Glibc

/// Random numbers that are the same each time (Steele, Lea and Flood, 2014).
struct Numbers {
  var state: UInt64

  mutating func next(below bound: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return Int((mixed ^ (mixed >> 31)) % UInt64(bound))
  }
}

/// How many entries a folder has whose names are numbers: threads, or descriptors.
func entries(_ path: String) -> Int {
  guard let folder = opendir(path) else { return 0 }
  defer { closedir(folder) }
  var count = 0
  while let entry = readdir(folder) {
    if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { count += 1 }
  }
  return count
}

/// Lets this process open as many files as it may, and tells how many.
func raiseDescriptorLimit() -> Int {
  var limit = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  limit.rlim_cur = limit.rlim_max
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  return Int(clamping: limit.rlim_cur)
}

/// A pair of sockets: a child task reads from one what is written to the other a little later.
@Sendable func readAfter(_ milliseconds: Int, on loop: Loop) async throws {
  let (one, other) = try Stream.pair()
  defer {
    one.close()
    other.close()
  }
  async let answer = one.read(exactly: 8)
  try await loop.sleep(for: .milliseconds(milliseconds))
  try other.write([1, 2, 3, 4])
  try await loop.yield()
  try other.write([5, 6, 7, 8])
  guard try await answer == [1, 2, 3, 4, 5, 6, 7, 8] else { fatalError("bytes were lost") }
}

/// What becomes of the tasks, as words and how often.
@Sendable func runTasks(_ count: Int, seed: UInt64, on loop: Loop) async throws -> [String: Int] {
  var numbers = Numbers(state: seed)
  let readersMax = max(0, raiseDescriptorLimit() - 100) / 2
  var readers = 0
  let tasks = (0..<count).map { number in
    let milliseconds = numbers.next(below: 400)
    let mayRead = readers < readersMax && numbers.next(below: 2) == 0
    if mayRead { readers += 1 }
    return loop.spawn(name: "task \(number)") {
      do {
        if mayRead {
          try await readAfter(milliseconds, on: loop)
          return "has read"
        }
        try await loop.sleep(for: .milliseconds(milliseconds))
        return "has slept"
      } catch WaitError.cancelled, StreamError.cancelled {
        return "was cancelled"
      }
    }
  }
  // While they run, some are cancelled: those that have ended by then do not mind.
  for _ in 0..<20 {
    for _ in 0..<(count / 20) { tasks[numbers.next(below: count)].cancel() }
    try await loop.sleep(for: .milliseconds(1))
  }
  var ends: [String: Int] = [:]
  for task in tasks { ends[try await task.value, default: 0] += 1 }
  return ends
}

/// The processor time in nanoseconds that it takes to set a timer and to cancel it, among so many.
@Sendable func timerCost(_ count: Int, on loop: Loop) -> Double {
  var began = timespec()
  var ended = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began)
  let late = loop.now.advanced(by: 3_600_000_000_000)
  let calls = (0..<count).map { number in
    loop.call(at: late.advanced(by: UInt64(number) * 1000), name: "never") {
      fatalError("a cancelled call was made")
    }
  }
  for call in calls { call.cancel() }
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended)
  let seconds = Double(ended.tv_sec - began.tv_sec)
  return (seconds * 1e9 + Double(ended.tv_nsec - began.tv_nsec)) / Double(count)
}

let seed = CommandLine.arguments.dropFirst().first.flatMap { UInt64($0) } ?? 1
let threadsBefore = entries("/proc/self/task")
// A million timers at once is too slow a step for the usual complaint.
let loop = try Loop(LoopOptions(slowThreshold: .seconds(60)))
let descriptorsBefore = entries("/proc/self/fd")
try loop.run {
  let ends = try await runTasks(10_000, seed: seed, on: loop)
  for (end, count) in ends.sorted(by: { $0.key < $1.key }) { print("\(count) \(end)") }
  print("tasks left: \(loop.listing.tasks.count - 1), waits left: \(loop.listing.waits.count)")
  let few = timerCost(100_000, on: loop)
  let many = timerCost(1_000_000, on: loop)
  print("a timer among 1000000 costs \(many / few) times what one among 100000 does")
}
print("threads more than before: \(entries("/proc/self/task") - threadsBefore)")
print("descriptors more than before: \(entries("/proc/self/fd") - descriptorsBefore)")
