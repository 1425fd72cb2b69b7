// SPDX-License-Identifier: Apache-2.0
// Securing: the connection to the endpoint is established, and is prepared for use before a byte moves. A plain
// connection is only checked: where nothing listens at a port of this machine's ephemeral range, the kernel may
// choose that very port for the connection, which then leads to itself (simultaneous open, RFC 9293, 3.5). It
// counts as a refused connection.
//
// Events: entered. Deadline: none. Ways out: relay, connect after a failed attempt.

import Reactor

extension Worker {
  func securing(_ event: SessionEvent, _ session: inout Session) -> Next {
    guard case .entered = event, let endpoint = session.endpoint else { return .wait }
    if core.view.endpoints[endpoint.position].mayMeetItself,
      core.kernel.isConnectedToItself(session.upstream.socket.rawValue)
    {
      return .connectAfter(SessionError(connecting: .connectionRefused))
    }
    return .relay
  }
}
