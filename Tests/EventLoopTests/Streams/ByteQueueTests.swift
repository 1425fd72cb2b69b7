// SPDX-License-Identifier: Apache-2.0
// Bytes go in and come out in their order, and delimiters are found wherever they lie.

import Testing

@testable import EventLoop

@Suite struct ByteQueueTests {
  private func queue(_ text: String) -> ByteQueue {
    var queue = ByteQueue()
    queue.append(text)
    return queue
  }

  @Test(arguments: 1...5 as ClosedRange<UInt64>)
  func whatGoesInComesOut(seed: UInt64) {
    var generator = Numbers(state: seed)
    var queue = ByteQueue()
    var expected: [UInt8] = []
    for _ in 0..<500 {
      let bytes = (0..<Int.random(in: 0...20, using: &generator)).map { UInt8($0) }
      bytes.withUnsafeBytes { queue.append($0) }
      expected += bytes
      let count = Int.random(in: 0...min(25, expected.count), using: &generator)
      if Bool.random(using: &generator) {
        #expect(queue.take(count) == Array(expected[..<count]))
      } else {
        queue.drop(count)
      }
      expected.removeFirst(count)
      #expect(queue.count == expected.count)
      #expect(queue.withBytes { Array($0) } == expected)
    }
  }

  @Test func delimitersAreFound() {
    let end = Array("\r\n".utf8)
    #expect(queue("ab\r\ncd\r\n").count(through: end, from: 0) == 4)
    #expect(queue("ab\r\ncd\r\n").count(through: end, from: 3) == 8)
    #expect(queue("a\r\r\n").count(through: end, from: 0) == 4)
    #expect(queue("a\r\r").count(through: end, from: 0) == nil)
    #expect(queue("\n").count(through: [10], from: 0) == 1)
    #expect(queue("").count(through: [10], from: 0) == nil)
    #expect(queue("aaab").count(through: Array("aab".utf8), from: 0) == 4)
    var taken = queue("ab\ncd\n")
    taken.drop(3)
    #expect(taken.count(through: [10], from: 0) == 3)
  }
}

extension ByteQueue {
  fileprivate mutating func append(_ text: String) {
    var text = text
    text.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }
}
