// SPDX-License-Identifier: Apache-2.0
// An epoll instance: a list of registrations, and the list of those that may have something to report.
// Registering, removing and reporting take constant time.

import CLinux
import Reactor

/// An epoll instance.
final class FakePoll: FakeFile {
  private let chaos: FakeChaos
  private let faults: FakeFaults
  private var registrations: [FakeRegistration] = []
  /// Registrations that have ended are skipped when they are met.
  private var ready: [FakeRegistration] = []
  private var firstReady = 0

  init(chaos: FakeChaos, faults: FakeFaults) {
    self.chaos = chaos
    self.faults = faults
  }

  func add(_ descriptor: CInt, _ file: FakeFile, _ interest: Interest, _ token: Token) {
    precondition(!isWatching(file), "EEXIST: descriptor \(descriptor) is registered already")
    let registration = FakeRegistration(file, interest, token, self)
    registration.position = registrations.count
    registrations.append(registration)
    file.add(registration)
    if file.readiness() != 0 { markReady(registration) }
  }

  func remove(_ file: FakeFile) {
    guard let registration = file.watchers.first(where: { $0.poll === self }) else {
      fatalError("ENOENT: a descriptor that was not registered is removed")
    }
    registration.endByPoll()
    forget(registration)
  }

  func isWatching(_ file: FakeFile) -> Bool {
    file.watchers.contains { $0.poll === self }
  }

  func forget(_ registration: FakeRegistration) {
    guard let last = registrations.popLast() else { return }
    if last !== registration {
      registrations[registration.position] = last
      last.position = registration.position
    }
  }

  func markReady(_ registration: FakeRegistration) {
    guard !registration.isReady else { return }
    registration.isReady = true
    ready.append(registration)
  }

  /// One look at the ready list.
  func wait(into events: UnsafeMutableBufferPointer<clinux_event>) -> Int {
    if !registrations.isEmpty, chaos.happens(chaos.reportPerMille) {
      markReady(registrations[chaos.below(registrations.count)])
    }
    if chaos.shufflesEvents { shuffle() }
    var count = 0
    var levels: [FakeRegistration] = []
    while count < events.count, firstReady < ready.count {
      let registration = ready[firstReady]
      firstReady += 1
      registration.isReady = false
      guard !registration.hasEnded else { continue }
      // Errors and hang-ups are reported whether asked for or not (epoll_ctl(2)).
      let wanted = registration.interest | CLINUX_EPOLLERR | CLINUX_EPOLLHUP
      let bits = registration.file.readiness() & wanted
      guard bits != 0 else { continue }
      if registration.isEdgeTriggered, faults.swallowsWakeup() { continue }
      registration.file.noteReported()
      events[count].events = bits
      events[count].token = registration.token.rawValue
      count += 1
      if !registration.isEdgeTriggered { levels.append(registration) }
    }
    if firstReady == ready.count {
      ready.removeAll(keepingCapacity: true)
      firstReady = 0
    }
    // What is level-triggered is looked at again by the next wait.
    for registration in levels { markReady(registration) }
    return count
  }

  private func shuffle() {
    ready.removeFirst(firstReady)
    firstReady = 0
    ready.removeAll { $0.hasEnded }
    chaos.shuffle(&ready)
  }

  override func close() {
    for registration in registrations { registration.endByPoll() }
    registrations = []
    ready = []
    firstReady = 0
    super.close()
  }
}
