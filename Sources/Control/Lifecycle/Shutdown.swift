// SPDX-License-Identifier: Apache-2.0
// The way to the end: readiness says no first, accepting goes on for `delay`, then what waits in the
// kernel's queues is accepted, listeners close, and sessions may end by themselves until `drain` is over.
// A second signal skips what is left of it.

import DataPlane
import Logging
import Plan
import Reactor

extension ControlPlane {
  /// Ends everything in order. Returns when the workers have been told to stop.
  func shutDown(_ running: RunningProxy) async {
    stage = .delaying
    let sessions = running.topology.sessions
    logger.info(
      "draining",
      metadata: [
        "signal": "\(endSignal?.description ?? "-")", "sessions": "\(sessions.value)",
        "delay": "\(plan.shutdown.delay.configurationText)",
        "drain": "\(plan.shutdown.drain?.configurationText ?? "off")",
      ])
    manager?.stopping(
      "draining; \(sessions.value) sessions were open", now: loop.now, logger: logger)
    let delayEnd = loop.now.advanced(by: plan.shutdown.delay.wholeNanoseconds)
    await wait(until: delayEnd) { false }
    stage = .draining
    if !isKilled { await drain(running, sessions) }
    running.tellAll(.stop)
    stage = .ended
    await join(running)
    logger.info("ended")
  }

  /// Waits until all threads have ended.
  private func join(_ running: RunningProxy) async {
    let (workers, builtins, accessLog) = running.threads
    do {
      try await pools.files.run { for worker in workers { worker.join() } }
      running.listeners.close()
      try await pools.files.run {
        for server in builtins { server.stop() }
        accessLog?.stop()
      }
    } catch {
      preconditionFailure("the end is not cancelled, and the pool takes work: \(error)")
    }
  }

  private func drain(_ running: RunningProxy, _ sessions: SessionCount) async {
    running.tellAll(.stopAccepting)
    guard await wait({ self.workersAccepting == 0 }) else { return }
    running.listeners.close()
    let nanoseconds = plan.shutdown.drain?.wholeNanoseconds ?? .max
    let drainEnd = loop.now.advanced(by: nanoseconds)
    guard await !wait(until: drainEnd, { sessions.value == 0 }), !isKilled else { return }
    logger.warning(
      "the time to drain is over; the rest is reset", metadata: ["sessions": "\(sessions.value)"])
    running.tellAll(.resetAll(.drainDeadline))
  }
}
