// SPDX-License-Identifier: Apache-2.0
// Attending to the waiting rooms of upstreams: a task for each one in which somebody waits, or did a moment
// ago. How it is done is the room keeper's; here it gets the time, the topology and the workers.

import DataPlane
import EventLoop
import Reactor

extension ControlPlane {
  /// Somebody waits for an endpoint of an upstream, and nobody attends to that yet.
  func attend(to upstream: UpstreamState) {
    guard stage != .ended else { return }
    loop.spawn(name: "waiting room") { try await self.keepRoom(of: upstream) }
  }

  private func keepRoom(of upstream: UpstreamState) async throws {
    var keeper = RoomKeeper(upstream, now: loop.now)
    while let running, stage != .ended {
      let next = keeper.look(running.topology, now: loop.now) { worker, message in
        running.post(message, to: worker)
      }
      guard let next else { return }
      try await loop.sleep(until: next)
    }
  }
}
