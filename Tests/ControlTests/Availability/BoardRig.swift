// SPDX-License-Identifier: Apache-2.0
// A board with made-up upstreams and a clock that the test moves.

import Addressing
import Plan
import Reactor

@testable import Control
@testable import DataPlane

/// A board, its upstreams, and what it has told.
final class BoardRig {
  /// An upstream as the next `follow` has it.
  struct Upstream {
    var plan: UpstreamPlan
    var endpoints: [Endpoint]
  }
  /// An endpoint as the next `follow` has it.
  struct Endpoint {
    var number: Int
    var weight = 1
    var isUp = true
  }

  let log = CollectedLog()
  private(set) var board: AvailabilityBoard
  private let told: Told
  /// In seconds, from an arbitrary start.
  var now: Double = 1000
  var upstreams: [Upstream]
  private var states: [Int: EndpointState] = [:]
  private var upstreamStates: [String: UpstreamState] = [:]

  private final class Told {
    var all: [BoardChange] = []
  }

  /// A board with one upstream, `u`, with so many endpoints, numbered from 0, all of them up.
  init(endpoints: Int, _ change: (inout UpstreamPlan) -> Void = { _ in }) {
    // What ejects is for each test to say.
    var plan = UpstreamPlan(name: "u", outlier: nil, endpoints: [])
    change(&plan)
    upstreams = [Upstream(plan: plan, endpoints: (0..<endpoints).map { Endpoint(number: $0) })]
    let told = Told()
    self.told = told
    board = AvailabilityBoard(logger: log.logger) { told.all.append($0) }
    follow()
  }

  private var instant: Instant { Instant(nanoseconds: UInt64(now * 1e9)) }

  /// Has the board take over `upstreams`.
  func follow() {
    board.replace(
      with: upstreams.enumerated().map { position, upstream in
        let name = upstream.plan.name
        upstreamStates[name] = upstreamStates[name] ?? UpstreamState()
        return BoardedUpstream(
          plan: upstream.plan, position: position, state: upstreamStates[name]!,
          endpoints: upstream.endpoints.map { endpoint in
            BoardedEndpoint(
              index: EndpointIndex(endpoint.number), name: "e\(endpoint.number)",
              state: state(endpoint.number), takesSessions: endpoint.weight > 0,
              subject: id(endpoint.number, of: name), isUp: endpoint.isUp)
          })
      }, at: instant)
  }

  func state(_ number: Int) -> EndpointState {
    if let state = states[number] { return state }
    let state = EndpointState(workers: 1)
    states[number] = state
    return state
  }

  private func id(_ number: Int, of upstream: String) -> HealthSubject.ID {
    HealthSubject.ID(
      upstream: upstream, address: .v4(.loopback, port: UInt16(number)), host: nil, ordinal: 0)
  }

  // MARK: What happens

  /// How many consecutive failures a worker would report.
  var failuresMax: Int {
    let takers = upstreams[0].endpoints.count { $0.weight > 0 }
    return upstreams[0].plan.outlier?.failuresMax(endpoints: takers) ?? 0
  }

  func check(_ number: Int, isUp: Bool, of upstream: String = "u") {
    for position in upstreams.indices where upstreams[position].plan.name == upstream {
      for place in upstreams[position].endpoints.indices
      where upstreams[position].endpoints[place].number == number {
        upstreams[position].endpoints[place].isUp = isUp
      }
    }
    board.note(id(number, of: upstream), isUp: isUp, at: instant)
  }

  /// A session fails at an endpoint, as a worker would note it.
  func fail(_ number: Int) {
    guard failuresMax > 0 else { return }
    if state(number).noteFailed(max: failuresMax) {
      board.noteFailing(state(number), at: instant)
    }
  }

  /// So many sessions fail in a row.
  func fail(_ number: Int, times: Int) {
    for _ in 0..<times { fail(number) }
  }

  /// A session is served whose connection has stood for so long.
  func serve(_ number: Int, connectedFor seconds: Double = 0) {
    guard failuresMax > 0 else { return }
    if state(number).noteServed(max: failuresMax) {
      let since = Instant(nanoseconds: UInt64((now - seconds) * 1e9))
      board.noteServed(state(number), since: since, at: instant)
    }
  }

  /// Lets time pass, moment by moment as the board wants it.
  func pass(_ seconds: Double) {
    let end = now + seconds
    while true {
      let next = Double(board.nextMoment.nanoseconds) / 1e9
      guard next <= end else { break }
      now = max(now, next)
      board.advance(to: board.nextMoment)
    }
    now = end
    board.advance(to: instant)
  }

  // MARK: What it comes to

  /// `u`, `d` or `e` for each endpoint of the first upstream.
  var letters: String {
    upstreams[0].endpoints.map { endpoint in
      switch state(endpoint.number).availability {
      case .up: "u"
      case .down: "d"
      case .ejected: "e"
      }
    }.joined()
  }

  var serving: Serving { upstreamStates["u"]?.serving ?? .none }

  /// What was told since the last call.
  func takeTold() -> [BoardChange] {
    defer { told.all = [] }
    return told.all
  }
}
