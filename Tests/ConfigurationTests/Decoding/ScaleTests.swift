// SPDX-License-Identifier: Apache-2.0
// Large files, full of what costs most: twice the file may cost little more than twice the time, or a
// quadratic step hides somewhere. What counts is the thread's own CPU time, the least of three: other
// programs on the machine do not enter into it.

import Glibc
import Testing

@testable import Configuration

@Suite struct ScaleTests {
  /// Repeats a line, with its number in it, up to some size.
  private func elapsed(_ bytes: Int, _ head: String, _ line: (Int) -> String) -> Duration {
    var text = head
    var number = 0
    while text.utf8.count < bytes {
      text += line(number)
      number += 1
    }
    return (0..<3).map { _ in
      let start = threadTime()
      _ = decode(text)
      return threadTime() - start
    }.min() ?? .zero
  }

  private func threadTime() -> Duration {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
  }

  @Test func fourTimesTheFileCostsLittleMoreThanFourTimesTheTime() {
    let worst: [(head: String, line: (Int) -> String)] = [
      ("routes:\n", { " r\($0): {listen: \":1\", to: nope}\n" }),
      ("routes:\n", { " r\($0): {listen: \"unix:/\($0)\", to: u, a: 1}\n" }),
      ("x: &a [1]\ny: [", { _ in "*a, " }),
      ("x: \"", { _ in "a b ${" }),
      ("x: ", { _ in "[::]:80 ${" }),
    ]
    for (head, line) in worst {
      let small = elapsed(32 << 10, head, line)
      let large = elapsed(128 << 10, head, line)
      // Sixteen times would be quadratic; the rest is room for a busy machine.
      #expect(large < small * 11 + .milliseconds(200), "\(head): \(small), \(large)")
    }
  }
}
