// SPDX-License-Identifier: Apache-2.0
// A visit to a MySQL or MariaDB server: its greeting is read, the handshake is finished, and a session
// that came about is closed by its command (COM_QUIT). Who leaves in the middle of the handshake is
// counted by the server, and its whole host shut out after `max_connect_errors` of that. Who finishes
// it without being let in is counted as well (`Aborted_connects`), but never shut out. So the handshake
// is always finished, also when it is clear that it leads to nothing; and with a user who is let in,
// nothing is counted at all.

import Plan

/// Greeting, login, goodbye.
struct MySQLCheck: ConversationCheck {
  /// Who nobody has to know.
  static let strangerName = "sluice"
  /// The answers of a server that does not know somebody: access denied, with and without a password, to a
  /// database, and from this host.
  private static let strangerCodes = [1044, 1045, 1698, 1130]

  private let plan: MySQLCheckPlan
  let answerBytesMax = 64 << 10
  let endsInItsOwnTime = true

  init(_ plan: MySQLCheckPlan) {
    self.plan = plan
  }

  func ask(_ talk: inout Conversation) async throws(CheckStop) {
    var packet = try await receive(&talk)
    guard packet.body.first != 0xFF else { throw failure(packet.body) }
    guard var greeting = MySQLGreeting(packet.body) else { throw .failed(.foreign("MySQL")) }
    // What the server begins with need not be what it wants of this user: if it is, it says so again.
    if answer(greeting) == nil { greeting.method = MySQLGreeting.native }
    send(
      greeting.response(user: plan.user ?? MySQLCheck.strangerName, answer(greeting) ?? []),
      number: packet.number &+ 1, &talk)
    // The server may want another method, and one of them says something in between.
    for _ in 0..<4 {
      packet = try await receive(&talk)
      switch packet.body.first {
      case 0x00:
        await talk.leave(MySQLCheck.framed([1], number: 0))
        return
      case 0xFF:
        if plan.user == nil, let code = errorCode(packet.body),
          MySQLCheck.strangerCodes.contains(code)
        {
          return
        }
        throw failure(packet.body)
      case 0xFE:
        guard let greeting = MySQLGreeting(switchRequest: packet.body) else {
          throw await giveUp(
            "the server wants passwords as MySQL 4.0 had them", after: packet.number, &talk)
        }
        guard let answer = answer(greeting) else {
          throw await giveUp(
            "the server wants the method \(WireCode(greeting.method))", after: packet.number, &talk)
        }
        send(answer, number: packet.number &+ 1, &talk)
      case 0x01 where packet.body == [1, 3]: continue
      case 0x01 where packet.body == [1, 4]:
        throw await giveUp(
          "the server wants TLS for this password, which checks do not have",
          after: packet.number, &talk)
      default: throw .failed(.foreign("MySQL"))
      }
    }
    throw .failed(.foreign("MySQL"))
  }

  /// What proves to know the password by the method of the greeting; nothing when there is none, and `nil`
  /// for a method that is not known here.
  private func answer(_ greeting: MySQLGreeting) -> [UInt8]? {
    guard let password = plan.password, !password.text.isEmpty else { return [] }
    return greeting.answer(Array(password.text.utf8))
  }

  /// Proves nothing, and takes the refusal, with which the handshake is at its end. What goes wrong by then
  /// makes no difference. Returns what there is to say about it.
  private func giveUp(
    _ reason: String, after number: UInt8, _ talk: inout Conversation
  ) async -> CheckStop {
    send([], number: number &+ 1, &talk)
    do throws(CheckStop) {
      _ = try await receive(&talk)
    } catch {}
    return .failed(.login(reason))
  }

  private func errorCode(_ body: [UInt8]) -> Int? {
    body.count >= 3 ? Int(body[1]) | Int(body[2]) << 8 : nil
  }

  private func failure(_ body: [UInt8]) -> CheckStop {
    guard let code = errorCode(body) else { return .failed(.foreign("MySQL")) }
    return .failed(.refused(WireCode("\(code)")))
  }

