// SPDX-License-Identifier: Apache-2.0
// PostgreSQL (its frontend/backend protocol, version 3.0). A server that asks who is there, or knows why it
// will not let this one in, serves; one that is starting, ending or recovering says so with a code of its
// own, and fails. For a role, the check logs in and asks `pg_is_in_recovery()`.

import EventLoop
import Plan

/// A startup, and perhaps a login and a question.
struct PostgresCheck: ConversationCheck {
  /// What a server that serves may answer to a stranger: classes of SQLSTATE (invalid authorization, no
  /// such database), and that it has as many clients as it takes.
  private static let servingCodes = ["28", "3D", "53300"]
  private static let question = "SELECT pg_catalog.pg_is_in_recovery()"

  private let plan: PostgresCheckPlan
  private let keys = PasswordKeys()
  let answerBytesMax = 64 << 10

  init(_ plan: PostgresCheckPlan) {
    self.plan = plan
  }

  func ask(_ talk: inout Conversation) async throws(CheckStop) {
    try talk.send(
      PostgresMessage.startup([
        ("user", plan.user), ("database", plan.database), ("application_name", "sluice"),
      ]))
    let first = try await PostgresMessage.receive(&talk)
    guard plan.logsIn else { return try await settle(first, &talk) }
    try await logIn(first, &talk)
    try await waitReady(&talk)
    guard let role = plan.role else { return await talk.leave(PostgresMessage.terminate) }
    try talk.send(PostgresMessage.framed("Q", Array(PostgresCheck.question.utf8) + [0]))
    let found = try await readRole(&talk)
    await talk.leave(PostgresMessage.terminate)
    guard found == role else { throw .failed(.role(WireCode(found.word), wanted: role.word)) }
  }

  /// The first answer is enough.
  private func settle(
    _ first: PostgresMessage, _ talk: inout Conversation
  ) async throws(CheckStop) {
    switch first.kind {
    case UInt8(ascii: "R"):
      guard let request = first.number else { throw foreign }
      // Behind a request there is no goodbye but to hang up.
      if request == 0 {
        await talk.leave(PostgresMessage.terminate)
      } else {
        await talk.hangUp()
      }
    case UInt8(ascii: "E"):
      guard let code = first.errorCode else { throw foreign }
      guard PostgresCheck.servingCodes.contains(where: code.hasPrefix) else {
        throw .failed(.refused(WireCode(code)))
      }
    default: throw foreign
    }
  }

  // MARK: Logging in

  private func logIn(_ first: PostgresMessage, _ talk: inout Conversation) async throws(CheckStop) {
    var message = first
    // Each method asks once or twice.
    for _ in 0..<4 {
      try message.check()
      guard message.kind == UInt8(ascii: "R"), let request = message.number else { throw foreign }
      let password = Array((plan.password?.text ?? "").utf8)
      if request != 0, plan.password == nil {
        await talk.hangUp()
        throw .failed(.login("the server wants a password, and the check has none"))
      }
      switch request {
      case 0: return
      case 3: try talk.send(PostgresMessage.framed("p", password + [0]))
      case 5:
        let known = MD5.hexadecimal(password + Array(plan.user.utf8))
        let proof = Array("md5".utf8) + MD5.hexadecimal(known + message.body.dropFirst(4).prefix(4))
        try talk.send(PostgresMessage.framed("p", proof + [0]))
      case 10: try await proveByScram(message, password, &talk)
      default:
        throw .failed(.login("the server wants a method that checks do not have (\(request))"))
      }
      message = try await PostgresMessage.receive(&talk)
    }
    throw foreign
  }

  /// SCRAM-SHA-256 (RFC 5802, RFC 7677).
  private func proveByScram(
    _ offer: PostgresMessage, _ password: [UInt8], _ talk: inout Conversation
  ) async throws(CheckStop) {
    let mechanism = Array("SCRAM-SHA-256".utf8)
    guard
      offer.body.dropFirst(4).split(separator: 0).contains(where: { $0.elementsEqual(mechanism) })
    else { throw .failed(.login("the server does not offer SCRAM-SHA-256")) }
    var client = ScramClient()
    let hello = client.first
    try talk.send(
      PostgresMessage.framed(
        "p", mechanism + [0] + PostgresMessage.bytes(UInt32(hello.count)) + hello))
    let challenge = try await scramStep(11, &talk)
    guard let wanted = client.read(challenge) else { throw foreign }
    guard wanted.rounds <= ScramChallenge.roundsMax else {
      throw .failed(
        .login(
          "the server wants \(wanted.rounds) rounds of SCRAM, more than \(ScramChallenge.roundsMax)"
        ))
    }
    let key = try await keys.key(password, wanted, until: talk.deadline)
    try talk.send(PostgresMessage.framed("p", client.proof(key)))
    let signature = try await scramStep(12, &talk)
    guard client.isSigned(signature) else {
      throw .failed(.login("the server does not prove that it knows the password"))
    }
  }

