// SPDX-License-Identifier: Apache-2.0
// Host names to addresses. Only names that need no network are looked up with success.

import Addressing
import Glibc
import Reactor
import Testing

@testable import Control

@Suite("Name resolver")
struct NameResolverTests {
  @Test("localhost is this machine")
  func localhost() throws {
    let results = try NameResolver.resolve(["localhost"], timeout: .seconds(30))
    guard case .addresses(let addresses) = results?["localhost"] else {
      Issue.record("localhost: \(results)")
      return
    }
    #expect(addresses.contains { $0.description == "127.0.0.1" || $0.description == "::1" })
    #expect(Set(addresses).count == addresses.count)
  }

  @Test("A name that cannot exist fails with a reason, and others do not suffer")
  func invalid() throws {
    let names: Set = ["localhost", "no.such.invalid", "nor.this.invalid"]
    let results = try #require(try NameResolver.resolve(names, timeout: .seconds(30)))
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
    let results = try #require(try NameResolver.resolve(names, timeout: .seconds(30)))
    for name in names { #expect(results[name] == .addresses(IPAddress(name).map { [$0] } ?? [])) }
  }

  @Test("When the time is over, what has not been answered has failed")
  func timeout() throws {
    let names = Set((0..<200).map { "name-\($0).invalid" })
    let results = try #require(try NameResolver.resolve(names, timeout: .zero))
    #expect(results.count == 200)
    #expect(results.values.contains(.failed("no answer within 0s")))
  }

  @Test("Without names there is nothing to do")
  func none() throws {
    #expect(try NameResolver.resolve([], timeout: .zero) == [:])
  }

  @Test("A signal ends the wait for a name that nobody answers", .timeLimit(.minutes(1)))
  func interruption() throws {
    let bell = Descriptor(owning: try LinuxKernel().makeBell())
    let descriptor = bell.rawValue
    LinuxKernel().ring(descriptor)
    var asked = 0
    let interruption = Interruption(descriptor: descriptor) {
      asked += 1
      // The first time it was something else.
      if asked > 1 { LinuxKernel().silence(descriptor) }
      return asked > 1
    }
    let results = try NameResolver.resolve(
      ["slow"], timeout: .seconds(3600), interruption: interruption
    ) { _ in
      _ = poll(nil, 0, 3_600_000)
      return .failed("late")
    }
    #expect(results == nil)
    #expect(asked == 2)
  }
}
