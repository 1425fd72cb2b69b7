// SPDX-License-Identifier: Apache-2.0
// Inspecting: examines the client before an endpoint is selected. Clients that have reset their connections
// while they waited to be accepted cost no endpoint a connection; with `drop_silent_clients`, neither do those that
// have finished without a byte. This state does not wait; routes that depend on the first bytes will wait here.
//
// Events: entered. Deadline: none. Ways out: queue, connect, end.

import Reactor

extension Worker {
  func inspecting(_ event: SessionEvent, _ session: inout Session) -> Next {
    guard case .entered = event else { return .wait }
    if let errno = core.kernel.takeError(session.downstream.socket.rawValue) {
      session.downstream.noteFailure(errno)
    }
    if noteIfLost(&session) { return .end }
    let view = core.view.upstreams[Int(session.upstreamPosition)]
    guard view.state.queue.isOccupied, view.mayQueue else { return .connect }
    session.waitKind = kindOfNewcomers(view, at: Int(session.upstreamPosition))
    return .queue
  }

  /// Whether a client needs no endpoint any more: it has failed with nothing to deliver, or finished in
  /// silence where that means the same. The cause is noted then.
  func noteIfLost(_ session: inout Session) -> Bool {
    let flags = session.downstream.flags
    let descriptor = session.downstream.socket.rawValue
    if flags.contains(.gone) {
      let isLost = session.upload.isUntouched && core.kernel.receiveQueueBytes(descriptor) == 0
      // A unix client has merely closed its socket.
      if !flags.contains(.isUnix) {
        session.noteEnd(.downstream, .reset)
      } else if isLost {
        session.noteEnd(.downstream, .finished)
      }
      return isLost
    }
    guard core.view.routes[session.route.position].dropsSilentClients else { return false }
    let found = core.kernel.peekEnd(descriptor)
    if case .failed(let errno) = found { session.downstream.noteFailure(errno) }
    guard case .endOfStream = found else { return false }
    session.noteEnd(.downstream, .finished)
    return true
  }
}
