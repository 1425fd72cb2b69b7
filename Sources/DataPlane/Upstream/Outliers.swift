// SPDX-License-Identifier: Apache-2.0
// What sessions tell of their endpoints, where an upstream leaves out those that fail (`outlier`). A worker
// counts failures in a row, together with all others, and says when the bound is reached; what follows from
// that is the control plane's business.
//
// A failure is what another endpoint would have done better: a connection that is refused, too late,
// unreachable, or that breaks before a byte has come back. Never what this process or machine has run out
// of, never what a client did, and never silence: how long an answer may take is not known here. The first
// byte back proves the contrary. So does an orderly end that the client began, because some protocols never
// say a word; an endpoint that ends first without a word has proved nothing.

import Reactor

extension Worker {
  /// A session has failed at an endpoint, and it is the endpoint's doing.
  func noteFailed(at endpoint: EndpointIndex) {
    let failuresMax = topology.endpoints[endpoint.position].failuresMax
    guard failuresMax > 0 else { return }
    let state = topology.endpoints[endpoint.position].state
    if state.noteFailed(max: failuresMax) { report(.endpointFailing(state)) }
  }

  /// The first byte of an endpoint has reached its client.
  func noteServed(_ session: UnsafeMutablePointer<Session>, at endpoint: EndpointIndex) {
    let failuresMax = topology.endpoints[endpoint.position].failuresMax
    guard failuresMax > 0 else { return }
    let state = topology.endpoints[endpoint.position].state
    guard state.noteServed(max: failuresMax) else { return }
    report(.endpointServed(state, since: session.pointee.connectedAt))
  }

  /// Both sides have finished in order.
  func noteFinishedInSilence(_ session: UnsafeMutablePointer<Session>) {
    guard session.pointee.download.bytes == 0, session.pointee.firstToFinish == .downstream,
      let endpoint = session.pointee.endpoint
    else { return }
    noteServed(session, at: endpoint)
  }

  /// All that the endpoint's side had sent is delivered, and it has failed.
  func noteBrokenInSilence(_ session: UnsafeMutablePointer<Session>) {
    guard session.pointee.download.bytes == 0, session.pointee.end?.origin == .upstream,
      let endpoint = session.pointee.endpoint
    else { return }
    noteFailed(at: endpoint)
  }
}
