// SPDX-License-Identifier: Apache-2.0
// What an upstream's endpoints are asked, how often, and how many answers make a verdict. Every
// interval and every bound is present here, so that whoever checks asks nothing but "when next?".

import Addressing

/// Active checks of an upstream's endpoints.
public struct HealthCheckPlan: Hashable, Sendable {
  /// What an endpoint is asked.
  public indirect enum Kind: Hashable, Sendable {
    /// Whether it accepts a connection.
    case tcp
    /// Whether it answers a request as expected.
    case http(HTTPCheckPlan)
    /// Whether it begins a TLS handshake.
    case tls(TLSCheckPlan)
    /// Whether it says what is expected to what is sent.
    case exchange(ExchangeCheckPlan)
    /// Whether it answers as a Redis server, perhaps one of a role.
    case redis(RedisCheckPlan)
    /// Whether it answers as a PostgreSQL server, perhaps one of a role.
    case postgres(PostgresCheckPlan)
    /// Whether it greets as a MySQL or MariaDB server.
    case mysql(MySQLCheckPlan)
    /// Whether it greets as a mail server.
    case smtp(SMTPCheckPlan)
    /// Whether a program says so.
    case script(ScriptCheckPlan)
    /// Whether at least one of several checks is good, all made at the same time. Never empty.
    case anyOf([Part])
    /// Whether all of several checks are good, all made at the same time. Never empty.
    case allOf([Part])
  }

  /// One of several checks that make one verdict.
  public struct Part: Hashable, Sendable {
    /// What is asked; never several again.
    public var kind: Kind
    /// Where; `nil`: where the whole check asks.
    public var target: Target?

    /// Makes a part.
    public init(_ kind: Kind, target: Target? = nil) {
      self.kind = kind
      self.target = target
    }
  }

  /// What an endpoint is before its first checks.
  public enum Initial: Hashable, Sendable {
    /// It gets sessions until checks say otherwise.
    case up
    /// It gets none until as many checks in a row were good as after a failure.
    case down
    /// It gets none until its first check, which alone decides.
    case unknown
  }

  /// Where an endpoint is asked.
  public enum Target: Hashable, Sendable {
    /// Where it serves.
    case endpoint
    /// At its own IP address, on another port. Not with endpoints that have no port.
    case port(UInt16)
    /// At an address of its own, which then speaks for every endpoint of the upstream.
    case address(SocketAddress)
  }

  /// What an endpoint is asked.
  public var kind: Kind
  /// Where it is asked.
  public var target: Target
  /// From the start of a check of an endpoint that is up to that of the next one. A check that takes
  /// longer is not overtaken: the next one begins when it has ended. So with the two that follow.
  public var up: Duration
  /// The same while the endpoint is down.
  public var down: Duration
  /// The same while the endpoint is about to change: when the last check disagreed with the verdict.
  public var changing: Duration
  /// How long a check may take, all of it.
  public var timeout: Duration
  /// How many checks in a row must succeed before an endpoint that is down is up.
  public var rise: Int
  /// How many checks in a row must fail before an endpoint that is up is down.
  public var fall: Int
  /// By how many percent of it an interval is shortened or lengthened at random, 0 to 50, so that
  /// checks that began together do not stay together.
  public var jitterPercent: Int
  /// What an endpoint is before its first checks.
  public var initial: Initial

  /// Whether it asks for a role, which is a promise about data: sessions must not reach an endpoint that
  /// does not have it, and one that nobody has asked yet may not.
  public var asksRole: Bool { kind.asksRole }

  /// Whether an endpoint that is up by another check has every role that this one asks for: by whom and
  /// how often it was asked makes no difference.
  public func promisesNoMore(than other: HealthCheckPlan) -> Bool {
    promises.isSubset(of: other.promises)
  }

  /// The roles that an endpoint has which is up, each with where it was asked for.
  private var promises: Set<Part> {
    switch kind {
    case .allOf(let parts): Set(parts.filter(\.kind.asksRole).map(promise))
    case .anyOf(let parts) where kind.asksRole: [Part(.anyOf(parts.map(promise)), target: target)]
    case let kind: kind.asksRole ? [promise(Part(kind))] : []
    }
  }

  private func promise(_ part: Part) -> Part {
    Part(part.kind.withoutCredentials, target: part.target ?? target)
  }

  /// Makes a check; the defaults are those of the configuration. Without a value, `down` is `up`, and
  /// `changing` is what `changingStandard` says, and `initial` is `.down` where a role is asked for,
  /// otherwise `.up`.
  public init(
    _ kind: Kind, target: Target = .endpoint, up: Duration = .seconds(2), down: Duration? = nil,
    changing: Duration? = nil, timeout: Duration = .seconds(1), rise: Int = 2, fall: Int = 3,
    jitterPercent: Int = 10, initial: Initial? = nil
  ) {
    self.kind = kind
    self.target = target
    self.up = up
    self.down = down ?? up
    self.changing = changing ?? Self.changingStandard(up: up, down: down ?? up)
    self.timeout = timeout
    self.rise = rise
    self.fall = fall
    self.jitterPercent = jitterPercent
    self.initial = initial ?? (kind.asksRole ? .down : .up)
  }

  /// The interval of a change that is under way, where none was given: a quarter of the shorter of
  /// the other two, so that a verdict does not take `fall` whole intervals; at least 100 ms, so that
  /// an endpoint in trouble is not pressed, but never longer than the shorter of the two.
  public static func changingStandard(up: Duration, down: Duration) -> Duration {
    let shorter = min(up, down)
    let (seconds, attoseconds) = shorter.components
    let microseconds = seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    return min(max(.microseconds(microseconds / 4), .milliseconds(100)), shorter)
  }
}
