// SPDX-License-Identifier: Apache-2.0
// The plan: what the program will do, validated and complete. Names have become indices, every
// default has been filled in, and every bound is present, so that nothing downstream asks "is it
// set?" or "does it exist?". Plain values; a plan never changes once made.

import Addressing

/// Everything the configuration says, ready to be carried out.
public struct ProxyPlan: Hashable, Sendable {
  /// How many workers run.
  public var workers: WorkerCount
  /// How long a worker polls without blocking before it blocks; `nil` blocks at once.
  public var spin: Duration?
  /// How many sessions the process holds at once.
  public var sessionsMax: SessionsMax
  /// The operational log and the access log.
  public var log: LogPlan
  /// What happens between SIGTERM and the exit.
  public var shutdown: ShutdownPlan
  /// The bounds of moving bytes.
  public var relay: RelayPlan
  /// The admin interface; `nil`: there is none.
  public var admin: AdminPlan?
  /// The routes, in the order of the file. Never empty.
  public var routes: [RoutePlan]
  /// The upstreams that routes refer to: named ones in the order of the file, then those that
  /// routes define inline.
  public var upstreams: [UpstreamPlan]

  /// Makes a plan. Every `RoutePlan.upstream` must be an index into `upstreams`.
  public init(
    workers: WorkerCount = .auto, spin: Duration? = nil, sessionsMax: SessionsMax = .auto,
    log: LogPlan = LogPlan(), shutdown: ShutdownPlan = ShutdownPlan(),
    relay: RelayPlan = RelayPlan(), admin: AdminPlan? = nil, routes: [RoutePlan],
    upstreams: [UpstreamPlan]
  ) {
    for route in routes {
      precondition(upstreams.indices.contains(route.upstream.rawValue), "a dangling upstream index")
    }
    self.workers = workers
    self.spin = spin
    self.sessionsMax = sessionsMax
    self.log = log
    self.shutdown = shutdown
    self.relay = relay
    self.admin = admin
    self.routes = routes
    self.upstreams = upstreams
  }

  /// The upstream at an index that a route of this plan holds.
  public subscript(upstream: UpstreamIndex) -> UpstreamPlan {
    upstreams[upstream.rawValue]
  }
}

/// How many workers run.
public enum WorkerCount: Hashable, Sendable {
  /// As many as there are processors this process may really use.
  case auto
  /// This many, at least one.
  case count(Int)
}

/// How many sessions the process holds at once.
public enum SessionsMax: Hashable, Sendable {
  /// As many as the open-files limit has room for, but no more than `autoMax`.
  case auto
  /// This many, from one to `countMax`; fewer if the open-files limit has no room for them.
  case count(Int)

  /// The most that `auto` stands for: the open-files limit of a container may be a thousand million.
  public static let autoMax = 1_000_000
  /// The most that can be asked for.
  public static let countMax = 10_000_000
}

/// Which upstream of a plan; meaningless in another plan.
public struct UpstreamIndex: Hashable, Sendable {
  /// The position in `ProxyPlan.upstreams`.
  public let rawValue: Int

  /// Makes an index from a position.
  public init(_ rawValue: Int) {
    self.rawValue = rawValue
  }
}

/// The operational log and the access log.
public struct LogPlan: Hashable, Sendable {
  /// How bad something must be to be logged.
  public enum Level: String, Hashable, Sendable, CaseIterable {
    /// Details for finding a fault.
    case debug
    /// What an operator wants to see in normal times.
    case info
    /// What works, but not as it should.
    case warning
    /// What does not work.
    case error
  }

  /// How a line looks.
  public enum Format: String, Hashable, Sendable, CaseIterable {
    /// `key=value` pairs.
    case text
    /// One JSON object (RFC 8259) per line.
    case json
  }

  /// Where access records go. The operational log always goes to standard error.
  public enum Destination: Hashable, Sendable {
    /// Nowhere.
    case off
    /// Standard output.
    case standardOutput
    /// Standard error.
    case standardError
    /// A file that is appended to, and made if missing.
    case file(path: String)
  }

  /// The least severe level that is logged.
  public var level: Level
  /// The format of both logs.
  public var format: Format
  /// Where access records go.
  public var access: Destination
  /// How many records per worker, and how many lines of the operational log, wait for a slow
  /// reader before more are dropped (and counted).
  public var queueMax: Int

