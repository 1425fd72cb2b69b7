// SPDX-License-Identifier: Apache-2.0
// The plans of random schedules.

import Addressing
import Plan
import Reactor

@testable import DataPlane

/// The times of a route that the verdict judges by, in nanoseconds.
struct RouteTimes {
  var idle = UInt64.max
  var halfClose = UInt64.max
  var flush = UInt64.max

  /// After so much time in which nothing moves, one of the timers may end a session.
  var shortest: UInt64 { min(idle, halfClose, flush) }

  /// Takes up the times of a plan where they are shorter.
  mutating func shorten(to route: Route) {
    idle = min(idle, route.idleNanoseconds ?? .max)
    halfClose = min(halfClose, route.halfCloseNanoseconds ?? .max)
    flush = min(flush, route.flushNanoseconds)
  }
}

extension RigPlan {
  /// A plan as the dice fall.
  init(_ dice: FakeChaos, _ world: ScheduleWorld, hasIdleTimeout: Bool, _ seed: UInt64) {
    self.init()
    self.seed = seed
    workers = dice.within(1...(world.contains(.crowds) ? 4 : 2))
    sessionsMax = dice.within(1...20)
    sessionsCapacity = 20
    relay.bufferBytes = dice.within(8...2048)
    pipesMax = [0, 1, 8][dice.below(3)]
    relay.turnBytes = dice.within(64...8192)
    relay.coalesce = dice.below(2) == 0 ? nil : .microseconds(200)
    relay.acceptsPerTurn = dice.within(1...8)
    relay.eventsPerTurn = dice.within(1...32)
    routes = (0..<2).map { number in
      RoutePlan(
        name: "route \(number)", listen: [.some(number + 1, dice, world)],
        upstream: UpstreamIndex(number), idle: hasIdleTimeout ? .seconds(5) : nil,
        halfCloseTimeout: hasIdleTimeout && dice.below(3) == 0 ? nil : .seconds(3),
        flushTimeout: .someFlush(dice, world),
        sessionsMax: dice.below(3) == 0 ? dice.within(1...5) : nil,
        access: AccessMoments(start: true, every: dice.below(2) == 0 ? .seconds(1) : nil))
    }
    upstreams = (0..<2).map { upstream in
      // Bounds of both kinds, and somewhere to wait: where one of them lets sessions in and the other does
      // not, those that wait must not keep each other busy.
      let isTight = dice.below(world.contains(.crowds) ? 2 : 4) == 0
      return UpstreamPlan(
        name: "upstream \(upstream)",
        balance: ChoosingTests.all[dice.below(ChoosingTests.all.count)],
        connect: .seconds(2), attempt: .milliseconds(500), tcp: .some(dice, world),
        outlier: OutlierPlan(failures: dice.within(1...20)), retry: .some(dice),
        sessionsMax: isTight || dice.below(4) == 0 ? dice.within(1...4) : nil,
        queue: isTight || dice.below(3) == 0 ? .some(dice) : nil,
        hold: dice.below(3) == 0 ? .some(dice) : nil,
        endpoints: (0..<dice.within(1...3)).map { number in
          EndpointPlan(
            scheduled: 40000 + 10 * upstream + number, dice, world, weight: dice.within(1...3),
            sessionsMax: isTight || dice.below(4) == 0 ? dice.within(1...3) : nil)
        })
    }
  }
}

extension Duration {
  /// Without slow readers nobody is to be cut off by it.
  static func someFlush(_ dice: FakeChaos, _ world: ScheduleWorld) -> Duration {
    world.contains(.slowReaders) ? .milliseconds(dice.within(1000...20_000)) : .seconds(20)
  }
}

extension ListenAddress {
  /// An address with a number.
  static func some(_ number: Int, _ dice: FakeChaos, _ world: ScheduleWorld) -> ListenAddress {
    guard world.contains(.unixSockets), dice.below(4) == 0 else { return .port(UInt16(number)) }
    return .socket(.unix(path: "/listen/\(number)"))
  }
}

extension EndpointPlan {
  /// An endpoint at a port of the fake network, or at the unix socket with that number.
  init(
    scheduled port: Int, _ dice: FakeChaos, _ world: ScheduleWorld, weight: Int, sessionsMax: Int?
  ) {
    self.init(
      port: UInt16(port), weight: weight, sessionsMax: sessionsMax,
      priority: dice.below(3) == 0 ? 1 : 0)
    guard world.contains(.unixSockets), dice.below(4) == 0 else { return }
    address = .socket(.unix(path: "/\(port)"))
  }
}

extension TCPPlan {
  static func some(_ dice: FakeChaos, _ world: ScheduleWorld) -> TCPPlan {
    guard world.contains(.slowNetwork) else { return TCPPlan() }
    return TCPPlan(unsentBytesMax: dice.below(2) == 0 ? nil : dice.within(16...2000))
  }
}

extension RetryPlan {
  static func some(_ dice: FakeChaos) -> RetryPlan {
    RetryPlan(
      attemptsMax: dice.below(2) == 0 ? nil : dice.within(1...5),
      budgetPercent: dice.below(2) == 0 ? nil : dice.within(0...50), budgetMin: dice.within(0...3),
      backOff: dice.below(3) == 0 ? nil : .milliseconds(dice.within(1...50)),
      backOffMax: .milliseconds(dice.within(1...300)))
  }
}

extension QueuePlan {
  static func some(_ dice: FakeChaos) -> QueuePlan {
    QueuePlan(length: dice.within(1...6), timeout: .milliseconds(dice.within(100...4000)))
  }
}

extension HoldPlan {
  static func some(_ dice: FakeChaos) -> HoldPlan {
    HoldPlan(
      timeout: .milliseconds(dice.within(100...4000)), length: dice.within(1...6),
      ratePerSecond: dice.within(1...500))
  }
}
