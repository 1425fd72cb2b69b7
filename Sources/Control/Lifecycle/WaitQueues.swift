// SPDX-License-Identifier: Apache-2.0
// Attending to the queues of upstreams: a task for each one in which sessions wait, or did a moment
// ago. How it is done is the pacer's; here it gets the time, the topology and the workers.

import DataPlane
import EventLoop
import Reactor

extension ControlPlane {
  /// A session waits for an endpoint of an upstream, and nothing attends to its queue yet.
  func attend(to upstream: UpstreamState) {
    guard stage != .ended else { return }
    loop.spawn(name: "queue") { try await self.paceQueue(of: upstream) }
  }

  private func paceQueue(of upstream: UpstreamState) async throws {
    var pacer = QueuePacer(upstream, now: loop.now)
    while let running, stage != .ended {
      let next = pacer.look(running.topology, now: loop.now) { worker, message in
        running.post(message, to: worker)
      }
      guard let next else { return }
      try await loop.sleep(until: next)
    }
  }
}
