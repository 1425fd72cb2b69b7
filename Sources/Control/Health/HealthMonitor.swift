// SPDX-License-Identifier: Apache-2.0
// All health checks of the process, as tasks under one group on the control loop. Every subject has a
// task that sleeps, asks and takes the answer into account, in a scope of its own: who removes a subject
// ends that scope, with whatever it is waiting for, and nothing is left behind. What a verdict means
// for sessions is not known here; whoever wants to know is called.
//
//     run ── group ┬─ scope of a subject ── task: sleep ─▶ check ─▶ verdict ─▶ sleep …
//                  ├─ scope of a subject ── …
//                  └─ waits for arrivals
//
// Time is told from the start of a check to that of the next. The first checks of subjects that arrive
// together are spread over a second at most, so that a start has its verdicts soon and yet does not
// knock everywhere at once; after that, jitter keeps them apart.

import Addressing
import Balancing
import EventLoop
import Logging
import Plan
import Reactor

/// Checks endpoints and tells when they go down or come up. Everything here is for the loop's thread.
final class HealthMonitor: @unchecked Sendable {
  // SAFETY: used by the loop's thread alone, which everything that others call makes sure of.

  /// Called with every verdict that is new: when it changes, and when it is the first. On the loop's
  /// thread. What an endpoint begins with, and begins with again, is not told: see `isUp`.
  typealias OnChange = @Sendable (HealthSubject.ID, _ isUp: Bool) -> Void

  /// Over how long the first checks of those that arrive together are spread, at most.
  static let spreadMax = Duration.seconds(1)
  /// How often it is said that checks cannot be made.
  static let complaintInterval = Duration.seconds(10)

  private let loop: Loop
  private let logger: Logger
  private let scripts: ScriptRunner
  private let onChange: OnChange
  private var random: SplitMix64
  private var endpoints: [HealthSubject.ID: CheckedEndpoint] = [:]
  /// In the order in which they were given.
  private var order: [HealthSubject.ID] = []
  private var upstreams: [String: UpstreamHealth] = [:]
  /// Those whose task has not been started yet.
  private var arrivals: [CheckedEndpoint] = []
  private let hasArrivals = Event()
  private var nextComplaintAt = Instant(nanoseconds: 0)
  private var untoldComplaints = 0

  /// A monitor of nothing, for one loop. `scripts` starts the scripts that are checks. `seed` is where its
  /// random numbers begin.
  init(
    on loop: Loop, logger: Logger, scripts: ScriptRunner = ScriptRunner(),
    seed: UInt64 = .random(in: .min ... .max), onChange: @escaping OnChange
  ) {
    self.loop = loop
    self.logger = logger
    self.scripts = scripts
    self.onChange = onChange
    random = SplitMix64(seed: seed)
  }

  // MARK: Running

  /// Checks what `replace` was given and will be, until the calling task is cancelled; then every check
  /// has ended when it returns. Once at a time.
  func run() async {
    loop.checkIsolated()
    await withDiscardingTaskGroup { group in
      while true {
        for endpoint in arrivals where !endpoint.isRemoved {
          group.addTask(name: "health of \(endpoint.subject.name)") { [self] in
            await attend(endpoint)
          }
        }
        arrivals = []
        hasArrivals.clear()
        do throws(WaitError) {
          try await hasArrivals.wait()
        } catch {
          break
        }
      }
    }
  }

  /// Checks a subject until it is removed or the group is cancelled. A change of its check ends what is
  /// under way, and it goes on with the new one.
  private func attend(_ endpoint: CheckedEndpoint) async {
    while !endpoint.isRemoved, !Task.isCancelled {
      endpoint.interruption.clear()
      await withDiscardingTaskGroup { scope in
        scope.addTask(name: "check of \(endpoint.subject.name)") { [self] in
          await checkAgainAndAgain(endpoint)
        }
        try? await endpoint.interruption.wait()
        scope.cancelAll()
      }
    }
  }

  /// Checks until the task is cancelled, always with the check that it began with.
  private func checkAgainAndAgain(_ endpoint: CheckedEndpoint) async {
    let check = Check(endpoint.subject, scripts: scripts)
    let timeout = endpoint.subject.check.timeout.wholeNanoseconds
    // A turn of the loop goes by in any case, also when a check has taken longer than its interval.
    while (try? await loop.sleep(until: endpoint.nextAt)) != nil {
      let startedAt = loop.now
      let outcome = await check.run(
        turn: endpoint.turn, until: startedAt.advanced(by: timeout))
      endpoint.turn += 1
      // It may have been set in this very turn, and this task be cancelled only later in it.
      guard !endpoint.interruption.isSet, !Task.isCancelled else { return }
      let duration = Duration.nanoseconds(Int64(loop.now.nanoseconds(since: startedAt)))
      note(outcome, of: endpoint, after: duration)
      scheduleNext(endpoint, from: startedAt, outcome)
    }
  }