  private func scramStep(
    _ step: UInt32, _ talk: inout Conversation
  ) async throws(CheckStop) -> [UInt8] {
    let message = try await PostgresMessage.receive(&talk)
    try message.check()
    guard message.kind == UInt8(ascii: "R"), message.number == step else { throw foreign }
    return Array(message.body.dropFirst(4))
  }

  // MARK: The question

  /// Reads what a server tells about itself, until it waits for a query.
  private func waitReady(_ talk: inout Conversation) async throws(CheckStop) {
    while true {
      let message = try await PostgresMessage.receive(&talk)
      try message.check()
      switch message.kind {
      case UInt8(ascii: "Z"): return
      case UInt8(ascii: "S"), UInt8(ascii: "K"), UInt8(ascii: "N"): continue
      default: throw foreign
      }
    }
  }

  private func readRole(
    _ talk: inout Conversation
  ) async throws(CheckStop) -> PostgresCheckPlan.Role {
    while true {
      let message = try await PostgresMessage.receive(&talk)
      try message.check()
      switch message.kind {
      case UInt8(ascii: "T"), UInt8(ascii: "N"), UInt8(ascii: "S"): continue
      case UInt8(ascii: "D"):
        // One column of one byte.
        if message.body.elementsEqual([0, 1, 0, 0, 0, 1, UInt8(ascii: "t")]) { return .standby }
        if message.body.elementsEqual([0, 1, 0, 0, 0, 1, UInt8(ascii: "f")]) { return .primary }
        throw foreign
      default: throw foreign
      }
    }
  }
}

private var foreign: CheckStop { .failed(.foreign("PostgreSQL")) }

extension PostgresCheckPlan.Role {
  fileprivate var word: String {
    switch self {
    case .primary: "primary"
    case .standby: "standby"
    }
  }
}

/// A message from a server.
struct PostgresMessage {
  let kind: UInt8
  let body: [UInt8]

  /// Receives the next one.
  static func receive(_ talk: inout Conversation) async throws(CheckStop) -> PostgresMessage {
    let head = try await talk.receive(exactly: 5)
    let count = head[1...].reduce(0) { $0 << 8 | Int($1) } - 4
    // What is no server of this kind has something else than a letter there, or a huge length.
    guard (0x41...0x7A).contains(head[0]), count >= 0, count <= 32 << 10 else { throw foreign }
    return PostgresMessage(kind: head[0], body: try await talk.receive(exactly: count))
  }

  /// The number in front.
  var number: UInt32? {
    body.count >= 4 ? body.prefix(4).reduce(0) { $0 << 8 | UInt32($1) } : nil
  }

  /// The SQLSTATE of an error: fields, each with its letter in front and a zero behind.
  var errorCode: String? {
    let field = body.split(separator: 0).first { $0.first == UInt8(ascii: "C") }
    guard let field, field.count == 6 else { return nil }
    return WireCode(field.dropFirst()).description
  }

  /// Throws if this is an error.
  func check() throws(CheckStop) {
    guard kind == UInt8(ascii: "E") else { return }
    guard let code = errorCode else { throw foreign }
    throw .failed(.refused(WireCode(code)))
  }

  static func framed(_ kind: Unicode.Scalar, _ body: [UInt8]) -> [UInt8] {
    [UInt8(ascii: kind)] + bytes(UInt32(body.count + 4)) + body
  }

  static func startup(_ parameters: [(String, String)]) -> [UInt8] {
    var texts: [UInt8] = []
    for (name, value) in parameters { texts += Array(name.utf8) + [0] + Array(value.utf8) + [0] }
    texts.append(0)
    return bytes(UInt32(texts.count + 8)) + bytes(0x0003_0000) + texts
  }

  static let terminate = framed("X", [])

  static func bytes(_ number: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * UInt32($0))) }
  }
}
