// SPDX-License-Identifier: Apache-2.0
// Threads for what blocks, a pool for each kind, so that a name server that does not answer keeps nobody
// from reading a file. Threads start when there is work.

import EventLoop

/// The pools of the control plane.
struct BlockingPools: Sendable {
  /// For reading configurations.
  let files = BlockingPool(name: "files", threadsMax: 1, waitingMax: 4)
  /// For reading who is asked for names.
  let resolver = BlockingPool(name: "resolv.conf", threadsMax: 1, waitingMax: 4)
  /// For looking at files that list endpoints, and reading them. Each that hangs holds a thread.
  let lists = BlockingPool(name: "lists", threadsMax: 32, waitingMax: 4096)
  /// For waiting until threads have ended: nothing else may be in the way of that.
  let ends = BlockingPool(name: "ends", threadsMax: 1, waitingMax: 4)
  /// For looking up names.
  let names = BlockingPool(name: "resolver", threadsMax: 8, waitingMax: 4096)
  /// For starting the scripts that check endpoints. They run without a thread. It reserves
  /// low descriptors, so it is made before any session comes.
  let scripts = ProgramLauncher(name: "scripts", threadsMax: 2, waitingMax: 4096)

  /// Takes no more work.
  func close() {
    files.close()
    resolver.close()
    lists.close()
    ends.close()
    names.close()
    scripts.close()
  }
}
