// SPDX-License-Identifier: Apache-2.0
// One check of one endpoint: a connection of its own, a request if there is one, an answer, all within
// the timeout. A check always ends its connection with a reset. An orderly end would leave a port in
// TIME_WAIT for a minute here or there, and with hundreds of checks a second that is tens of thousands;
// and a server that still sends sees that nobody listens.

import Addressing
import EventLoop
import Plan
import Reactor

/// A question to an endpoint, ready to be asked again and again.
struct Check: Sendable {
  private enum Question: Sendable {
    case tcp
    case http(HTTPCheckPlan, request: [UInt8])
  }

  /// How much is read at once.
  private static let readBytesMax = 16 << 10

  /// Where it is asked.
  let target: SocketAddress
  private let question: Question
  /// Source addresses of the target's family; empty: the kernel chooses.
  private let sources: [IPAddress]
  private let timeout: Duration

  /// The question for a subject.
  init(_ subject: HealthSubject) {
    let target = subject.check.target.address(for: subject.id.address)
    self.target = target
    timeout = subject.check.timeout
    sources = subject.source.filter { $0.isSameFamily(as: target) }
    switch subject.check.kind {
    case .tcp: question = .tcp
    case .http(let plan):
      let request = CheckRequest.bytes(
        plan, name: subject.id.host, address: subject.id.address, target: target)
      question = .http(plan, request: request)
    }
  }

  /// Asks, and waits for the verdict until `deadline`, which is `timeout` away. `turn` counts the checks of
  /// the subject: source addresses are used in turn. For tasks of a loop.
  func run(turn: Int, until deadline: Instant) async -> CheckOutcome {
    let source = sources.isEmpty ? nil : sources[turn % sources.count]
    let stream: Stream
    do throws(StreamError) {
      stream = try await Stream.connect(to: target, from: source, until: deadline)
    } catch {
      return CheckOutcome(error, isConnected: false, timeout: timeout)
    }
    defer { stream.abort() }
    guard case .http(let plan, let request) = question else { return .good }
    do throws(StreamError) {
      try stream.write(request)
      return try await Check.judge(stream, plan, until: deadline)
    } catch {
      return CheckOutcome(error, isConnected: true, timeout: timeout)
    }
  }

  private static func judge(
    _ stream: Stream, _ plan: HTTPCheckPlan, until deadline: Instant
  ) async throws(StreamError) -> CheckOutcome {
    var judge = AnswerJudge(plan)
    while true {
      let bytes = try await stream.read(
        max: min(judge.bytesLeft, Check.readBytesMax), until: deadline)
      guard !bytes.isEmpty else { return judge.finish() }
      if let verdict = judge.read(bytes) { return verdict }
    }
  }
}

extension IPAddress {
  /// Whether a socket bound to this can connect to an address.
  fileprivate func isSameFamily(as address: SocketAddress) -> Bool {
    switch (self, address) {
    case (.v4, .v4), (.v6, .v6): true
    default: false
    }
  }
}
