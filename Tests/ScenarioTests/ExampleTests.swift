// SPDX-License-Identifier: Apache-2.0
// The examples of the library, as processes of their own: what they print is what they promise.

import Foundation
import Testing

@Suite("examples")
struct ExampleTests {
  @Test(
    "An example prints what it promises",
    arguments: [
      ("example-hello", "hello\nworld\n"),
      ("example-gather", "slow begins\nquick begins\nquick ends\nslow ends\nslow, quick\n"),
      ("example-many-tasks", "10000 tasks, threads more than before: 0\n"),
      ("example-offload", "the loop goes on\nthe work is done\n"),
      ("example-slow-callback", "too slow: blocking on purpose\n"),
    ])
  func output(name: String, expected: String) throws {
    let folder = (sluicePath as NSString).deletingLastPathComponent
    let program = try Program("\(folder)/\(name)", [])
    #expect(try program.waitForExit() == .code(0))
    // Standard error may tell of slow steps, where a machine is slow.
    #expect(program.outputText == expected)
  }
}
