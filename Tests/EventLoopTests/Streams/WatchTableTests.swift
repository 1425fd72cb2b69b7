// SPDX-License-Identifier: Apache-2.0
// A token finds what it was made for, and nobody after that was removed.

import Reactor
import Testing

@testable import EventLoop

@Suite struct WatchTableTests {
  @Test func aSlotThatIsUsedAgainHasAnotherToken() throws {
    let loop = try Loop()
    let watch = try Watch(watching: LinuxKernel().makeBell(), on: loop)
    defer { watch.close() }
    var table = WatchTable(capacity: 2)
    let first = table.insert(watch)
    #expect(table.find(first) === watch)
    table.remove(first)
    #expect(table.find(first) == nil)
    let second = table.insert(watch)
    #expect(second.index == first.index)
    #expect(second != first)
    #expect(table.find(first) == nil)
    #expect(table.all.count == 1)
    #expect(!table.isFull)
    _ = table.insert(watch)
    #expect(table.isFull)
    #expect(table.find(Token(.descriptor, index: 2, generation: 0)) == nil)
  }
}
