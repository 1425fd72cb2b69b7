// SPDX-License-Identifier: Apache-2.0
// What a descriptor of the fake kernel refers to. As in Linux, a registration with epoll belongs to the
// open file: it ends when the file is closed, and a change of the file puts the registration on the
// ready list, where the next wait asks the file what is true then.

import CLinux
import Reactor

/// An open file: a socket, an end of a pipe, an epoll instance, an eventfd.
class FakeFile {
  fileprivate(set) var watchers: [FakeRegistration] = []
  fileprivate(set) var registrationCount = 0
  /// Whether the descriptor is closed.
  private(set) var isClosed = false

  /// The bits of epoll that are true now.
  func readiness() -> UInt32 { 0 }

  /// epoll has reported what is true now.
  func noteReported() {}

  /// Called when the descriptor is closed.
  func close() {
    isClosed = true
    for watcher in watchers { watcher.end() }
    watchers = []
  }

  /// Something has changed: all epoll instances that watch this file look at it again.
  final func changed() {
    for watcher in watchers { watcher.markReady() }
  }

  final func add(_ watcher: FakeRegistration) {
    watchers.append(watcher)
    registrationCount += 1
  }

  final func remove(_ watcher: FakeRegistration) {
    watchers.removeAll { $0 === watcher }
  }
}

/// A file in an epoll instance.
final class FakeRegistration {
  let poll: FakePoll
  let file: FakeFile
  let interest: UInt32
  let token: Token
  /// Where it is in the epoll instance's list.
  var position = 0
  /// Whether it is on the ready list.
  var isReady = false
  private(set) var hasEnded = false

  init(_ file: FakeFile, _ interest: Interest, _ token: Token, _ poll: FakePoll) {
    self.file = file
    self.interest = interest.rawValue
    self.token = token
    self.poll = poll
  }

  var isEdgeTriggered: Bool { interest & CLINUX_EPOLLET != 0 }
  var isExclusive: Bool { interest & CLINUX_EPOLLEXCLUSIVE != 0 }

  func markReady() { poll.markReady(self) }

  fileprivate func end() {
    hasEnded = true
    poll.forget(self)
  }

  /// The epoll instance has let go of it.
  func endByPoll() {
    hasEnded = true
    file.remove(self)
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
