// SPDX-License-Identifier: Apache-2.0
// What happens when an endpoint cannot serve: others are tried, clients wait, and sessions of one that goes
// down go on or end.

/// How failed attempts to connect are followed by others. Nothing has been written to any of them.
public struct RetryPlan: Hashable, Sendable {
  /// How many attempts a session may make, the first one included; `nil`: one for each endpoint.
  public var attemptsMax: Int?
  /// How many of an upstream's sessions may be at a second or later attempt at once, in percent of its
  /// sessions; `nil`: any number.
  public var budgetPercent: Int?
  /// So many may be in any case.
  public var budgetMin: Int
  /// How long the third attempt waits at most, drawn at random; each one after it up to twice as long as
  /// the one before. The second one, at another endpoint, does not wait. `nil`: none does.
  public var backOff: Duration?
  /// The longest wait.
  public var backOffMax: Duration

  /// Makes a policy; the defaults are those of the configuration.
  public init(
    attemptsMax: Int? = nil, budgetPercent: Int? = 20, budgetMin: Int = 100,
    backOff: Duration? = .milliseconds(25), backOffMax: Duration = .milliseconds(250)
  ) {
    self.attemptsMax = attemptsMax
    self.budgetPercent = budgetPercent
    self.budgetMin = budgetMin
    self.backOff = backOff
    self.backOffMax = backOffMax
  }
}

/// Where clients wait when every endpoint that could serve has as many sessions as it may.
public struct QueuePlan: Hashable, Sendable {
  /// How many wait at once, over all workers.
  public var length: Int
  /// How long one waits.
  public var timeout: Duration

  /// Makes a queue; the defaults are those of the configuration.
  public init(length: Int = 1000, timeout: Duration = .seconds(5)) {
    self.length = length
    self.timeout = timeout
  }
}

/// Clients wait instead of being reset while no endpoint is available.
public struct HoldPlan: Hashable, Sendable {
  /// How long one waits.
  public var timeout: Duration
  /// How many wait at once, over all workers.
  public var length: Int
  /// How many go on per second once there is an endpoint, of those who waited for it then.
  public var ratePerSecond: Int

  /// Makes a hold; the defaults are those of the configuration.
  public init(timeout: Duration, length: Int = 1000, ratePerSecond: Int = 100) {
    self.timeout = timeout
    self.length = length
    self.ratePerSecond = ratePerSecond
  }
}

/// What becomes of the sessions of an endpoint that goes down.
public enum OnDown: Hashable, Sendable {
  /// They go on.
  case keep
  /// They may end by themselves for so long; those that are left are reset, spread over `over`.
  case drain(Duration, over: Duration)
  /// They are reset, spread at random over this time, so that not all clients come back at once.
  case close(over: Duration)
}

/// Endpoints that fail get no new sessions for a while: they are ejected.
public struct OutlierPlan: Hashable, Sendable {
  /// Which failures count.
  public enum Scope: Hashable, Sendable {
    /// Failures to connect: refused, unreachable, or not connected in time. A connection that is established
    /// clears the count.
    case connect
    /// These, and connections that break before a byte has come back. The first byte clears the count.
    case all
  }

  /// What an upstream does unless its configuration says otherwise: only failures to connect count. Any
  /// number of endpoints may be ejected except the last usable one, because sessions leave such an endpoint
  /// by their retries anyway; and none is ejected for more than a minute.
  public static let connectFailures = OutlierPlan(
    scope: .connect, failures: 3, ejectTimeMax: .seconds(60), ejectedPercentMax: 100)

  /// Which failures count.
  public var scope: Scope
  /// Consecutive failures, over all sessions, after which an endpoint is ejected.
  public var failures: Int
  /// How long the first ejection lasts; the n-th one in a row lasts n times as long.
  public var ejectTime: Duration
  /// How long an ejection lasts at most.
  public var ejectTimeMax: Duration
  /// At most this percentage of an upstream's endpoints is ejected at once, 1 to 100. One may always be, if
  /// there are others; the last usable one never is.
  public var ejectedPercentMax: Int

  /// Makes a policy; the defaults are those of a policy that the configuration names.
  public init(
    scope: Scope = .all, failures: Int = 5, ejectTime: Duration = .seconds(10),
    ejectTimeMax: Duration = .seconds(300), ejectedPercentMax: Int = 50
  ) {
    self.scope = scope
    self.failures = failures
    self.ejectTime = ejectTime
    self.ejectTimeMax = ejectTimeMax
    self.ejectedPercentMax = ejectedPercentMax
  }

  /// Consecutive failures that are reported where `endpoints` endpoints of the upstream may get sessions; 0:
  /// failures are not counted. A single endpoint is never ejected, so the default policy counts nothing there.
  public func failuresMax(endpoints: Int) -> Int {
    scope == .connect && endpoints < 2 ? 0 : failures
  }
}
