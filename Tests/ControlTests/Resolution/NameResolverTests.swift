// SPDX-License-Identifier: Apache-2.0
// Host names to addresses. Only names that need no network are looked up with success.

import Addressing
import Testing

@testable import Control

@Suite("Name resolver")
struct NameResolverTests {
  @Test("localhost is this machine")
  func localhost() throws {
    let results = try NameResolver.resolve(["localhost"], timeout: .seconds(30))
    guard case .addresses(let addresses) = results["localhost"] else {
      Issue.record("localhost: \(results)")
      return
    }
    #expect(addresses.contains { $0.description == "127.0.0.1" || $0.description == "::1" })
    #expect(Set(addresses).count == addresses.count)
  }

  @Test("A name that cannot exist fails with a reason, and others do not suffer")
  func invalid() throws {
    let names: Set = ["localhost", "no.such.invalid", "nor.this.invalid"]
    let results = try NameResolver.resolve(names, timeout: .seconds(30))
    #expect(Set(results.keys) == names)
    for name in names.subtracting(["localhost"]) {
      guard case .failed(let reason) = results[name] else {
        Issue.record("\(name): \(results)")
        continue
      }
      #expect(!reason.isEmpty)
    }
  }

  @Test("More names than threads are all looked up")
  func many() throws {
    let names = Set((0..<30).map { "127.0.0.\($0)" })
    let results = try NameResolver.resolve(names, timeout: .seconds(30))
    for name in names { #expect(results[name] == .addresses(IPAddress(name).map { [$0] } ?? [])) }
  }

  @Test("When the time is over, what has not been answered has failed")
  func timeout() throws {
    let names = Set((0..<200).map { "name-\($0).invalid" })
    let results = try NameResolver.resolve(names, timeout: .zero)
    #expect(results.count == 200)
    #expect(results.values.contains(.failed("no answer within 0s")))
  }

  @Test("Without names there is nothing to do")
  func none() throws {
    #expect(try NameResolver.resolve([], timeout: .zero).isEmpty)
  }
}
