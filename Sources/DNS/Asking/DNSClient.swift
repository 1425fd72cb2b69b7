// SPDX-License-Identifier: Apache-2.0
// Names asked of name servers, and nobody else: no /etc/hosts, no nsswitch.conf(5). What getaddrinfo(3) can
// tell, it tells better (`HostResolver`); what it cannot are services, how long an answer holds, and
// what a certain server says.

import Addressing
import EventLoop
import Glibc
import Reactor

/// Why there is no answer, in words.
public struct DNSFailure: Error, Hashable, Sendable, CustomStringConvertible {
  /// In a sentence without a beginning or an end.
  public let reason: String

  /// Says so.
  public init(reason: String) {
    self.reason = reason
  }

  /// The reason.
  public var description: String { reason }
}

/// The addresses of a name.
public struct DNSAddresses: Hashable, Sendable {
  /// None twice, never empty.
  public let addresses: [IPAddress]
  /// For how long they hold.
  public let timeToLive: Duration
  /// The family whose addresses nobody has told, because asking for them has failed: there may be some.
  public let unanswered: IPFamily?

  /// Puts the parts together.
  public init(_ addresses: [IPAddress], timeToLive: Duration, unanswered: IPFamily? = nil) {
    self.addresses = addresses
    self.timeToLive = timeToLive
    self.unanswered = unanswered
  }
}

/// The servers of a service.
public struct DNSServices: Hashable, Sendable {
  /// None twice, never empty.
  public let services: [DNSService]
  /// For how long they hold.
  public let timeToLive: Duration

  /// Puts both together.
  public init(_ services: [DNSService], timeToLive: Duration) {
    self.services = services
    self.timeToLive = timeToLive
  }
}

/// A kind of IP addresses.
public enum IPFamily: Hashable, Sendable {
  case v4
  case v6
}

extension IPAddress {
  /// Its kind.
  public var family: IPFamily {
    switch self {
    case .v4: .v4
    case .v6: .v6
    }
  }
}

/// Asks name servers. Tasks of one loop may use one, as many at once as they like: those beyond
/// `DNSClient.lookUpsMax` wait.
public struct DNSClient: Sendable {
  /// How many look-ups are under way at once.
  public static let lookUpsMax = 64
  /// How many descriptors each of them uses at most, as a rule: a socket for each of two servers.
  public static let descriptorsPerLookUp = 2

  private let permits = Semaphore(DNSClient.lookUpsMax)

  /// A client.
  public init() {}

  /// The addresses of a host, of both families, behind its aliases. Families that this machine cannot
  /// reach are left out where the other one is there. Short names are completed as `servers` says.
  ///
  /// Throws `DNSFailure` when there is none, or no answer in time, and `WaitError.cancelled` when the task
  /// is cancelled. Loop's thread; does not block.
  public func addresses(
    of name: String, from servers: NameServers, timeout: Duration
  ) async throws -> DNSAddresses {
    if let address = IPAddress(name) {
      return DNSAddresses([address], timeToLive: .seconds(UInt32.max))
    }
    let deadline = Loop.current.map { $0.now.advanced(by: timeout.wholeNanoseconds) }
    guard let loop = Loop.current, let deadline else { preconditionFailure("not on a loop") }
    var nothing = DNSFailure(reason: "the name has no address")
    for candidate in servers.candidates(for: name) {
      let replies = try await ask(
        [
          DNSQuestion(name: candidate, kind: .ipv4), DNSQuestion(name: candidate, kind: .ipv6),
        ], servers, timeout, until: deadline, on: loop)
      switch DNSClient.addresses(of: candidate, replies) {
      case .found(let answer): return answer
      case .nothing(let failure): nothing = failure
      case .failed(let failure): throw failure
      }
    }
    throw nothing
  }

  /// The servers of a service (RFC 2782). `name` is whole: no domain is added to it. Throws as
  /// `addresses`, also when the domain says that it has no such service.
  public func services(
    of name: String, from servers: NameServers, timeout: Duration
  ) async throws -> DNSServices {
    guard let loop = Loop.current else { preconditionFailure("not on a loop") }
    let deadline = loop.now.advanced(by: timeout.wholeNanoseconds)
    let reply = try await ask(
      [DNSQuestion(name: name, kind: .service)], servers, timeout, until: deadline, on: loop)[0]
    switch reply {
    case .nothing(let failure), .failed(let failure):
      throw failure
    case .message(let message):
      let records = message.services(of: name)
      guard !records.values.isEmpty else {
        throw DNSFailure(reason: "the name has no service record")
      }
      // RFC 2782: a single record with the target "." says that there is decidedly no such service.
      let services = records.values.filter { !$0.target.isEmpty && $0.port > 0 }
      guard !services.isEmpty else {
        throw DNSFailure(reason: "the domain says that it has no such service")
      }
      return DNSServices(services, timeToLive: .seconds(records.seconds))
    }
  }

