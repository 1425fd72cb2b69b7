// SPDX-License-Identifier: Apache-2.0
// The listening sockets of a plan: all or none, and nothing is left behind.

import Addressing
import Foundation
import Glibc
import Plan
import Reactor
import Testing

@testable import Control

private let noActivation = SocketActivation(processID: 1) { _ in nil }

@Suite("Listeners")
struct ListenersTests {
  @Test("A port that the kernel chose is told in the name")
  func port() throws {
    var expected: [(address: ListenAddress, prefix: String)] = [
      (.socket(.v4(.loopback, port: 0)), "127.0.0.1:"), (.port(0), ":"),
    ]
    if hasIPv6 { expected.append((.socket(.v6(.loopback, port: 0)), "[::1]:")) }
    let plan = samplePlan([.builtin(.echo)], listen: expected.map(\.address))
    let names = try Listeners(plan, activation: noActivation).all.map(\.name)
    #expect(names.count == expected.count)
    for (name, prefix) in zip(names, expected.map(\.prefix)) {
      #expect(name.hasPrefix(prefix))
      #expect((Int(name.dropFirst(prefix.count)) ?? 0) > 0)
    }
  }

  @Test("Every address that cannot be listened at is told, with its route")
  func failures() throws {
    let first = try Listeners(
      samplePlan(
        [.builtin(.echo)],
        listen: [.socket(.v4(.loopback, port: 0)), .socket(.v4(.loopback, port: 0))]),
      activation: noActivation)
    let taken = first.all.compactMap { SocketAddress($0.name) }
    let plan = samplePlan([.builtin(.echo)], listen: taken.map { .socket($0) })
    let failure = #expect(throws: StartFailure.self) {
      _ = try Listeners(plan, activation: noActivation)
    }
    #expect(failure?.reasons.count == 2)
    for (reason, address) in zip(failure?.reasons ?? [], taken) {
      #expect(reason.hasPrefix("route r cannot listen at \(address): bind: "))
    }
    first.close()
  }

  @Test("The files of unix sockets are removed when the listeners are let go", arguments: [1, 2])
  func unixPaths(count: Int) throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let good = ListenAddress.socket(.unix(path: "\(folder)/s"))
    let bad = ListenAddress.socket(.unix(path: "\(folder)/missing/s"))
    // With the second one the start fails; the first one's file must go as well.
    let plan = samplePlan([.builtin(.echo)], listen: Array([good, bad].prefix(count)))
    do {
      let listeners = try Listeners(plan, activation: noActivation)
      #expect(FileManager.default.fileExists(atPath: "\(folder)/s"))
      listeners.close()
    } catch {
      #expect(error.reasons.count == 1)
    }
    #expect(!FileManager.default.fileExists(atPath: "\(folder)/s"))
  }

  @Test("A number that is no socket's is not taken over")
  func notASocket() throws {
    let pipe = Pipe()
    let plan = samplePlan([.builtin(.echo)], listen: [.inherited(descriptor: pipe.writer)])
    let failure = #expect(throws: StartFailure.self) {
      _ = try Listeners(plan, activation: noActivation)
    }
    #expect(failure?.reasons[0].contains("no socket as descriptor \(pipe.writer)") == true)
    #expect(fcntl(pipe.writer, F_GETFD) != -1)
  }
}
