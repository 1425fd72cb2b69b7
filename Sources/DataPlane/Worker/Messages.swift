// SPDX-License-Identifier: Apache-2.0
// What a worker does with the messages of other threads, and its own end, after which none may arrive.

import Reactor

extension Worker {
  func receive(_ message: WorkerMessage) {
    switch message {
    case .adopt(let connection):
      core.counters[.received] += 1
      // A worker that still accepts may hand over to one that has reported `finished`: it will report it again.
      hasReportedFinish = false
      use(connection.topology)
      startSession(connection.accepted)
    case .use(let next): use(next)
    case .stopAccepting:
      for position in acceptor.listening.indices { acceptAll(at: ListenerIndex(position)) }
      acceptor.stopAccepting()
      core.report(.stoppedAccepting)
      reportIfFinished()
    case .grant(let grant): receive(grant)
    case .giveUp(let token): giveUpWaiting(token)
    case .resumeAccepting: acceptor.resume()
    case .closeSessions(let closing): closeSessions(closing)
    case .keepSessions(let endpoint): keepSessions(of: endpoint)
    case .resetAll(let reason): resetAll(reason)
    case .answer: core.report(.alive)
    case .stop: isStopped = true
    }
  }

  /// Closes everything. Nothing may arrive afterwards.
  func retire() {
    if acceptor.isAccepting { acceptor.stopAccepting() }
    resetAll(.killed)
    while let connection = acceptor.unpark() { refuse(connection, core.topology) }
    for message in inbox.close() {
      switch message {
      // Connections that came too late are counted already, in the topology that they bring along.
      case .adopt(let connection): refuse(connection.accepted, connection.topology)
      case .grant(let grant):
        _ = grant.upstream.queue.claim(grant.ticket)
        grant.topology.giveBackPlace(grant.endpoint)
      default: break
      }
    }
    assert(sessions.count == 0)
    assert(relay.keptBytes == 0)
  }

  /// Resets a connection that is counted and has no session.
  private func refuse(_ connection: AcceptedConnection, _ topology: Topology) {
    core.kernel.reset(connection.descriptor)
    let listener = topology.listeners[connection.listener.position]
    listener.state.counters(of: core.settings.number).noteLeft()
    acceptor.uncount(topology.routes[connection.route.position].state)
  }

  /// Reports that there is nothing left to do, when accepting is over and no session is left.
  func reportIfFinished() {
    // The load includes connections that are on their way from another worker.
    guard !acceptor.isAccepting, core.link.load.value == 0, !hasReportedFinish else { return }
    assert(sessions.count == 0)
    hasReportedFinish = true
    core.report(.finished)
  }
}
