// SPDX-License-Identifier: Apache-2.0
// What a check came to. What an endpoint did is told from what this process could not do: for want of
// a descriptor, a port or memory nobody else is to blame.

import EventLoop
import HTTP1
import Plan
import Reactor

/// What a check came to.
enum CheckOutcome: Hashable, Sendable {
  /// The endpoint did what was asked.
  case good
  /// It did not.
  case failed(CheckFailure)
  /// This process could not ask.
  case impossible(StreamError)
  /// The check was given up, because nobody wants to know any more.
  case cancelled
}

/// Why a check failed. Says nothing of what was sent or looked for, which may be a secret.
enum CheckFailure: Hashable, Sendable {
  /// No connection stood in time.
  case noConnection(within: Duration)
  /// A connection stood, but the answer was not complete in time.
  case noAnswer(within: Duration)
  /// What the kernel said, and what was being done.
  case stream(StreamError)
  /// The connection ended before the head of an answer did.
  case ended
  /// The answer is no HTTP.
  case malformed(MessageError)
  /// A status that is not one of the good ones.
  case status(Int)
  /// One interim answer after another.
  case interim
  /// The head of the answer did not fit.
  case headTooLong(bytesMax: Int)
  /// The body does not hold what is looked for; `bytesMax` is there if not all of it was read.
  case bodyLacks(bytesMax: Int?)
}

extension CheckFailure: CustomStringConvertible {
  /// What happened, in words, as the cause in a log line.
  var description: String {
    switch self {
    case .noConnection(let timeout): "no connection within \(timeout.configurationText)"
    case .noAnswer(let timeout): "no answer within \(timeout.configurationText)"
    case .stream(let error): error.description
    case .ended: "the connection ended without an answer"
    case .malformed(let error): "the answer is not HTTP as it should be: \(error)"
    case .status(let code): "status \(code)"
    case .interim: "one interim answer after another"
    case .headTooLong(let max): "the head of the answer is longer than \(max) bytes"
    case .bodyLacks(nil): "the body lacks what `body` wants"
    case .bodyLacks(let max?): "the first \(max) bytes of the answer lack what `body` wants"
    }
  }
}

extension CheckOutcome {
  /// What an error of a stream means for a check that may take `timeout`.
  init(_ error: StreamError, isConnected: Bool, timeout: Duration) {
    switch error {
    case .cancelled: self = .cancelled
    case .deadlinePassed:
      self = .failed(isConnected ? .noAnswer(within: timeout) : .noConnection(within: timeout))
    case .endOfStream, .closed, .tooLong: self = .failed(.ended)
    case .failed(_, let errno) where errno.isShortage: self = .impossible(error)
    // The source address is not this machine's, whatever the endpoint.
    case .failed("binding", _): self = .impossible(error)
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
