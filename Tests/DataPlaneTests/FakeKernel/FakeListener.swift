// SPDX-License-Identifier: Apache-2.0
// A listening socket of the program under test: a queue of connections that were not accepted yet.

import CLinux
import Reactor

/// A listening socket.
final class FakeListener: FakeFile {
  let isUnix: Bool
  private var queue: [(stream: FakeStream, peer: PeerAddress)] = []
  private var firstWaiting = 0
  private let chaos: FakeChaos

  init(chaos: FakeChaos, isUnix: Bool = false) {
    self.chaos = chaos
    self.isUnix = isUnix
  }

  var waitingCount: Int { queue.count - firstWaiting }

  override func readiness() -> UInt32 { waitingCount == 0 ? 0 : CLINUX_EPOLLIN }

  func arrive(_ stream: FakeStream, from peer: PeerAddress) {
    queue.append((stream, peer))
    guard !watchers.isEmpty else { return }
    // An exclusive watcher may be the only one that is woken.
    let lucky = chaos.below(watchers.count)
    for (position, watcher) in watchers.enumerated()
    where position == lucky || !watcher.isExclusive || chaos.below(2) == 0 {
      watcher.markReady()
    }
  }

  func accept() -> (stream: FakeStream, peer: PeerAddress)? {
    guard waitingCount > 0 else { return nil }
    let first = queue[firstWaiting]
    firstWaiting += 1
    if firstWaiting == queue.count {
      queue.removeAll(keepingCapacity: true)
      firstWaiting = 0
    }
    first.stream.wasAccepted = true
    return first
  }

  /// Connections that still wait are reset.
  override func close() {
    precondition(watchers.isEmpty, "a listener is closed while a worker watches it")
    super.close()
    for (stream, _) in queue[firstWaiting...] { stream.reset() }
    queue = []
    firstWaiting = 0
  }
}
