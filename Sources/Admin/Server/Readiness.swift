// SPDX-License-Identifier: Apache-2.0
// Whether clients should be sent to this proxy. "No" takes it out of whatever stands before it, so
// the rule is: no, only where another proxy would probably do better.
//
// - It is starting or draining: another one serves.
// - A worker hangs: some of the sessions that it accepts get stuck; in another process they would not.
// - No endpoint of any upstream can be used: whatever a client wants, it gets nothing here. If the
//   fault is on this machine's side of the network, another proxy can serve; if it is not, nothing is
//   lost by saying no, and health checks notice when it is over.
//
// An upstream without its quorum serves nobody, as if all of its endpoints were down. One in panic serves:
// whoever wants that does not believe its checks then.
//
// One dead upstream among several is no reason: the clients of the others would lose a proxy that
// serves them. Nor is a bound that is reached: taking a full proxy out only fills the next one. Both
// are told as notes.

/// Whether the program serves, and why not.
public struct Readiness: Hashable, Sendable {
  /// Why clients should go elsewhere, each on a line of its own; none: ready.
  public var reasons: [String]
  /// What does not work, though clients are well served here.
  public var notes: [String]

  /// Whether clients should come.
  public var isReady: Bool { reasons.isEmpty }

  /// Makes an answer.
  public init(reasons: [String] = [], notes: [String] = []) {
    self.reasons = reasons
    self.notes = notes
  }

  /// What follows from the state of the program.
  public init(_ facts: ReadinessFacts) {
    self.init(notes: facts.notes)
    switch facts.stage {
    case .starting: reasons.append("starting")
    case .serving: break
    case .draining: reasons.append("draining")
    }
    for worker in facts.silentWorkers { reasons.append("worker \(worker) does not answer") }
    let dead = facts.upstreams.filter(\.isDead)
    let words = dead.map(\.words)
    notes = facts.upstreams.filter(\.isInPanic).map(\.wordsOfPanic) + notes
    if !dead.isEmpty && dead.count == facts.upstreams.count {
      reasons += words
    } else {
      notes = words + notes
    }
  }
}

/// What readiness depends on.
public struct ReadinessFacts: Hashable, Sendable {
  /// How far the program is in its life.
  public enum Stage: Hashable, Sendable {
    /// Names are being looked up, sockets opened.
    case starting
    /// Clients are served.
    case serving
    /// It was told to end.
    case draining
  }

  /// The endpoints of an upstream.
  public struct Upstream: Hashable, Sendable {
    /// The name in the configuration.
    public var name: String
    /// How many endpoints it has.
    public var endpoints: Int
    /// How many of them sessions may be given to.
    public var endpointsUp: Int

    /// How many must be up for anybody to be served.
    public var quorum: Int
    /// Whether all are used, because so few are up.
    public var isInPanic: Bool

    /// Makes the facts of an upstream.
    public init(
      name: String, endpoints: Int, endpointsUp: Int, quorum: Int = 1, isInPanic: Bool = false
    ) {
      self.name = name
      self.endpoints = endpoints
      self.endpointsUp = endpointsUp
      self.quorum = quorum
      self.isInPanic = isInPanic
    }

    fileprivate var isDead: Bool {
      endpoints == 0 || endpointsUp < max(1, quorum) && !isInPanic
    }

    fileprivate var wordsOfPanic: String {
      "upstream \(name): \(endpointsUp) of \(endpoints) endpoints up, so all are used"
    }

    fileprivate var words: String {
      switch endpoints {
      case 1... where endpointsUp > 0:
        "upstream \(name): \(endpointsUp) of \(endpoints) endpoints up, and its quorum is \(quorum)"
      case 0: "upstream \(name) has no endpoint"
      case 1: "upstream \(name): its endpoint is down"
      default: "upstream \(name): all \(endpoints) endpoints are down"
      }
    }
  }

  /// How far the program is in its life.
  public var stage: Stage
  /// The numbers of workers that have not answered for too long.
  public var silentWorkers: [Int] = []
  /// Every upstream.
  public var upstreams: [Upstream] = []
  /// What else does not work, in words: that accepting pauses, that the last reload was refused.
  public var notes: [String] = []

  /// Makes the facts of a program of which nothing more is known.
  public init(stage: Stage) {
    self.stage = stage
  }
}
