// SPDX-License-Identifier: Apache-2.0
// The other side of the admin interface: one question, one answer, within a bounded time and memory.
// What `sluice probe` does, so that an image needs no curl and a script no parser.

import Addressing
import EventLoop
import HTTP1
import HTTPTypes
import Reactor

/// Asks a running program whether it lives, or is ready.
public struct AdminProbe: Sendable {
  /// What is asked.
  public enum Question: Sendable {
    /// Whether its control loop turns.
    case isAlive
    /// Whether clients should be sent to it.
    case isReady
  }

  /// What came of asking.
  public enum Outcome: Hashable, Sendable {
    /// Yes; with its remarks, one in a line.
    case yes(String)
    /// No, and why, one reason in a line.
    case no(String)
    /// Nobody listens there: what to do.
    case nobody(String)
    /// It could not be asked: what happened, and what to do.
    case unanswered(String)
  }

  /// How much of an answer is read.
  private static let contentBytesMax = 64 << 10
  private static let readBytes = 16 << 10

  private let address: SocketAddress
  private let question: Question

  /// Makes a probe of the admin interface at an address.
  public init(_ address: SocketAddress, _ question: Question) {
    self.address = address
    self.question = question
  }

  /// Asks. A task of a loop.
  public func ask(until deadline: Instant) async -> Outcome {
    do {
      let stream = try await Stream.connect(to: address, until: deadline)
      defer { stream.abort() }
      let (status, text) = try await exchange(stream, until: deadline)
      switch status {
      case .ok: return .yes(text)
      // Whoever has no time for one more connection lives.
      case .serviceUnavailable: return question == .isAlive ? .yes(text) : .no(text)
      default:
        return .unanswered(
          "what listens at \(address) answered \(status.code); is that the admin interface?")
      }
    } catch let error as StreamError {
      switch error {
      case .failed("connecting", .connectionRefused),
        .failed("connecting", .noSuchFileOrDirectory):
        return .nobody(advice(error))
      default: return .unanswered(advice(error))
      }
    } catch {
      return .unanswered(
        "what listens at \(address) does not speak HTTP as the admin interface does: \(error)")
    }
  }

  private func exchange(
    _ stream: EventLoop.Stream, until deadline: Instant
  ) async throws -> (HTTPResponse.Status, String) {
    let page =
      switch question {
      case .isAlive: AdminPage.live
      case .isReady: AdminPage.ready
      }
    let request = HTTPRequest(
      method: .get, scheme: nil, authority: "localhost", path: page.rawValue,
      headerFields: [.connection: "close"])
    try stream.write(try request.serialized())
    var input: ArraySlice<UInt8> = []
    var reader = ResponseHeadReader(answering: .get)
    // An interim response counts as the answer: what sends one is not the admin interface.
    var head: ResponseHead?
    while head == nil {
      input = try await readSome(stream, until: deadline)
      if input.isEmpty { throw MessageError.truncated }
      head = try reader.read(&input)
    }
    guard let head else { preconditionFailure("a loop ended before its condition") }
    var content: [UInt8] = []
    var body = try BodyReader(head.framing, bytesMax: Self.contentBytesMax)
    try body.read(&input, into: &content)
    while !body.isComplete {
      input = try await readSome(stream, until: deadline)
      if input.isEmpty { try body.finish() }
      try body.read(&input, into: &content)
    }
    return (head.response.status, String(decoding: content, as: UTF8.self))
  }

  private func readSome(
    _ stream: EventLoop.Stream, until deadline: Instant
  ) async throws(StreamError) -> ArraySlice<UInt8> {
    try await stream.read(max: Self.readBytes, until: deadline)[...]
  }

  private func advice(_ error: StreamError) -> String {
    switch error {
    case .failed("connecting", .connectionRefused), .failed("connecting", .noSuchFileOrDirectory):
      "nobody listens at \(address); is the program running, and does `admin: listen` say the same?"
    case .failed("connecting", .permissionDenied):
      "\(address) may not be connected to; ask as the same user or group as the program"
    case .deadlinePassed:
      "no answer from \(address) in time; does the program hang, or the machine have too little "
        + "processor time? (--timeout)"
    default:
      "asking \(address): \(error)"
    }
  }
}
