// SPDX-License-Identifier: Apache-2.0
// The admin interface: who may ask it is whoever may reach it, so it listens where only this machine
// can, and nowhere else.

import Addressing

/// The admin interface.
public struct AdminPlan: Hashable, Sendable {
  /// Where it listens: a loopback address (port 0: the kernel picks one) or a unix socket.
  public var listen: SocketAddress
  /// How many connections it holds at once. A further one takes the place of one that asks nothing; where
  /// there is none, it is told so.
  public var connectionsMax: Int
  /// How long a connection may take to deliver a request, or to take an answer.
  public var timeout: Duration

  /// Makes an admin interface; the defaults are those of the configuration.
  public init(
    listen: SocketAddress, connectionsMax: Int = 64, timeout: Duration = .seconds(10)
  ) {
    self.listen = listen
    self.connectionsMax = connectionsMax
    self.timeout = timeout
  }
}
