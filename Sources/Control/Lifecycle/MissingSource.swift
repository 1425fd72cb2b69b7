// SPDX-License-Identifier: Apache-2.0
// Source addresses that this machine does not have: every connection of their upstreams would fail,
// and without a word at the start the endpoints would look guilty. They are no reason not to start:
// an address may come later, as those do that move between machines.

import Addressing
import Plan
import Reactor

/// A source address of an upstream that no socket can be bound to now.
struct MissingSource: Equatable {
  let upstream: String
  let address: IPAddress
  let cause: Errno

  /// Tries every source address of a plan once.
  static func all(in plan: ProxyPlan) -> [MissingSource] {
    var causes: [IPAddress: Errno?] = [:]
    return plan.upstreams.flatMap { upstream in
      upstream.source.compactMap { address in
        let cause = causes[address] ?? refusal(of: address)
        causes[address] = .some(cause)
        return cause.map { MissingSource(upstream: upstream.name, address: address, cause: $0) }
      }
    }
  }

  /// Why no socket can be bound to an address, `nil` if one can.
  private static func refusal(of address: IPAddress) -> Errno? {
    let kernel = LinuxKernel()
    let source = KernelAddress(SocketAddress(address, port: 0))
    do throws(Errno) {
      let socket = Descriptor(
        owning: try kernel.makeSocket(for: source, options: StreamOptions()))
      try kernel.bindSource(socket.rawValue, to: source)
      return nil
    } catch {
      return error
    }
  }
}