  private func ask(
    _ questions: [DNSQuestion], _ servers: NameServers, _ timeout: Duration,
    until deadline: Instant, on loop: Loop
  ) async throws -> [DNSReply] {
    do throws(WaitError) {
      try await permits.acquire(until: deadline)
    } catch .deadlinePassed {
      throw DNSFailure(reason: "too many look-ups are under way")
    } catch {
      throw error
    }
    defer { permits.release() }
    let channel = try AresChannel(servers.addresses, timeout: timeout, on: loop)
    var replies = try await channel.ask(questions, until: deadline)
    let malformed = replies.indices.filter {
      replies[$0] == .failed(AresChannel.malformedQuestion)
    }
    if !malformed.isEmpty {
      let channel = try AresChannel(
        servers.addresses, timeout: timeout, usesEDNS: false, on: loop)
      let again = try await channel.ask(malformed.map { questions[$0] }, until: deadline)
      for (index, reply) in zip(malformed, again) { replies[index] = reply }
    }
    // That no server has an answer may be because each has failed. The next question is only for the
    // words, which tell an operator where to look; one is enough.
    if let first = replies.firstIndex(of: .failed(AresChannel.nobody)) {
      let channel = try AresChannel(
        servers.addresses, timeout: timeout, takesRefusals: true, on: loop)
      let reply = try await channel.ask([questions[first]], until: deadline)[0]
      for index in replies.indices where replies[index] == .failed(AresChannel.nobody) {
        if index == first {
          replies[index] = reply
        } else if case .failed = reply {
          replies[index] = reply
        }
      }
    }
    return replies
  }

  /// What the answers for both families come to.
  enum Outcome: Equatable {
    case found(DNSAddresses)
    /// The next name may be tried.
    case nothing(DNSFailure)
    /// Nobody knows, so no other name is tried: it might be somebody else's.
    case failed(DNSFailure)
  }

  /// Puts the answers for IPv4 and IPv6 together.
  static func addresses(
    of name: String, _ replies: [DNSReply],
    canReach: (IPAddress) -> Bool = DNSClient.canReach
  ) -> Outcome {
    assert(replies.count == 2)
    var addresses: [IPAddress] = []
    var seconds = UInt32.max
    var nothing: DNSFailure?
    var failures: [(family: IPFamily, failure: DNSFailure)] = []
    for (family, reply) in zip([IPFamily.v4, .v6], replies) {
      switch reply {
      case .message(let message):
        let records = message.addresses(of: name)
        let own = records.values.filter { $0.family == family }
        if !own.isEmpty { seconds = min(seconds, records.seconds) }
        addresses += own
      case .nothing(let failure): nothing = failure
      case .failed(let failure): failures.append((family, failure))
      }
    }
    guard !addresses.isEmpty else {
      if let failure = failures.first?.failure { return .failed(failure) }
      // NXDOMAIN says more than that there is nothing of one kind.
      return .nothing(nothing ?? DNSFailure(reason: "the name has no address"))
    }
    return .found(
      DNSAddresses(
        reachable(addresses, canReach), timeToLive: .seconds(seconds),
        unanswered: failures.first?.family))
  }

  /// Without the family that has no way out of this machine, if the other one has.
  private static func reachable(
    _ addresses: [IPAddress], _ canReach: (IPAddress) -> Bool
  ) -> [IPAddress] {
    let families = Set(addresses.map(\.family))
    guard families.count > 1 else { return addresses }
    let open = families.filter { family in
      addresses.contains { $0.family == family && canReach($0) }
    }
    return open.isEmpty ? addresses : addresses.filter { open.contains($0.family) }
  }

  /// Whether the kernel knows a way to an address (RFC 6724, section 5, rule 1). Sends nothing.
  static func canReach(_ address: IPAddress) -> Bool {
    let target = KernelAddress(SocketAddress(address, port: 53))
    let type = CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(target.family, type, 0)
    // Without a descriptor nothing is known; without the family there is no way.
    guard descriptor != -1 else { return errno != EAFNOSUPPORT }
    defer { close(descriptor) }
    return target.withSockaddr { connect(descriptor, $0, $1) } == 0
  }
}
