// SPDX-License-Identifier: Apache-2.0
// What is looked up, and of whom: the same name asked of two name servers is two questions, which may
// have two answers.

import Addressing
import Plan

/// A question about a name.
struct NameQuestion: Hashable, Sendable {
  enum Kind: Hashable, Sendable {
    /// Which addresses a host has.
    case addresses
    /// Which servers a service has (RFC 2782), and which addresses they have.
    case service
  }

  /// Who is asked.
  enum Source: Hashable, Sendable {
    /// The system, by getaddrinfo(3).
    case system
    /// Name servers; none given: those of /etc/resolv.conf.
    case servers([SocketAddress])
  }

  let name: String
  var kind = Kind.addresses
  var source = Source.system
}

extension NameQuestion: Comparable {
  /// By name, for people.
  static func < (a: NameQuestion, b: NameQuestion) -> Bool {
    a.name != b.name ? a.name < b.name : "\(a.kind)\(a.source)" < "\(b.kind)\(b.source)"
  }
}

/// When a question is to be asked again: the soonest of what the upstreams want that ask it.
struct NameSchedule: Hashable, Sendable {
  /// This long after the last answer.
  var every: Duration?
  /// When the last answer does not hold any longer, within these bounds.
  var timeToLive: ClosedRange<Duration>?
  /// How long a look-up may take.
  var timeout: Duration

  /// `nil` where nothing is to be asked again.
  init?(_ plan: ResolvePlan) {
    timeout = plan.timeout
    switch plan.interval {
    case .never: return nil
    case .every(let duration): every = duration
    case .timeToLive(let min, let max): timeToLive = min...max
    }
  }

  /// What another upstream wants.
  mutating func merge(_ other: NameSchedule) {
    every = [every, other.every].compactMap { $0 }.min()
    timeout = max(timeout, other.timeout)
    switch (timeToLive, other.timeToLive) {
    case (let own?, let another?):
      timeToLive =
        min(
          own.lowerBound, another.lowerBound)...min(
          own.upperBound, another.upperBound)
    case (nil, let another): timeToLive = another
    case (_, nil): break
    }
  }

  /// How long to wait after an answer that holds for `lifetime`, or after so many `failures` in a row,
  /// which make the pause longer each time. So do those of which only a part has failed, `partialFailures`;
  /// but the rest does not hold any longer for that.
  func pause(after lifetime: Duration?, failures: Int, partialFailures: Int = 0) -> Duration {
    var pauses = every.map { [$0] } ?? []
    if let bounds = timeToLive {
      func pause(afterFailures count: Int) -> Duration {
        bounds.lowerBound * (1 << min(count - 1, 16))
      }
      var wanted = lifetime ?? bounds.lowerBound
      if failures > 0 {
        wanted = pause(afterFailures: failures)
      } else if partialFailures > 0 {
        wanted = min(wanted, pause(afterFailures: partialFailures))
      }
      pauses.append(min(max(wanted, bounds.lowerBound), bounds.upperBound))
    }
    guard let pause = pauses.min() else { preconditionFailure("a schedule without a time") }
    return pause
  }
}

extension UpstreamPlan {
  /// What has to be looked up for one of its endpoints; `nil` where nothing has.
  func question(for endpoint: EndpointPlan) -> NameQuestion? {
    switch endpoint.address {
    case .socket, .builtin:
      nil
    case .name(let host, _):
      NameQuestion(name: host, source: resolve.usesDNS ? .servers(resolve.servers) : .system)
    case .service(let name):
      NameQuestion(name: name, kind: .service, source: .servers(resolve.servers))
    }
  }

  /// All that has to be looked up.
  var questions: [NameQuestion] { endpoints.compactMap(question(for:)) }
}

extension ProxyPlan {
  /// All that has to be looked up, and how long each may take.
  var questions: [NameQuestion: Duration] {
    var timeouts: [NameQuestion: Duration] = [:]
    for upstream in upstreams {
      for question in upstream.questions {
        timeouts[question] = max(timeouts[question] ?? .zero, upstream.resolve.timeout)
      }
    }
    return timeouts
  }

  /// What is to be looked up again, and when: as soon as the most eager upstream wants.
  var watchedQuestions: [NameQuestion: NameSchedule] {
    var wanted: [NameQuestion: NameSchedule] = [:]
    for upstream in upstreams {
      guard let schedule = NameSchedule(upstream.resolve) else { continue }
      for question in upstream.questions {
        if wanted[question]?.merge(schedule) == nil { wanted[question] = schedule }
      }
    }
    return wanted
  }

  /// A sentence for every endpoint whose name is among `answers` and stands for nothing.
  func unresolved(_ answers: [NameQuestion: Resolution]) -> [String] {
    upstreams.flatMap { upstream in
      upstream.endpoints.compactMap { endpoint in
        guard let question = upstream.question(for: endpoint),
          case .failed(let reason) = answers[question]
        else { return nil }
        return "upstream \(upstream.name), endpoint \(endpoint.address): "
          + "cannot look up \(question.name): \(reason)"
      }
    }
  }
}
