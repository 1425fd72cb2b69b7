// SPDX-License-Identifier: Apache-2.0
// When a file is read: after it has changed and stands still.

import EventLoop
import Glibc
import Plan
import Reactor
import Testing

@testable import Control

@Suite("FileSettling")
struct FileSettlingTests {
  private let folder: String

  init() throws {
    folder = try temporaryFolder()
  }

  private func write(_ text: String, _ name: String = "list") {
    guard let file = fopen("\(folder)/\(name)", "w") else { return }
    fputs(text, file)
    fclose(file)
  }

  private var mark: FileMark { FileMark(of: "\(folder)/list") }

  private func removeAll() {
    for name in ["list", "other", "link", "a", "b"] { unlink("\(folder)/\(name)") }
    rmdir(folder)
  }

  @Test("A file is read at its second look, and not again until it is another one")
  func settles() {
    defer { removeAll() }
    write("one")
    var settling = FileSettling()
    let first = mark
    #expect(settling.isDue(first) == false)
    #expect(settling.isDue(mark) == true)
    #expect(settling.noteRead(first, mark) == true)
    #expect(settling.isDue(mark) == false)
    write("longer")
    #expect(settling.isDue(mark) == false)
    write("longer still")
    #expect(settling.isDue(mark) == false)
    #expect(settling.isDue(mark) == true)
  }

  @Test("What has changed while it was read is read once more")
  func changedMeanwhile() {
    defer { removeAll() }
    write("one")
    var settling = FileSettling()
    let before = mark
    _ = settling.isDue(before)
    #expect(settling.isDue(before) == true)
    write("one and more")
    #expect(settling.noteRead(before, mark) == false)
    #expect(settling.isDue(mark) == true)
  }

  @Test("A file in its place, a link that leads elsewhere, and no file look different")
  func marks() {
    defer { removeAll() }
    write("one", "a")
    write("two", "b")
    symlink("a", "\(folder)/list")
    let first = mark
    symlink("b", "\(folder)/link")
    rename("\(folder)/link", "\(folder)/list")
    let second = mark
    #expect(first != second)
    write("two", "other")
    rename("\(folder)/other", "\(folder)/b")
    #expect(mark != second)
    unlink("\(folder)/b")
    let none = mark
    #expect(none != second)
    #expect(none == mark)
  }
}

@Suite struct EndpointListsTests {
  private func key(_ upstream: String) -> EndpointListKey {
    EndpointListKey(upstream: upstream, path: "/list")
  }

  @Test func aChangeTakesWhatWaitsThenAndWhatComesMeanwhileIsAnother() {
    var lists = EndpointLists()
    let endpoints = [EndpointPlan(address: .name(host: "a", port: 1))]
    lists.waiting = [key("b"): endpoints, key("a"): endpoints]
    var taken: [String] = []
    for (key, endpoints) in lists.takeWaiting() {
      taken.append(key.upstream)
      lists.waiting[key] = endpoints
    }
    #expect(taken == ["a", "b"])
    #expect(lists.waiting.count == 2)
  }

  @Test func aPathThatHangsHoldsOneThreadHoweverOftenItIsLookedAt() throws {
    try Loop().run {
      let loop = try #require(Loop.current)
      let pool = BlockingPool(name: "looks", threadsMax: 2)
      var turns = PathTurns()
      let hung = turns.place(of: "/hung")
      // As a file on a network that does not answer.
      let answers = Gate()
      for _ in 0..<3 {
        await #expect(throws: WaitError.deadlinePassed) {
          try await PathTurns.run(hung, on: pool, until: loop.now.advanced(by: 20_000_000)) {
            answers.wait()
          }
        }
      }
      #expect(answers.waiting == 1)
      let other = turns.place(of: "/other")
      #expect(try await PathTurns.run(other, on: pool, until: .distantFuture) { 7 } == 7)
      #expect(try await soon { other.available == 1 })
      // Nobody begins at it again before it has come back, also when it was forgotten meanwhile.
      turns.keep(only: [])
      #expect(turns.place(of: "/hung") === hung)
      #expect(turns.place(of: "/other") !== other)
      answers.open()
      #expect(try await PathTurns.run(hung, on: pool, until: .distantFuture) { 8 } == 8)
      #expect(try await soon { hung.available == 1 })
      // Work that is never begun ends its turn, too.
      pool.close()
      await #expect(throws: BlockingPoolError.closed) {
        try await PathTurns.run(hung, on: pool, until: .distantFuture) {}
      }
      #expect(try await soon { hung.available == 1 })
    }
  }
}

/// Holds up threads until it is opened.
private final class Gate: Sendable {
  private let state = Lock((waiting: 0, isOpen: false))

  var waiting: Int { state.withLock { $0.waiting } }

  func open() { state.withLock { $0.isOpen = true } }

  func wait() {
    state.withLock { $0.waiting += 1 }
    // Nobody rings for this: look again in a moment.
    while !state.withLock({ $0.isOpen }) { _ = poll(nil, 0, 1) }
  }
}
