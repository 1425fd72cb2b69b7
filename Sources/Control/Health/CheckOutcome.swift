// SPDX-License-Identifier: Apache-2.0
// What a check came to. What an endpoint did is told from what this process could not do: for want of
// a descriptor, a port or memory nobody else is to blame.

import EventLoop
import Plan
import Reactor

/// What a check came to.
enum CheckOutcome: Hashable, Sendable {
  /// The endpoint did what was asked.
  case good
  /// It did not.
  case failed(CheckFailure)
  /// This process could not ask.
  case impossible(CheckHindrance)
  /// The check was given up, because nobody wants to know any more.
  case cancelled
}

/// What keeps this process from asking.
enum CheckHindrance: Hashable, Sendable {
  /// The kernel's word, about something that this process or machine lacks.
  case stream(StreamError)
  /// The script cannot be started.
  case script(Errno)
  /// As many scripts run as may at once.
  case busy
}

extension CheckHindrance: CustomStringConvertible {
  /// What happened, in words.
  var description: String {
    switch self {
    case .stream(let error): error.description
    case .script(let errno): "starting the script: \(errno)"
    case .busy: "as many scripts run as may at once"
    }
  }
}

/// Why the questions of a check end before it is good.
enum CheckStop: Error, Hashable {
  /// The connection.
  case stream(StreamError)
  /// The answer.
  case failed(CheckFailure)
}

extension CheckOutcome {
  /// What an error of a stream means for a check that may take `timeout`.
  init(_ error: StreamError, isConnected: Bool, timeout: Duration) {
    switch error {
    case .cancelled: self = .cancelled
    case .deadlinePassed:
      self = .failed(isConnected ? .noAnswer(within: timeout) : .noConnection(within: timeout))
    case .endOfStream, .closed, .tooLong: self = .failed(.ended)
    case .failed(_, let errno) where errno.isShortage: self = .impossible(.stream(error))
    // The source address is not this machine's, whatever the endpoint.
    case .failed("binding", _): self = .impossible(.stream(error))
    case .failed: self = .failed(.stream(error))
    }
  }
}

extension Errno {
  /// Whether it says that this process or machine has run out of something.
  fileprivate var isShortage: Bool {
    switch self {
    case .tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory, .noBufferSpace: true
    // Ports towards one address are used up; for `.noSpace` see fs.epoll.max_user_watches.
    case .addressNotAvailable, .addressInUse, .noSpace: true
    default: false
    }
  }
}
