// SPDX-License-Identifier: Apache-2.0
// Inspecting: what is found out about a client before an endpoint is looked for. Clients that have reset
// their connections while they waited to be accepted cost no endpoint a connection; where the route wants it
// (`drop_silent_clients`), nor do those that have finished without a byte. Nothing is waited for: routes that
// decide by first bytes will wait here.
//
// Events: entered. Deadline: none. Ways out: queue, connect, end.

import Reactor

extension Worker {
  func inspecting(_ event: SessionEvent, _ session: inout Session) -> Next {
    guard case .entered = event else { return .wait }
    if let errno = core.kernel.takeError(session.downstream.socket.rawValue) {
      session.downstream.noteFailure(errno)
    }
    if isLost(&session) { return .end }
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    guard view.state.queue.isOccupied, view.mayQueue else { return .connect }
    session.waitKind = kindOfNewcomers(view, at: Int(session.upstreamPosition))
    return .queue
  }

  /// Whether a client needs no endpoint any more: it has failed with nothing to deliver, or finished in
  /// silence where that means the same. The cause is noted then.
  func isLost(_ session: inout Session) -> Bool {
    let flags = session.downstream.flags
    let descriptor = session.downstream.socket.rawValue
    if flags.contains(.gone) {
      session.noteEnd(.downstream, .reset)
      return session.upload.isUntouched && core.kernel.receiveQueueBytes(descriptor) == 0
    }
    guard core.view.routes[session.route.position].dropsSilentClients else { return false }
    guard case .endOfStream = core.kernel.peekEnd(descriptor) else { return false }
    session.noteEnd(.downstream, .finished)
    return true
  }
}
