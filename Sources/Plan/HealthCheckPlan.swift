// SPDX-License-Identifier: Apache-2.0
// What an upstream's endpoints are asked, how often, and how many answers make a verdict. Every
// interval and every bound is present here, so that whoever checks asks nothing but "when next?".

import Addressing

/// Active checks of an upstream's endpoints.
public struct HealthCheckPlan: Hashable, Sendable {
  /// What an endpoint is asked.
  public enum Kind: Hashable, Sendable {
    /// Whether it accepts a connection.
    case tcp
    /// Whether it answers a request as expected.
    case http(HTTPCheckPlan)
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

  /// Makes a check; the defaults are those of the configuration. Without a value, `down` is `up`, and
  /// `changing` is what `changingStandard` says.
  public init(
    _ kind: Kind, target: Target = .endpoint, up: Duration = .seconds(2), down: Duration? = nil,
    changing: Duration? = nil, timeout: Duration = .seconds(1), rise: Int = 2, fall: Int = 3,
    jitterPercent: Int = 10
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

/// A request to an endpoint, and which answers are good. The request is sent on a connection of its
/// own, without a body, as HTTP/1.1.
public struct HTTPCheckPlan: Hashable, Sendable {
  /// A header field of the request (RFC 9110, section 5): a token, and text without line ends.
  public struct Header: Hashable, Sendable {
    /// The name, as it is sent.
    public var name: String
    /// The value, as it is sent.
    public var value: String

    /// Makes a header field.
    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  /// The method: a token.
  public var method: String
  /// The path and perhaps a query, beginning with `/`.
  public var path: String
  /// What the `Host` field says; `nil`: the endpoint's host name or address, with the port that is
  /// asked unless that is 80, and `localhost` for a unix socket.
  public var host: String?
  /// Further header fields, in the order of the file; no name twice, none that the request has
  /// anyway or that is about the connection.
  public var headers: [Header]
  /// The status codes that are good, 200 to 599. Never empty.
  public var statuses: [ClosedRange<Int>]
  /// What the body of an answer must hold; `nil`: it is not read.
  public var body: String?
  /// How much of an answer is read: its head must fit, and `body` is looked for within it.
  public var answerBytesMax: Int

  /// Makes a request; the defaults are those of the configuration.
  public init(
    method: String = "GET", path: String = "/", host: String? = nil, headers: [Header] = [],
    statuses: [ClosedRange<Int>] = [200...399], body: String? = nil,
    answerBytesMax: Int = 64 << 10
  ) {
    self.method = method
    self.path = path
    self.host = host
    self.headers = headers
    self.statuses = statuses
    self.body = body
    self.answerBytesMax = answerBytesMax
  }
}