  // MARK: Packets

  private func receive(
    _ talk: inout Conversation
  ) async throws(CheckStop) -> (number: UInt8, body: [UInt8]) {
    let head = try await talk.receive(exactly: 4)
    let count = Int(head[0]) | Int(head[1]) << 8 | Int(head[2]) << 16
    guard count > 0, count < 16 << 10 else { throw .failed(.foreign("MySQL")) }
    return (head[3], try await talk.receive(exactly: count))
  }

  /// What cannot be sent shows when the answer is read.
  private func send(_ body: [UInt8], number: UInt8, _ talk: inout Conversation) {
    try? talk.send(MySQLCheck.framed(body, number: number))
  }

  static func framed(_ body: [UInt8], number: UInt8) -> [UInt8] {
    (0..<3).map { UInt8(truncatingIfNeeded: body.count >> (8 * $0)) } + [number] + body
  }
}

/// What a server says first (protocol version 10), as far as it matters for logging in.
struct MySQLGreeting {
  /// The method that every server knows, and the one of those that name none.
  static let native = Array("mysql_native_password".utf8)

  /// How passwords are proven to be known.
  fileprivate(set) var method: [UInt8]
  /// What is mixed in, so that no proof is good twice.
  let challenge: [UInt8]

  /// Reads a greeting; `nil` if it is none.
  init?(_ body: [UInt8]) {
    guard body.first == 10, let version = body.dropFirst().firstIndex(of: 0) else { return nil }
    // Behind the version: thread (4), challenge (8), filler (1), capabilities (2); then character set (1),
    // status (2), capabilities (2), length of the challenge (1), filler (10), the rest of it.
    var rest = body[(version + 1)...]
    guard rest.count >= 15 else { return nil }
    let first = rest.dropFirst(4).prefix(8)
    rest = rest.dropFirst(15)
    var second: ArraySlice<UInt8> = []
    var name: ArraySlice<UInt8> = []
    if rest.count >= 16 {
      let count = Int(rest[rest.startIndex + 5])
      rest = rest.dropFirst(16)
      second = rest.prefix(max(13, count - 8))
      name = rest.dropFirst(second.count).prefix { $0 != 0 }
      if second.last == 0 { second = second.dropLast() }
    }
    challenge = Array(first + second)
    method = name.isEmpty ? MySQLGreeting.native : Array(name)
  }

  /// Reads the wish for another method; `nil` if it is the one of old, which has no name.
  init?(switchRequest body: [UInt8]) {
    guard let end = body.dropFirst().firstIndex(of: 0) else { return nil }
    method = Array(body[1..<end])
    let rest = body[(end + 1)...]
    challenge = Array(rest.last == 0 ? rest.dropLast() : rest)
  }

  /// The proof for a password; `nil` for a method that is not known here.
  func answer(_ password: [UInt8]) -> [UInt8]? {
    if method == MySQLGreeting.native {
      let once = SHA1.digest(password)
      return zip(once, SHA1.digest(challenge + SHA1.digest(once))).map { $0 ^ $1 }
    }
    if method.elementsEqual("caching_sha2_password".utf8) {
      let once = SHA256.digest(password)
      return zip(once, SHA256.digest(SHA256.digest(once) + challenge)).map { $0 ^ $1 }
    }
    return nil
  }

  /// The answer to a greeting.
  func response(user: String, _ answer: [UInt8]) -> [UInt8] {
    // Protocol 4.1, passwords of 4.1, methods by name.
    let capabilities: UInt32 = 0x200 | 0x8000 | 0x8_0000
    var body = (0..<4).map { UInt8(truncatingIfNeeded: capabilities >> (8 * UInt32($0))) }
    // Packets of up to 16 MiB, in UTF-8.
    body += [0, 0, 0, 1, 45] + Array(repeating: 0, count: 23)
    body += Array(user.utf8) + [0, UInt8(answer.count)] + answer + method + [0]
    return body
  }
}
