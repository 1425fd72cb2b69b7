// SPDX-License-Identifier: Apache-2.0
// The way to the end: readiness says no first, accepting goes on for `delay`, then what waits in the
// kernel's queues is accepted, listeners close, and sessions may end by themselves until `drain` is over.
// A second signal skips what is left of it.

import DataPlane
import EventLoop
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
    noteChange()
    let delayEnd = loop.now.advanced(by: plan.shutdown.delay.wholeNanoseconds)
    await wait(until: delayEnd) { false }
    stage = .draining
    noteChange()
    for watch in nameWatches.values { watch.task.cancel() }
    for task in lists.watches.values { task.cancel() }
    if !isKilled { await drain(running, sessions) }
    running.tellAll(.stop)
    stage = .ended
    await join(running)
    logger.info("ended")
  }

  /// Waits until all threads have ended; not for ever, for one may hang.
  private func join(_ running: RunningProxy) async {
    let (workers, builtins, accessLog) = running.threads
    let haveEnded = await runOffLoop { for worker in workers { worker.join() } }
    running.listeners.close()
    let areStopped = await runOffLoop {
      for server in builtins { server.stop() }
      accessLog?.stop()
    }
    guard !haveEnded || !areStopped else { return }
    logger.error(
      "threads do not end; the process leaves them behind",
      metadata: ["waited": "\(ControlPlane.joinPatience.configurationText)"])
    // They go on to use it until the process is gone.
    _ = Unmanaged.passRetained(running)
  }

  /// Runs what blocks. Returns whether it has come back in time.
  private func runOffLoop(_ body: @escaping @Sendable () -> Void) async -> Bool {
    let deadline = loop.now.advanced(by: ControlPlane.joinPatience.wholeNanoseconds)
    do {
      try await pools.ends.run(until: deadline, body)
      return true
    } catch is BlockingPoolError {
      // Without a thread, this one has nothing else to do any more.
      body()
      return true
    } catch {
      return false
    }
  }

  private func drain(_ running: RunningProxy, _ sessions: SessionCount) async {
    let nanoseconds = plan.shutdown.drain?.wholeNanoseconds ?? .max
    let drainEnd = loop.now.advanced(by: nanoseconds)
    running.tellAll(.stopAccepting)
    if await wait(until: drainEnd, { self.workersAccepting == 0 }) { running.listeners.close() }
    guard await !wait(until: drainEnd, { sessions.value == 0 }), !isKilled else { return }
    logger.warning(
      "the time to drain is over; the rest is reset", metadata: ["sessions": "\(sessions.value)"])
    running.tellAll(.resetAll(.drainDeadline))
  }
}
