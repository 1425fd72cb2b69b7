// SPDX-License-Identifier: Apache-2.0
// What a descriptor of the fake kernel stands for, and how epoll watches it. As in Linux a
// registration belongs to the open file: it ends when that is closed, and a change of the file puts
// the registration on the ready list, where the next wait asks the file what is true then.

import CLinux
import Reactor

/// Something that a descriptor stands for.
class FakeFile {
  fileprivate(set) var watchers: [FakeRegistration] = []
  fileprivate(set) var registrationCount = 0
  /// Whether the descriptor is closed.
  var isClosed = false

  /// The bits of epoll that are true now.
  func readiness() -> UInt32 { 0 }

  /// Called when the descriptor is closed.
  func close() {
    isClosed = true
    for watcher in watchers { watcher.end() }
    watchers = []
  }

  /// Something has changed: whoever watches looks again.
  func changed() {
    for watcher in watchers { watcher.poll?.markReady(watcher) }
  }
}

/// A descriptor in an epoll instance.
final class FakeRegistration {
  fileprivate(set) weak var poll: FakePoll?
  fileprivate unowned let file: FakeFile
  let descriptor: CInt
  let interest: UInt32
  let token: Token
  fileprivate var isReady = false

  init(_ descriptor: CInt, _ file: FakeFile, _ interest: Interest, _ token: Token, _ poll: FakePoll)
  {
    self.descriptor = descriptor
    self.file = file
    self.interest = interest.rawValue
    self.token = token
    self.poll = poll
  }

  var isEdgeTriggered: Bool { interest & CLINUX_EPOLLET != 0 }
  var isExclusive: Bool { interest & CLINUX_EPOLLEXCLUSIVE != 0 }

  fileprivate func end() {
    poll?.forget(self)
    poll = nil
  }
}

/// An epoll instance.
final class FakePoll: FakeFile {
  private let chaos: FakeChaos
  private var registrations: [FakeRegistration] = []
  private var ready: [FakeRegistration] = []

  init(chaos: FakeChaos) {
    self.chaos = chaos
  }

  func add(_ descriptor: CInt, _ file: FakeFile, _ interest: Interest, _ token: Token) {
    let isKnown = registrations.contains { $0.file === file }
    precondition(!isKnown, "EEXIST: descriptor \(descriptor) is registered already")
    let registration = FakeRegistration(descriptor, file, interest, token, self)
    registrations.append(registration)
    file.watchers.append(registration)
    file.registrationCount += 1
    if file.readiness() != 0 { markReady(registration) }
  }

  func remove(_ file: FakeFile) {
    guard let registration = registrations.first(where: { $0.file === file }) else {
      fatalError("ENOENT: a descriptor that was not registered is removed")
    }
    file.watchers.removeAll { $0 === registration }
    registration.end()
  }

  func isWatching(_ file: FakeFile) -> Bool {
    registrations.contains { $0.file === file }
  }

  fileprivate func forget(_ registration: FakeRegistration) {
    registrations.removeAll { $0 === registration }
    ready.removeAll { $0 === registration }
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
    if chaos.shufflesEvents { chaos.shuffle(&ready) }
    var count = 0
    var levels: [FakeRegistration] = []
    while count < events.count, !ready.isEmpty {
      let registration = ready.removeFirst()
      registration.isReady = false
      // Errors and hang-ups are reported whether asked for or not (epoll_ctl(2)).
      let wanted = registration.interest | CLINUX_EPOLLERR | CLINUX_EPOLLHUP
      let bits = registration.file.readiness() & wanted
      guard bits != 0 else { continue }
      events[count].events = bits
      events[count].token = registration.token.rawValue
      count += 1
      if !registration.isEdgeTriggered { levels.append(registration) }
    }
    // What is level-triggered is looked at again by the next wait.
    for registration in levels { markReady(registration) }
    return count
  }

  override func close() {
    for registration in registrations {
      registration.file.watchers.removeAll { $0 === registration }
    }
    registrations = []
    ready = []
    super.close()
  }
}

/// An eventfd.
final class FakeBell: FakeFile {
  private(set) var count: UInt64 = 0

  func ring() {
    count += 1
    changed()
  }

  func silence() {
    count = 0
  }

  override func readiness() -> UInt32 { count > 0 ? CLINUX_EPOLLIN : 0 }
}
