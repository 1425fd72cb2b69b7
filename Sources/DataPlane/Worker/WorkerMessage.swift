// SPDX-License-Identifier: Apache-2.0
// What is said between a worker and the rest of the process, in both directions, through inboxes.
//
// Slots are only the same in all topologies as long as somebody refers to them, and workers go over
// to a topology one after another. So a connection that is handed over brings the topology along
// under which it was accepted: a worker that is behind goes over to that first. One that is ahead
// may take the slots as they are, for the connection is counted, which keeps them from being reused.

import Plan
import Reactor
import Synchronization

/// What a worker can be told.
public enum WorkerMessage: Sendable {
  /// Serve this connection, which another worker has accepted and counted. The descriptor is the
  /// receiver's from now on.
  case adopt(HandedOver)
  /// Go over to this topology; report `using` when done. One that is not newer than the worker's is
  /// ignored.
  case use(Topology)
  /// Accept what is waiting and then no more; report when done.
  case stopAccepting
  /// A place for a session of yours that waits in a queue. If the session is gone, the place is to be passed
  /// on.
  case grant(Grant)
  /// A session of yours waits in a queue where there is nothing to wait for any more.
  case giveUp(Token)
  /// A bound at which accepting has paused is not reached any more.
  case resumeAccepting
  /// Reset the sessions that an endpoint has now, over some time.
  case closeSessions(SessionClosing)
  /// Reset no more sessions of this endpoint than it has lost until now.
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
  /// What the indices belong to.
  let topology: Topology

  /// The connection as the receiving worker has it.
  var accepted: AcceptedConnection {
    AcceptedConnection(descriptor: descriptor, client: client, listener: listener, route: route)
  }
}

/// What a worker tells.
public enum WorkerReport: Sendable {
  /// It has gone over to the topology of this version. Listeners that are gone there are accepted
  /// empty and watched no more by this worker, and nothing of that topology's predecessors that is
  /// gone gets a new session. `instead` is the topology that it has let go of: freeing that takes time,
  /// which is not to be a worker's.
  case using(version: Int, instead: Topology)
  /// It has let go of a topology that came with a connection.
  case released(Topology)
  /// The kernel refuses to watch this listener; other workers may watch it, and this one tries again.
  /// Said once, until it succeeds.
  case listenRefused(ListenerIndex, Errno)
  /// It accepts no more; what was waiting has been accepted.
  case stoppedAccepting
  /// It accepts no more and has no session left. Said again after each session that another worker,
  /// which still accepted, has handed over since: the process is done when every worker has stopped
  /// accepting and `Topology.sessions` is at none.
  case finished
  /// Its turns go on: it has come to `answer`.
  case alive
  /// A session has entered the queue of this upstream, to which nothing attended: it must be attended to
  /// now (`QueuePacer`).
  case waiting(UpstreamState)
  /// Accepting has paused, for this reason; it goes on by itself. Said once per pause.
  case acceptPaused(AcceptPause)
  /// Accepting goes on.
  case acceptResumed(AcceptPause)
  /// As many sessions in a row have failed at this endpoint as its upstream's `outlier` says, over all
  /// workers. Said once, until one is served there or the count is set. Told by its state, since its
  /// slot may be another's by the time that somebody reads this.
  case endpointFailing(EndpointState)
  /// A session was served at an endpoint after that; its connection has stood `since` then.
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

/// A worker as others see it.
public final class WorkerLink: Sendable {
  /// Where to leave messages.
  public let inbox: Inbox<WorkerMessage>
  /// How many sessions it has.
  public let load = SessionCount()
  /// What has happened there so far.
  public let counters = WorkerCounters()
  /// Whether its accepting has paused at a bound of sessions.
  let isPaused = Atomic<Bool>(false)

  /// A worker without sessions that is reached through this inbox.
  public init(inbox: Inbox<WorkerMessage>) {
    self.inbox = inbox
  }
}

/// What a worker needs to know before it starts.
public struct WorkerSettings: Sendable {
  /// Its number, from 0.
  public var number: Int
  /// How many sessions it must have room for.
  public var sessionsMax: Int
  /// How many pipes this worker may open, of those that `relay` allows all of them.
  public var pipesMax: Int
  /// The bounds of moving bytes.
  public var relay: RelayPlan
  /// How long it polls before it blocks.
  public var spinNanoseconds: UInt64
  /// Where its random choices begin.
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
