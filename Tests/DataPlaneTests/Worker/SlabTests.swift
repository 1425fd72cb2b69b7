// SPDX-License-Identifier: Apache-2.0
// The slab against a dictionary, and what it drops when it goes.

import Balancing
import Reactor
import Testing

@testable import DataPlane

@Suite struct SlabTests {
  private final class Tracked {
    let number: Int

    init(_ number: Int) { self.number = number }
  }

  @Test func itDoesWhatTheModelDoes() throws {
    for seed in 0..<50 as Range<UInt64> {
      var random = SplitMix64(seed: seed)
      var slab = try Slab<Int>(capacity: 20)
      var model: [Int: Int] = [:]
      for number in 0..<400 {
        let isFull = slab.isFull
        if random.next(below: 2) == 0, !isFull {
          let index = slab.insert(number)
          #expect(model.updateValue(number, forKey: index) == nil, "seed \(seed)")
        } else if let index = model.keys.sorted().randomElement(using: &random) {
          let removed = slab.remove(index)
          #expect(removed == model.removeValue(forKey: index), "seed \(seed)")
        }
        let count = slab.count
        #expect(count == model.count, "seed \(seed)")
        var found: [Int: Int] = [:]
        var next = slab.nextIndex(from: 0)
        while let index = next {
          found[index] = slab.find(index)?.pointee
          next = slab.nextIndex(from: index + 1)
        }
        #expect(found == model, "seed \(seed)")
      }
    }
  }

  @Test func whatIsLeftIsDroppedWithTheSlab() throws {
    weak var left: Tracked?
    do {
      var slab = try Slab<Tracked>(capacity: 4)
      let value = Tracked(1)
      left = value
      _ = slab.insert(value)
    }
    #expect(left == nil)
  }

  @Test func moreThanThereIsAddressSpaceForIsRefused() {
    #expect(throws: Errno.noMemory) {
      _ = try Slab<InlineArray<131_072, Int>>(capacity: Int(UInt32.max) - 2)
    }
  }
}
