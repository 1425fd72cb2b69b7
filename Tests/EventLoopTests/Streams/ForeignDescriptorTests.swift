// SPDX-License-Identifier: Apache-2.0
// A descriptor of somebody else is told about, and stays his.

import CLinux
import Glibc
import Reactor
import Testing

@testable import EventLoop

@Suite("ForeignDescriptor")
struct ForeignDescriptorTests {
  @Test("What becomes readable is told, until nobody watches; the descriptor stays open")
  func tells() throws {
    var ends: [CInt] = [-1, -1]
    try #require(clinux_pipe(&ends) == 0)
    let (reader, writer) = (ends[0], ends[1])
    defer {
      close(reader)
      close(writer)
    }
    let calls = try Loop().run { () -> Int in
      let loop = try #require(Loop.current)
      let hasNews = Event()
      nonisolated(unsafe) var calls = 0
      let watch = try ForeignDescriptor(reader, on: loop) {
        calls += 1
        hasNews.set()
      }
      write(writer, "a", 1)
      try await hasNews.wait()
      watch.close()
      watch.close()
      let before = calls
      write(writer, "b", 1)
      try await loop.yield()
      try await loop.yield()
      return before == calls ? calls : -1
    }
    #expect(calls > 0)
    var bytes: [UInt8] = [0, 0, 0]
    #expect(read(reader, &bytes, 3) == 2)
  }

  @Test("A file cannot be watched")
  func file() throws {
    let descriptor = open("/dev/null", O_RDONLY)
    defer { close(descriptor) }
    try Loop().run {
      let loop = try #require(Loop.current)
      #expect(throws: Errno.self) { try ForeignDescriptor(descriptor, on: loop) {} }
    }
  }
}
