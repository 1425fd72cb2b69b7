// SPDX-License-Identifier: Apache-2.0
// What is told of a change.

import Addressing
import Plan
import Testing

@testable import Control

@Suite("Topology differences")
struct TopologyDifferenceTests {
  private func plan(_ ports: [UInt16], route: String = "r", listen: [UInt16] = [1]) -> ProxyPlan {
    var plan = samplePlan(
      ports.map { .socket(.v4(.loopback, port: $0)) }, listen: listen.map { .port($0) })
    plan.routes[0].name = route
    return plan
  }

  @Test("What comes and what goes is told by name; what stays is not")
  func names() {
    let book = Book()
    let first = book.build(plan([1, 2], listen: [1, 2]))
    let second = book.build(plan([2, 3], route: "s", listen: [2, 3]))
    let difference = TopologyDifference(from: first, to: second)
    #expect(difference.listeners == .init(added: [":3"], removed: [":1"]))
    #expect(difference.routes == .init(added: ["s"], removed: ["r"]))
    #expect(difference.endpoints == .init(added: ["u/127.0.0.1:3"], removed: ["u/127.0.0.1:1"]))
    let back = TopologyDifference(from: second, to: book.build(plan([1, 2], listen: [1, 2])))
    #expect(back.routes == .init(added: ["r"], removed: ["s"]))
    #expect(back.listeners == .init(added: [":1"], removed: [":3"]))
  }

  @Test("Settings are no difference, and what went before is not told again")
  func settings() {
    let book = Book()
    book.build(plan([1, 2]))
    let second = book.build(plan([1]))
    var changed = plan([1])
    changed.routes[0].idle = .seconds(1)
    #expect(TopologyDifference(from: second, to: book.build(changed)).isEmpty)
  }

  @Test("An entity that has the slot of one that is gone is new")
  func reusedSlots() {
    let book = Book()
    var before = book.build(plan([1]))
    for port in 2..<20 as Range<UInt16> {
      let after = book.build(plan([port]))
      let difference = TopologyDifference(from: before, to: after)
      #expect(difference.endpoints.added == ["u/127.0.0.1:\(port)"])
      #expect(difference.endpoints.removed == ["u/127.0.0.1:\(port - 1)"])
      book.confirm()
      book.reader.read()
      before = after
    }
    #expect(before.endpoints.count < 6)
  }
}
