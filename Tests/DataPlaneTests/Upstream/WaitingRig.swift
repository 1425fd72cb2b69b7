// SPDX-License-Identifier: Apache-2.0
// What tests of the waiting room begin with: an upstream in which sessions may wait, and clients that say
// their number.

import Plan
import Reactor
import Testing

@testable import DataPlane

/// A rig with one upstream in which sessions may wait.
func waitingRig(
  ports: [UInt16] = [9000], sessionsMax: Int? = nil, upstreamMax: Int? = nil,
  queue: QueuePlan? = nil, hold: HoldPlan? = nil, workers: Int = 1
) throws -> Rig {
  var plan = RigPlan(ports: ports)
  plan.workers = workers
  plan.upstreams[0].endpoints = ports.map { EndpointPlan(port: $0, sessionsMax: sessionsMax) }
  plan.upstreams[0].sessionsMax = upstreamMax
  plan.upstreams[0].queue = queue
  plan.upstreams[0].hold = hold
  return try Rig(plan)
}

extension Rig {
  var waiting: (queued: Int, held: Int) { topology.upstreams[0].state.queue.waiting }
  var statistics: UpstreamStatistics { topology.upstreams[0].state.statistics() }

  /// Clients that say their number, in the order of their arrival.
  func connectClients(_ count: Int, from first: Int = 0) -> [FakeStream] {
    (first..<first + count).map { number in
      let client = connectClient()
      client.write("\(number) ")
      settle()
      return client
    }
  }

  func expectNothingLeft() {
    for worker in workers where worker.link.inbox.post(.resetAll(.killed)) {}
    settle()
    #expect(leftovers == [])
    #expect(tearDown() == [])
  }
}
