// SPDX-License-Identifier: Apache-2.0
// The listening sockets of a plan: all or none, and nothing is left behind.

import Addressing
import CLinux
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

@Suite("Listeners of a new plan")
struct ListenersChangeTests {
  private let local = ListenAddress.socket(.v4(.loopback, port: 0))

  private func plan(_ listen: [ListenAddress], backlog: Int = 16) -> ProxyPlan {
    var plan = samplePlan([.builtin(.echo)], listen: listen)
    plan.routes[0].backlog = backlog
    return plan
  }

  private func listeners(_ listen: [ListenAddress]) throws -> Listeners {
    try Listeners(plan(listen), activation: noActivation)
  }

  /// Whether somebody listens at a listener's address.
  private func answers(_ listener: OpenListener) throws -> Bool {
    let text = listener.name.hasPrefix(":") ? "127.0.0.1\(listener.name)" : listener.name
    let address = KernelAddress(try #require(SocketAddress(text)))
    let client = Descriptor(
      owning: socket(address.family, CInt(SOCK_STREAM.rawValue), 0))
    return address.withSockaddr { connect(client.rawValue, $0, $1) } == 0
  }

  @Test("Those that stay are the same sockets, new ones are opened, others stay open until told")
  func difference() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let path = ListenAddress.socket(.unix(path: "\(folder)/s"))
    let listeners = try listeners([local, path])
    let before = listeners.all
    let prepared = try listeners.prepare(plan([path, local, local]))
    // Nothing has changed yet.
    #expect(listeners.all == before)
    #expect(listeners.commit(prepared, in: 2).isEmpty)
    #expect(listeners.all.count == 3)
    #expect(listeners.all[0] == before[1])
    #expect(listeners.all[1] == before[0])
    #expect(!before.map(\.generation).contains(listeners.all[2].generation))
    _ = listeners.commit(try listeners.prepare(plan([local])), in: 3)
    #expect(listeners.all == [before[0]])
    listeners.closeRemoved(upTo: 2)
    #expect(try answers(before[1]))
    listeners.closeRemoved(upTo: 3)
    #expect(try !answers(before[1]))
    #expect(try answers(before[0]))
  }

  @Test("If one cannot be had, none is opened and everything is told")
  func allOrNothing() throws {
    let other = try self.listeners([local, local])
    let taken = other.all.compactMap { SocketAddress($0.name) }.map { ListenAddress.socket($0) }
    let listeners = try listeners([local])
    let before = listeners.all
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let path = ListenAddress.socket(.unix(path: "\(folder)/s"))
    let failure = #expect(throws: StartFailure.self) {
      _ = try listeners.prepare(plan([path] + taken))
    }
    #expect(failure?.reasons.count == 2)
    #expect(failure?.reasons.allSatisfy { $0.contains("another process") } == true)
    #expect(listeners.all == before)
    #expect(!FileManager.default.fileExists(atPath: "\(folder)/s"))
    #expect(try answers(before[0]))
    other.close()
  }

  @Test("What was prepared and then dropped leaves nothing behind")
  func dropped() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let path = ListenAddress.socket(.unix(path: "\(folder)/s"))
    let listeners = try listeners([local])
    do {
      let prepared = try listeners.prepare(plan([local, path]))
      #expect(try answers(prepared.all[1]))
    }
    #expect(!FileManager.default.fileExists(atPath: "\(folder)/s"))
  }

  @Test("The file of a unix socket goes with its listener")
  func unixPath() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let listeners = try listeners([.socket(.unix(path: "\(folder)/s")), local])
    _ = listeners.commit(try listeners.prepare(plan([local])), in: 2)
    #expect(FileManager.default.fileExists(atPath: "\(folder)/s"))
    listeners.closeRemoved(upTo: 2)
    #expect(!FileManager.default.fileExists(atPath: "\(folder)/s"))
  }

  @Test("One that comes back before it is closed is taken up again")
  func comesBack() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let path = ListenAddress.socket(.unix(path: "\(folder)/s"))
    let listeners = try listeners([path, local])
    let before = listeners.all
    _ = listeners.commit(try listeners.prepare(plan([local])), in: 2)
    let prepared = try listeners.prepare(plan([local, path]))
    // Meanwhile the workers have let go of it.
    listeners.closeRemoved(upTo: 2)
    _ = listeners.commit(prepared, in: 3)
    #expect(listeners.all == [before[1], before[0]])
    listeners.closeRemoved(upTo: 3)
    #expect(try answers(before[0]))
  }

  @Test("One that overlaps a listener of this process is told so, with what to do")
  func overlap() throws {
    let listeners = try listeners([.port(0)])
    let port = try #require(UInt16(listeners.all[0].name.dropFirst()))
    let failure = #expect(throws: StartFailure.self) {
      _ = try listeners.prepare(plan([.socket(.v4(.loopback, port: port))]))
    }
    #expect(
      failure?.reasons == [
        "route r cannot listen at 127.0.0.1:\(port): bind: Address already in use: "
          + "it overlaps :\(port) of route r, where this process listens; "
          + "reload once without that one, then with this one, or restart"
      ])
  }

  @Test("A changed backlog and changed options reach the socket that stays")
  func options() throws {
    let listeners = try listeners([local])
    let descriptor = listeners.all[0].descriptor
    #expect(clinux_get_option(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY) != 0)
    var changed = plan([local], backlog: 99)
    changed.routes[0].tcp.noDelay = false
    #expect(listeners.commit(try listeners.prepare(changed), in: 2).isEmpty)
    #expect(listeners.all[0].descriptor == descriptor)
    #expect(clinux_get_option(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY) == 0)
  }

  @Test("A socket that was handed over can be added later, and once closed no more")
  func inherited() throws {
    let number = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    let unknown = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    defer { close(unknown) }
    // As if it had been used at the start, given up by a plan that failed, and taken then.
    let listeners = try Listeners(plan([.inherited(descriptor: number)]), activation: noActivation)
    let before = listeners.all
    #expect(throws: StartFailure.self) {
      _ = try listeners.prepare(
        plan([.inherited(descriptor: number), .inherited(descriptor: unknown)]))
    }
    _ = listeners.commit(try listeners.prepare(plan([local])), in: 2)
    _ = listeners.commit(
      try listeners.prepare(plan([local, .inherited(descriptor: number)])), in: 3)
    #expect(listeners.all[1] == before[0])
    _ = listeners.commit(try listeners.prepare(plan([local])), in: 4)
    listeners.closeRemoved(upTo: 4)
    #expect(fcntl(number, F_GETFD) == -1)
    let failure = #expect(throws: StartFailure.self) {
      _ = try listeners.prepare(plan([local, .inherited(descriptor: number)]))
    }
    #expect(failure?.reasons[0].hasSuffix("restart") == true)
  }
}
