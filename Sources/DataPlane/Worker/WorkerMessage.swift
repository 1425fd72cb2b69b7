// SPDX-License-Identifier: Apache-2.0
// The messages between a worker and the rest of the process, in both directions, through inboxes.
//
// A slot is the same in all topologies only as long as it is referred to, and workers change to a topology one
// after another. So a connection that is handed over brings along the topology under which it was accepted: a
// worker with an older one changes to it first. A worker with a newer one may use the slots as they are, because
// the connection is counted, which keeps them from being reused.

import Plan
import Reactor
import Synchronization

/// A message to a worker.
public enum WorkerMessage: Sendable {
  /// Serve this connection, which another worker has accepted and counted. The receiver owns the descriptor
  /// from now on.
  case adopt(HandedOver)
  /// Change to this topology and report `using`. One that is not newer than the worker's is ignored.
  case use(Topology)
  /// Accept the connections that wait and then no more; report when done.
  case stopAccepting
  /// A place for a session of this worker that waits in a queue. If the session is gone, the worker passes the
  /// place on.
  case grant(Grant)
  /// A session of this worker waits in a queue, but no endpoint is available.
  case giveUp(Token)
  /// A bound at which accepting has paused is no longer reached.
  case resumeAccepting
  /// Reset the sessions that an endpoint has now, over some time.
  case closeSessions(SessionClosing)
  /// Cancel the resets of this endpoint's remaining sessions.
  case keepSessions(of: EndpointIndex)
  /// Reset every session, for this reason.
  case resetAll(SessionEnd.Reason)
  /// Report `alive`.
  case answer
  /// Reset every session that is left and end.
  case stop
}

/// A connection on its way from one worker to another.
public struct HandedOver: Sendable {
  let descriptor: Int32
  let client: PeerAddress
  let listener: ListenerIndex
  let route: RouteIndex
  /// The topology of the indices.
  let topology: Topology

  /// The connection as the receiving worker has it.
  var accepted: AcceptedConnection {
    AcceptedConnection(descriptor: descriptor, client: client, listener: listener, route: route)
  }
}

/// A report of a worker.
public enum WorkerReport: Sendable {
  /// It has changed to the topology of this version. It has accepted all connections at the listeners that are
  /// removed there and no longer watches them, and nothing that was removed gets a new session. `instead` is
  /// its previous topology: freeing it takes time, so it is not freed on a worker.
  case using(version: Int, instead: Topology)
  /// It no longer uses this topology, which came with a connection.
  case released(Topology)
  /// The kernel refuses to watch this listener; other workers may watch it, and this one tries again.
  /// Reported once, until it succeeds.
  case listenRefused(ListenerIndex, Errno)
  /// It accepts no more; the connections that waited have been accepted.
  case stoppedAccepting
  /// It accepts no more and has no session left. Reported again after each session that another worker,
  /// which still accepted, has handed over since: the process is done when every worker has stopped
  /// accepting and `Topology.sessions` is zero.
  case finished
  /// Its loop runs: it has received `answer`.
  case alive
  /// A session has entered the queue of this upstream, which the control loop must attend to from now on
  /// (`QueuePacer`).
  case waiting(UpstreamState)
  /// Accepting has paused, for this reason; it goes on by itself. Reported once per pause.
  case acceptPaused(AcceptPause)
  /// Accepting goes on.
  case acceptResumed(AcceptPause)
  /// As many consecutive sessions have failed at this endpoint as its upstream's `outlier` says, over all
  /// workers. Reported once, until a session is served there or the count is set. It carries the endpoint's state,
  /// since another endpoint may have its slot when the report is read.
  case endpointFailing(EndpointState)
  /// A session was served at an endpoint after that, on a connection established at `since`.
  case endpointServed(EndpointState, since: Instant)
}

/// Why a worker does not accept for a while.
public enum AcceptPause: Hashable, Sendable {
  /// The process holds as many sessions as it may.
  case sessionsMax
  /// The route holds as many sessions as it may.
  case routeSessionsMax(RouteIndex)
  /// The kernel has no descriptor or no memory for a connection.
  case resources(Errno)
}

/// A worker as other threads see it.
public final class WorkerLink: Sendable {
  /// Where to leave messages.
  public let inbox: Inbox<WorkerMessage>
  /// How many sessions it has.
  public let load = SessionCount()
  /// What it has counted so far.
  public let counters = WorkerCounters()
  /// Whether its accepting has paused.
  let isPaused = Atomic<Bool>(false)

  /// A worker without sessions that is reached through this inbox.
  public init(inbox: Inbox<WorkerMessage>) {
    self.inbox = inbox
  }
}

/// The settings with which a worker starts.
public struct WorkerSettings: Sendable {
  /// Its number, from 0.
  public var number: Int
  /// How many sessions it must have room for.
  public var sessionsMax: Int
  /// How many pipes this worker may open, of those that `relay` allows all of them.
  public var pipesMax: Int
  /// The bounds of moving bytes.
  public var relay: RelayPlan
  /// How long it spins before it blocks.
  public var spinNanoseconds: UInt64
  /// The seed of its random choices.
  public var seed: UInt64

  /// Puts the settings together.
  public init(
    number: Int, sessionsMax: Int, pipesMax: Int, relay: RelayPlan, spinNanoseconds: UInt64 = 0,
    seed: UInt64
  ) {
    self.number = number
    self.sessionsMax = sessionsMax
    self.pipesMax = pipesMax
    self.relay = relay
    self.spinNanoseconds = spinNanoseconds
    self.seed = seed
  }
}
