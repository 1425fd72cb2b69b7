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

/// Endpoints that fail sessions are left out for a while, without being asked.
public struct OutlierPlan: Hashable, Sendable {
  /// So many failures in a row eject an endpoint: connections refused or too late, and resets
  /// before any byte has come back.
  public var failures: Int
  /// How long it is left out the first time; each time after that as long as this times their number.
  public var eject: Duration
  /// The longest time.
  public var ejectMax: Duration
  /// At most this share of an upstream's endpoints is left out at once, 1 to 100; one always may be, if
  /// there are others.
  public var sharePercent: Int

  /// Makes a policy; the defaults are those of the configuration.
  public init(
    failures: Int = 5, eject: Duration = .seconds(10), ejectMax: Duration = .seconds(300),
    sharePercent: Int = 50
  ) {
    self.failures = failures
    self.eject = eject
    self.ejectMax = ejectMax
    self.sharePercent = sharePercent
  }
}
