// SPDX-License-Identifier: Apache-2.0
// When a file is read: after it has changed and stands still.

import Glibc
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
