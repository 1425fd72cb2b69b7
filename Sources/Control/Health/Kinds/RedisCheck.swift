// SPDX-License-Identifier: Apache-2.0
// Redis, and what speaks its protocol (RESP 2): PING, or the server's own word about its role. A server
// that is still loading its data says so to PING, and fails.

import Plan

/// PING, or ROLE.
struct RedisCheck: ConversationCheck {
  private let plan: RedisCheckPlan
  let answerBytesMax = 64 << 10

  init(_ plan: RedisCheckPlan) {
    self.plan = plan
  }

  func ask(_ talk: inout Conversation) async throws(CheckStop) {
    if let password = plan.password {
      try talk.send(command(["AUTH"] + (plan.username.map { [$0] } ?? []) + [password.text]))
      let answer = try await line(&talk)
      guard answer.elementsEqual("+OK".utf8) else { throw .failed(.foreign("Redis")) }
    }
    if let role = plan.role {
      let found = try await askRole(&talk)
      guard role.words.contains(found.description) else {
        throw .failed(.role(found, wanted: role.words[0]))
      }
    } else {
      try talk.send(command(["PING"]))
      let answer = try await line(&talk)
      guard answer.elementsEqual("+PONG".utf8) else { throw .failed(.foreign("Redis")) }
    }
    await talk.leave(command(["QUIT"]))
  }

  /// What the server says of its role.
  private func askRole(_ talk: inout Conversation) async throws(CheckStop) -> WireCode {
    try talk.send(command(["ROLE"]))
    do throws(CheckStop) {
      // A list, whose first item is the role: "*3", "$6", "master". The rest is not read.
      let head = try await line(&talk)
      guard head.first == UInt8(ascii: "*") else { throw .failed(.foreign("Redis")) }
      return WireCode(try await text(&talk))
    } catch CheckStop.failed(.refused(let code)) {
      // Not every server has the command, and not everybody may use it.
      guard ["ERR", "NOPERM"].contains(code.description) else { throw .failed(.refused(code)) }
    } catch {
      throw error
    }
    try talk.send(command(["INFO", "replication"]))
    let lines = try await text(&talk).split(separator: UInt8(ascii: "\n"))
    guard let line = lines.first(where: { $0.starts(with: "role:".utf8) }) else {
      throw .failed(.foreign("Redis"))
    }
    return WireCode(line.dropFirst(5))
  }

  /// A text with its length before it.
  private func text(_ talk: inout Conversation) async throws(CheckStop) -> [UInt8] {
    let head = try await line(&talk)
    guard head.first == UInt8(ascii: "$"), head.count <= 8,
      let count = Int(String(decoding: head.dropFirst(), as: UTF8.self)), count >= 0
    else { throw .failed(.foreign("Redis")) }
    return try await talk.receive(exactly: count + 2).dropLast(2)
  }

  /// A line that is no refusal.
  private func line(_ talk: inout Conversation) async throws(CheckStop) -> [UInt8] {
    let line = try await talk.receiveLine()
    guard line.first == UInt8(ascii: "-") else { return line }
    throw .failed(.refused(WireCode(line.dropFirst())))
  }

  private func command(_ words: [String]) -> [UInt8] {
    var bytes = Array("*\(words.count)\r\n".utf8)
    for word in words { bytes += Array("$\(word.utf8.count)\r\n\(word)\r\n".utf8) }
    return bytes
  }
}

extension RedisCheckPlan.Role {
  /// What servers call it; the first is ours.
  fileprivate var words: [String] {
    switch self {
    case .master: ["master", "primary"]
    case .replica: ["replica", "slave"]
    }
  }
}