  /// Makes a log plan; the defaults are those of the configuration.
  public init(
    level: Level = .info, format: Format = .text, access: Destination = .standardOutput,
    queueMax: Int = 4096
  ) {
    self.level = level
    self.format = format
    self.access = access
    self.queueMax = queueMax
  }
}

/// What happens between SIGTERM and the exit.
public struct ShutdownPlan: Hashable, Sendable {
  /// How long accepting goes on.
  public var delay: Duration
  /// How long sessions may then take to end by themselves, before they are reset. `nil`: for ever.
  public var drain: Duration?

  /// Makes a shutdown plan; the defaults are those of the configuration.
  public init(delay: Duration = .zero, drain: Duration? = .seconds(20)) {
    self.delay = delay
    self.drain = drain
  }
}

/// The bounds of moving bytes.
public struct RelayPlan: Hashable, Sendable {
  /// How many pipes `splice(2)` may use, over all workers.
  public enum PipesMax: Hashable, Sendable {
    /// A share of the open-files limit.
    case auto
    /// This many; 0 switches splicing off.
    case count(Int)
  }

  /// How much is read at once, and how much at most is kept in each direction of a session.
  public var bufferBytes: Int
  /// How many pipes splicing may use.
  public var pipes: PipesMax
  /// How large a pipe is asked to be; the kernel may give less.
  public var pipeBytes: Int
  /// How much a direction of a session may move before others have their turn.
  public var turnBytes: Int
  /// For how long at most a worker that has moved bulk lets bytes gather; `nil`: not at all.
  public var coalesce: Duration?
  /// How many connections a listener accepts before others have their turn.
  public var acceptsPerTurn: Int
  /// How many events a worker takes from the kernel at once.
  public var eventsPerTurn: Int

  /// Makes relay bounds; the defaults are those of the configuration.
  public init(
    bufferBytes: Int = 32 << 10, pipes: PipesMax = .auto, pipeBytes: Int = 1 << 20,
    turnBytes: Int = 1 << 20, coalesce: Duration? = .milliseconds(1), acceptsPerTurn: Int = 64,
    eventsPerTurn: Int = 256
  ) {
    self.bufferBytes = bufferBytes
    self.pipes = pipes
    self.pipeBytes = pipeBytes
    self.turnBytes = turnBytes
    self.coalesce = coalesce
    self.acceptsPerTurn = acceptsPerTurn
    self.eventsPerTurn = eventsPerTurn
  }
}

/// Options of TCP connections. They do not apply to unix sockets.
public struct TCPPlan: Hashable, Sendable {
  /// Sends small segments at once (`TCP_NODELAY`).
  public var noDelay: Bool
  /// How long a silent connection waits before the peer's kernel is asked whether it still lives
  /// (`SO_KEEPALIVE`); after about twice the time without an answer it is given up. `nil` never asks.
  public var keepalive: Duration?
  /// How long what was written may wait, before the connection is given up (`TCP_USER_TIMEOUT`,
  /// tcp(7)): for its acknowledgement, and just as well for room in the buffers of a peer that lives
  /// but does not read. A reader that merely pauses for so long is reset, hence `nil` by default: the
  /// kernel then gives up data that nobody acknowledges after some 15 minutes (`net.ipv4.tcp_retries2`)
  /// and lets a peer pause for as long as it answers. For peers that never pause and whose loss must
  /// be noticed sooner.
  public var userTimeout: Duration?
  /// How many bytes may wait in the kernel to be sent, beyond those that are on their way
  /// (`TCP_NOTSENT_LOWAT`); `nil` lets the kernel's send buffer fill. With it, a receiver that has
  /// stopped costs the machine hundreds of kilobytes instead of megabytes.
  public var unsentBytesMax: Int?

  /// Makes TCP options; the defaults are those of the configuration.
  public init(
    noDelay: Bool = true, keepalive: Duration? = .seconds(60),
    userTimeout: Duration? = nil, unsentBytesMax: Int? = 1 << 20
  ) {
    self.noDelay = noDelay
    self.keepalive = keepalive
    self.userTimeout = userTimeout
    self.unsentBytesMax = unsentBytesMax
  }
}
