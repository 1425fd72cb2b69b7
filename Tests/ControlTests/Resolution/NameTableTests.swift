// SPDX-License-Identifier: Apache-2.0
// The last good answer stays, whatever comes after it.

import Addressing
import Testing

@testable import Control

@Suite("NameTable")
struct NameTableTests {
  private let first = IPAddress("10.0.0.1")!
  private let second = IPAddress("10.0.0.2")!
  private let third = IPAddress("10.0.0.3")!

  private func table() -> NameTable {
    var table = NameTable()
    table.learn("db", .addresses([first, second]))
    return table
  }

  @Test("Names are known from their first answer on")
  func learns() {
    let table = table()
    #expect(table.knows("db"))
    #expect(table.knows("web") == false)
    #expect(table.resolutions == ["db": .addresses([first, second])])
  }

  @Test("The same addresses in another order are no change")
  func shuffled() {
    var table = table()
    #expect(table.note("db", .addresses([second, first])) == .same)
    #expect(table.resolutions == ["db": .addresses([first, second])])
  }

  @Test("New addresses come behind those that stay")
  func changed() {
    var table = table()
    #expect(
      table.note("db", .addresses([third, second]))
        == .changed(added: ["10.0.0.3"], removed: ["10.0.0.1"]))
    #expect(table.resolutions == ["db": .addresses([second, third])])
  }

  @Test("A look-up that fails is told once, counted every time, and changes nothing")
  func failed() {
    var table = table()
    #expect(table.note("db", .failed("no answer")) == .failed("no answer"))
    #expect(table.note("db", .failed("no such name")) == .stillFailed)
    #expect(table.resolutions == ["db": .addresses([first, second])])
    #expect(table.failures == ["db": 2])
    #expect(table.note("db", .addresses([second, first])) == .recovered)
    #expect(table.note("db", .addresses([first, second])) == .same)
    #expect(table.note("db", .failed("no answer")) == .failed("no answer"))
    #expect(table.failures == ["db": 3])
  }

  @Test("After failures, other addresses are a change as ever")
  func recoveredWithChange() {
    var table = table()
    _ = table.note("db", .failed("no answer"))
    #expect(
      table.note("db", .addresses([third]))
        == .changed(added: ["10.0.0.3"], removed: ["10.0.0.1", "10.0.0.2"]))
    #expect(table.note("db", .addresses([third])) == .same)
  }

  @Test("Only the names that are kept stay known")
  func keeps() {
    var table = table()
    table.learn("web", .addresses([third]))
    table.keep(only: ["web", "mail"])
    #expect(table.knows("db") == false)
    #expect(table.resolutions == ["web": .addresses([third])])
  }
}
