// SPDX-License-Identifier: Apache-2.0
// Lines to a disk that is full for a while, in the middle of a line too.

import Glibc
import Reactor
import Testing

@testable import Control

@Suite("Line writer")
struct LineWriterTests {
  /// A disk with room for so many bytes.
  private final class Disk {
    var room: Int
    var bytes: [UInt8] = []

    var text: String { String(decoding: bytes, as: UTF8.self) }

    init(room: Int) {
      self.room = room
    }

    func write(_ data: UnsafeRawBufferPointer) -> Int {
      guard room > 0 else {
        errno = ENOSPC
        return -1
      }
      let count = min(room, data.count)
      bytes += data[..<count]
      room -= count
      return count
    }
  }

  @Test("What comes after a line that was cut starts a line of its own")
  func torn() {
    let disk = Disk(room: 7)
    let writer = LineWriter(0) { disk.write($1) }
    let first = writer.writeLines(Array("one\ntwo\nthree\n".utf8))
    #expect(first.error == .noSpace)
    #expect(first.lost == 2)
    disk.room = 100
    let second = writer.writeLines(Array("four\n".utf8))
    #expect(second.error == nil)
    #expect(second.lost == 0)
    #expect(disk.text == "one\ntwo\nfour\n")
  }

  @Test("A disk that stays full is not forgotten to hold half a line")
  func tornAndFull() {
    let disk = Disk(room: 2)
    let writer = LineWriter(0) { disk.write($1) }
    #expect(writer.writeLines(Array("one\n".utf8)).lost == 1)
    #expect(writer.writeLines(Array("two\nthree\n".utf8)).lost == 2)
    disk.room = 100
    #expect(writer.writeLines(Array("four\n".utf8)).lost == 0)
    #expect(disk.text == "on\nfour\n")
  }

  @Test("After whole lines no empty one is put in", arguments: [0, 4])
  func whole(room: Int) {
    let disk = Disk(room: room)
    let writer = LineWriter(0) { disk.write($1) }
    let lost = writer.writeLines(Array("one\ntwo\n".utf8)).lost
    #expect(lost == (room == 0 ? 2 : 1))
    disk.room = 100
    _ = writer.writeLines(Array("three\n".utf8))
    #expect(disk.text == (room == 0 ? "three\n" : "one\nthree\n"))
  }
}
