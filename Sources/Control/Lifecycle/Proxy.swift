// SPDX-License-Identifier: Apache-2.0
// The proxy as one call: a loop on the calling thread, and the control plane on it.

import CLinux
import EventLoop
import Glibc
import Logging
import Plan
import Reactor

/// The proxy as a whole.
public enum Proxy {
  /// The signals that a proxy acts upon.
  static let signals: [SignalNumber] = [.terminate, .interrupt, .hangUp, .user1]

  /// Blocks the signals that a proxy acts upon, so that they come to it alone, and ignores SIGPIPE,
  /// since splice(2) has no way to ask for EPIPE alone. SIGCHLD is as at the beginning of the world:
  /// whoever started this process may ignore it, and then no child can be waited for. Call it before
  /// the process has any thread.
  public static func takeSignals() {
    SignalNumber.block(signals)
    clinux_ignore_signal(SIGPIPE)
    clinux_reset_signal(SIGCHLD)
  }

  /// Serves until a signal ends it and the sessions have drained. Blocks. `manager` is told what becomes
  /// of the proxy, `source` is read again on SIGHUP, `openStatus` makes what answers questions if the plan
  /// wants that. Throws everything that stands in the way of starting.
  public static func run(
    _ plan: ProxyPlan, source: PlanSource, log: EventLog, manager: sending ServiceNotifier? = nil,
    openStatus: @escaping StatusService.Opening
  ) throws {
    let logger = log.logger("sluice")
    let loop: Loop
    do throws(Errno) {
      loop = try Loop(
        LoopOptions(name: "control") { step in
          logger.warning(
            "the control loop was kept waiting",
            metadata: ["by": "\(step.name)", "duration": "\(step.duration)"])
        })
    } catch {
      throw StartFailure("no descriptor for the control loop: \(error)")
    }
    let pools = BlockingPools()
    defer { pools.close() }
    let control = ControlPlane(
      plan, source: source, loop: loop, log: log, pools: pools, manager: manager,
      openStatus: openStatus)
    try loop.run { try await control.live() }
  }
}