  private func scheduleNext(
    _ endpoint: CheckedEndpoint, from startedAt: Instant, _ outcome: CheckOutcome
  ) {
    let plan = endpoint.subject.check
    var interval = endpoint.state.interval(plan)
    // Nothing was learnt; what is short may be there again soon.
    if case .impossible = outcome { interval = min(interval, plan.changing) }
    endpoint.nextAt = startedAt.advanced(
      by: jitteredNanoseconds(interval, percent: plan.jitterPercent, random: random.next()))
  }

  // MARK: Subjects

  /// From now on these are checked, and no others. Who was checked before keeps verdict, counts and
  /// schedule; if the check itself is another one, it is made soon. New ones begin as their plan says,
  /// and so does one that is asked for another role than before; both are checked soon. Who got no
  /// sessions and is not checked any more is reported as up: nobody vouches against it any longer.
  func replace(with subjects: [HealthSubject]) {
    loop.checkIsolated()
    let before = endpoints
    endpoints = [:]
    var soon: [CheckedEndpoint] = []
    for subject in subjects {
      let endpoint = before[subject.id] ?? CheckedEndpoint(subject, at: loop.now)
      precondition(endpoints.updateValue(endpoint, forKey: subject.id) == nil, "a subject twice")
      if before[subject.id] == nil {
        arrivals.append(endpoint)
        soon.append(endpoint)
      } else if endpoint.change(to: subject) {
        soon.append(endpoint)
      }
    }
    order = subjects.map(\.id)
    spread(soon)
    if !arrivals.isEmpty { hasArrivals.set() }
    for (id, endpoint) in before where endpoints[id] == nil {
      endpoint.remove()
      guard !endpoint.state.isUp else { continue }
      onChange(id, true)
      logger.info(
        "endpoint is not checked any more",
        metadata: ["upstream": "\(id.upstream)", "endpoint": "\(endpoint.subject.name)"])
    }
    reviewUpstreams()
  }

  /// Has the next checks of these begin within their interval, but within a second, one after another.
  private func spread(_ soon: [CheckedEndpoint]) {
    let now = loop.now
    for (position, endpoint) in soon.enumerated() {
      let window = min(endpoint.subject.check.up, HealthMonitor.spreadMax).wholeNanoseconds
      let place = window / UInt64(soon.count) * UInt64(position)
      endpoint.nextAt = now.advanced(by: place)
    }
  }

  // MARK: Verdicts

  private func note(_ outcome: CheckOutcome, of endpoint: CheckedEndpoint, after duration: Duration)
  {
    switch outcome {
    case .cancelled: return
    case .impossible(let hindrance): return complain(of: endpoint, hindrance)
    case .good:
      endpoint.status.goodCount += 1
    case .failed(let failure):
      endpoint.status.failedCount += 1
      // Most failures are the same as the last one.
      if endpoint.lastFailure != failure {
        endpoint.lastFailure = failure
        endpoint.status.lastFailure = failure.description
      }
    }
    endpoint.status.lastDuration = duration
    let plan = endpoint.subject.check
    let wasDown = endpoint.state.isKnownDown
    guard endpoint.state.note(isGood: outcome == .good, rise: plan.rise, fall: plan.fall) else {
      return
    }
    endpoint.changedAt = loop.now
    tell(endpoint, wasDown: wasDown)
  }

  private func tell(_ endpoint: CheckedEndpoint, wasDown: Bool) {
    let id = endpoint.subject.id
    let isUp = endpoint.state.isUp
    onChange(id, isUp)
    var metadata: Logger.Metadata = [
      "upstream": "\(id.upstream)", "endpoint": "\(endpoint.subject.name)",
    ]
    if isUp {
      logger.info("endpoint is up", metadata: metadata)
    } else {
      metadata["cause"] = "\(endpoint.status.lastFailure ?? "")"
      logger.warning("endpoint is down", metadata: metadata)
    }
    guard endpoint.subject.takesSessions else { return }
    if wasDown != endpoint.state.isKnownDown {
      upstreams[id.upstream]?.downCount += isUp ? -1 : 1
    }
    review(id.upstream)
  }

