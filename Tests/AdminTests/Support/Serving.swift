// SPDX-License-Identifier: Apache-2.0
// A server on a loop of its own, and clients on the same loop that say exactly what a test wants.

import Addressing
import EventLoop
import HTTP1
import HTTPTypes
import Plan
import Reactor
import Testing

@testable import Admin

/// How long a test waits for what must happen.
let patience: UInt64 = 20_000_000_000

extension AdminLimits {
  /// Limits that nothing in a test reaches by being slow.
  static let patient: AdminLimits = {
    var limits = AdminLimits(
      AdminPlan(listen: .v4(.loopback, port: 0), timeout: .nanoseconds(patience)))
    limits.collect = .nanoseconds(patience)
    return limits
  }()
}

extension AdminSource {
  /// Ready, with every metric.
  static let complete = AdminSource(
    readiness: { Readiness() }, metrics: { _ in .complete })
}

/// Runs a server at `address`, and `body` beside it; then cancels the server and waits for its end.
func serving(
  _ source: AdminSource = .complete, _ limits: AdminLimits = .patient,
  at address: SocketAddress = .v4(.loopback, port: 0),
  _ body: @escaping @Sendable (_ server: AdminServer, _ loop: Loop) async throws -> Void
) throws {
  let loop = try Loop()
  try loop.run {
    let server = try AdminServer(at: address, limits: limits, source: source)
    let task = loop.spawn(name: "server") { await server.run() }
    do {
      try await body(server, loop)
    } catch {
      task.cancel()
      throw error
    }
    task.cancel()
    try await task.value
  }
}

/// An answer.
struct Answer {
  var status: Int
  var fields: HTTPFields
  var text: String
  var keepsConnection: Bool
}

/// A client that sends bytes and reads answers.
struct Client {
  let stream: EventLoop.Stream
  private var input: ArraySlice<UInt8> = []

  init(_ server: AdminServer) async throws {
    stream = try await Stream.connect(to: server.address, until: Client.deadline)
  }

  static var deadline: Instant {
    Loop.current!.now.advanced(by: patience)
  }

  func send(_ text: String) throws {
    try stream.write(Array(text.utf8))
  }

  /// The next answer; `nil` at the end of the stream.
  mutating func answer(to method: HTTPRequest.Method = .get) async throws -> Answer? {
    var reader = ResponseHeadReader(answering: method)
    while true {
      if let head = try reader.read(&input) {
        var content: [UInt8] = []
        var body = try BodyReader(head.framing, bytesMax: 1 << 28)
        try body.read(&input, into: &content)
        while !body.isComplete {
          input = try await stream.read(until: Client.deadline)[...]
          if input.isEmpty { try body.finish() }
          try body.read(&input, into: &content)
        }
        return Answer(
          status: head.response.status.code, fields: head.response.headerFields,
          text: String(decoding: content, as: UTF8.self), keepsConnection: head.keepsConnection)
      }
      input = try await stream.read(until: Client.deadline)[...]
      if input.isEmpty { return nil }
    }
  }

  /// Sends a request and returns its answer.
  mutating func get(_ path: String, _ fields: String = "") async throws -> Answer {
    try send("GET \(path) HTTP/1.1\r\nHost: localhost\r\n\(fields)\r\n")
    return try #require(try await answer())
  }

  /// Whether the server ends the connection, in whichever way, without another word.
  mutating func isEnded() async throws -> Bool {
    guard input.isEmpty else { return false }
    do {
      return try await stream.read(until: Client.deadline).isEmpty
    } catch StreamError.failed {
      return true
    }
  }
}

/// What `read` says, asked again and again until it is not `nil`.
func wait<Value>(_ loop: Loop, for read: () async throws -> Value?) async throws -> Value {
  let deadline = loop.now.advanced(by: patience)
  while loop.now < deadline {
    if let value = try await read() { return value }
    try await loop.sleep(for: .milliseconds(2))
  }
  throw WaitError.deadlinePassed
}