  /// Counts anew, after subjects have come and gone.
  private func reviewUpstreams() {
    let wereAllDown = upstreams.filter(\.value.isToldAllDown).keys
    upstreams = [:]
    for (id, endpoint) in endpoints where endpoint.subject.takesSessions {
      upstreams[id.upstream, default: UpstreamHealth()].count += 1
      upstreams[id.upstream]?.fallback = endpoint.subject.fallback
      if endpoint.state.isKnownDown { upstreams[id.upstream]?.downCount += 1 }
    }
    for name in wereAllDown { upstreams[name]?.isToldAllDown = true }
    for name in upstreams.keys.sorted() { review(name) }
  }

  private func review(_ upstream: String) {
    guard let health = upstreams[upstream] else { return }
    assert((0...health.count).contains(health.downCount))
    let isAllDown = health.downCount == health.count
    guard isAllDown != health.isToldAllDown else { return }
    upstreams[upstream]?.isToldAllDown = isAllDown
    if isAllDown {
      logger.log(
        level: health.fallback == .served ? .warning : .error, "all endpoints are down",
        metadata: ["upstream": "\(upstream)", "clients": "\(health.fallback.rawValue)"])
    } else {
      logger.info("an endpoint is up again", metadata: ["upstream": "\(upstream)"])
    }
  }

  /// A check could not be made. Said now and then: when descriptors are short, all checks fail alike.
  private func complain(of endpoint: CheckedEndpoint, _ hindrance: CheckHindrance) {
    endpoint.status.impossibleCount += 1
    let now = loop.now
    guard now >= nextComplaintAt else {
      untoldComplaints += 1
      return
    }
    nextComplaintAt = now.advanced(by: HealthMonitor.complaintInterval.wholeNanoseconds)
    var metadata: Logger.Metadata = [
      "upstream": "\(endpoint.subject.id.upstream)", "endpoint": "\(endpoint.subject.name)",
      "cause": "\(hindrance)",
    ]
    if untoldComplaints > 0 { metadata["untold"] = "\(untoldComplaints)" }
    untoldComplaints = 0
    logger.warning("a check could not be made", metadata: metadata)
  }

  // MARK: What is known

  /// Whether there is nothing against an endpoint: it is up, or not checked.
  func isUp(_ id: HealthSubject.ID) -> Bool {
    loop.checkIsolated()
    return endpoints[id]?.state.isUp ?? true
  }

  /// What is thought of an endpoint; `nil` if it is not checked.
  func verdict(on id: HealthSubject.ID) -> HealthState.Verdict? {
    loop.checkIsolated()
    return endpoints[id]?.state.verdict
  }

  /// What is known about every subject, in the order in which they were given.
  func statuses() -> [HealthStatus] {
    loop.checkIsolated()
    let now = loop.now
    return order.compactMap { endpoints[$0]?.currentStatus(at: now) }
  }
}

extension HealthState {
  /// Whether it is down and that is no mere beginning.
  fileprivate var isKnownDown: Bool { !isUp && !isUnproven }
}

/// How many of an upstream's endpoints would get sessions, how many of these are down, what was said
/// about it, and what it means for clients.
private struct UpstreamHealth {
  var count = 0
  var downCount = 0
  var isToldAllDown = false
  var fallback = HealthSubject.Fallback.reset
}

/// A subject, and what its checks have come to. Loop's thread.
private final class CheckedEndpoint: @unchecked Sendable {
  // SAFETY: like the monitor's own state; the tasks that it is handed to run on the same thread.
  private(set) var subject: HealthSubject
  var state: HealthState
  var status: HealthStatus
  var lastFailure: CheckFailure?
  var changedAt: Instant
  /// How many checks have been made.
  var turn = 0
  /// When the next check begins.
  var nextAt: Instant
  /// Set when what is under way is to end: the subject was removed, or has another check.
  let interruption = Event()
  private(set) var isRemoved = false

  init(_ subject: HealthSubject, at now: Instant) {
    self.subject = subject
    state = HealthState(subject.check.initial)
    status = HealthStatus(id: subject.id, name: subject.name)
    changedAt = now
    nextAt = now
  }

  /// The subject as a later plan has it. Returns whether anything about its check is different.
  func change(to later: HealthSubject) -> Bool {
    assert(later.id == subject.id)
    let before = subject.check
    let isSame = later.isChecked(like: subject)
    subject = later
    guard !isSame else { return false }
    state.forgetChange()
    // That another question was answered well is no promise about data.
    if !later.check.promisesNoMore(than: before) {
      state = HealthState(later.check.initial)
    }
    interruption.set()
    return true
  }

  func remove() {
    isRemoved = true
    interruption.set()
  }

  func currentStatus(at now: Instant) -> HealthStatus {
    var status = status
    status.name = subject.name
    status.isUp = state.isUp
    status.isUnknown = state.verdict == .unknown
    status.unchangedFor = .nanoseconds(Int64(now.nanoseconds(since: changedAt)))
    return status
  }
}
