// SPDX-License-Identifier: Apache-2.0
// PostgreSQL and MySQL as the other side sees them: what is asked, what is proven, how it is left.

import EventLoop
import Plan
import Reactor
import Testing

@testable import Control

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct DatabaseKindsTests {
  // MARK: PostgreSQL

  private func message(_ kind: Unicode.Scalar, _ body: [UInt8]) -> [UInt8] {
    PostgresMessage.framed(kind, body)
  }

  private func request(_ number: UInt32, _ rest: [UInt8] = []) -> [UInt8] {
    message("R", PostgresMessage.bytes(number) + rest)
  }

  private func error(_ code: String) -> Step {
    .send(message("E", bytes("SFATAL\0VFATAL\0C\(code)\0Mwhy hunter2\0") + [0]))
  }

  private func postgres(
    _ role: PostgresCheckPlan.Role? = nil, _ password: String? = nil
  ) -> HealthCheckPlan.Kind {
    .postgres(
      PostgresCheckPlan(
        role: role, user: "me", database: "db", password: password.map { Secret($0) }))
  }

  private var startup: Step {
    let parameters = bytes("user\0me\0database\0db\0application_name\0sluice\0\0")
    return .read(
      PostgresMessage.bytes(UInt32(parameters.count + 8)) + [0, 3, 0, 0] + parameters)
  }

  private var ready: [UInt8] {
    message("S", bytes("server_version\u{0}17\0")) + message("K", [0, 0, 0, 1, 0, 0, 0, 2])
      + message("N", bytes("Mnotice\0\0")) + message("Z", bytes("I"))
  }

  private var query: Step { .read(message("Q", bytes("SELECT pg_catalog.pg_is_in_recovery()\0"))) }

  private func row(_ value: String) -> Step {
    .send(
      message("T", [0, 1]) + message("D", [0, 1, 0, 0, 0, 1] + bytes(value))
        + message("C", bytes("SELECT 1\0")) + message("Z", bytes("I")))
  }

  @Test func anyWordOfAPostgresThatServesIsGood() throws {
    let goodbye = Step.read(PostgresMessage.terminate)
    try expect(postgres(), [startup, .send(request(0)), goodbye, .finish], is: .good)
    try expect(postgres(), [startup, .send(request(3)), .finish], is: .good)
    try expect(
      postgres(), [startup, .send(request(10, bytes("SCRAM-SHA-256\0\0"))), .finish], is: .good)
    for code in ["28000", "28P01", "3D000", "53300"] {
      try expect(postgres(), [startup, error(code), .finish], is: .good)
    }
    for code in ["57P03", "57P01", "53200", "XX000", "0A000"] {
      try expect(
        postgres(), [startup, error(code), .finish], is: .failed(.refused(WireCode(code))))
    }
    try expect(postgres(), [.send("HTTP/1.1 400 Bad")], is: .failed(.foreign("PostgreSQL")))
    try expect(
      postgres(), [.send(message("E", bytes("Mno code\0\0")))], is: .failed(.foreign("PostgreSQL")))
  }

  @Test func aRoleIsAskedForBehindALogin() throws {
    let goodbye = Step.read(PostgresMessage.terminate)
    for (role, value) in [(PostgresCheckPlan.Role.primary, "f"), (.standby, "t")] {
      try expect(
        postgres(role), [startup, .send(request(0) + ready), query, row(value), goodbye, .finish],
        is: .good)
    }
    try expect(
      postgres(.primary), [startup, .send(request(0) + ready), query, row("t"), goodbye, .finish],
      is: .failed(.role(WireCode("standby"), wanted: "primary")))
    try expect(
      postgres(.standby), [startup, .send(request(0) + ready), query, row("f"), goodbye, .finish],
      is: .failed(.role(WireCode("primary"), wanted: "standby")))
    try expect(
      postgres(.primary), [startup, .send(request(0) + ready), query, row("x")],
      is: .failed(.foreign("PostgreSQL")))
    try expect(
      postgres(.primary), [startup, .send(request(0) + ready), query, error("42501")],
      is: .failed(.refused(WireCode("42501"))))
    try expect(
      postgres(.primary), [startup, .send(request(3)), .finish],
      is: .failed(.login("the server wants a password, and the check has none")))
    try expect(
      postgres(.primary), [startup, error("28000")], is: .failed(.refused(WireCode("28000"))))
  }

  @Test func passwordsAreProvenAsTheServerWants() throws {
    let end: [Step] = [.send(request(0) + ready), .read(PostgresMessage.terminate), .finish]
    try expect(
      postgres(nil, "pw"), [startup, .send(request(3)), .read(message("p", bytes("pw\0")))] + end,
      is: .good)
    // md5(md5("pwme") + salt), by another implementation.
    try expect(
      postgres(nil, "pw"),
      [
        startup, .send(request(5, [1, 2, 3, 4])),
        .read(message("p", bytes("md596a0ef0da7c9c4c77c22c155d8ef42d4\0"))),
      ] + end, is: .good)
    try expect(
      postgres(nil, "pw"), [startup, .send(request(7))],
      is: .failed(.login("the server wants a method that checks do not have (7)")))
    try expect(
      postgres(nil, "pw"), [startup, .send(request(10, bytes("OTHER\0\0")))],
      is: .failed(.login("the server does not offer SCRAM-SHA-256")))
    try expect(
      postgres(nil, "pw"),
      [startup, .send(request(3)), .read(message("p", bytes("pw\0"))), error("28P01")],
      is: .failed(.refused(WireCode("28P01"))))
  }

  @Test func aServerMustKnowThePasswordToo() throws {
    let scram = request(10, bytes("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"))
    // The client's first message: 'p', length, mechanism, length, "n,,n=,r=" and 24 signs.
    let first = 1 + 4 + 14 + 4 + 8 + 24
    let challenge: @Sendable ([UInt8]) -> [UInt8] = { said in
      PostgresMessage.framed(
        "R",
        PostgresMessage.bytes(11) + bytes("r=") + said.suffix(24) + bytes("more,s=AAAA,i=1000"))
    }
    try Loop().run {
      let server = try TalkingServer([
        startup, .send(scram), .readAny(first), .answer(challenge),
        .readAny(1 + 4 + 9 + 28 + 3 + 44), .send(request(12, bytes("v=AAAA"))),
      ])
      let found = await outcome(postgres(nil, "pw"), at: server.address)
      #expect(
        found == .failed(.login("the server does not prove that it knows the password")))
      let begin = bytes("SCRAM-SHA-256\0") + [0, 0, 0, 32] + bytes("n,,n=,r=")
      #expect(server.heard.first?.dropFirst(5).starts(with: begin) == true)
      #expect(server.heard.last?.dropFirst(5).starts(with: bytes("c=biws,r=")) == true)
    }
    try expect(
      postgres(nil, "pw"),
      [
        startup, .send(scram), .readAny(first),
        .send(request(11, bytes("r=other,s=AAAA,i=4096"))),
      ], is: .failed(.foreign("PostgreSQL")))
    let endless: @Sendable ([UInt8]) -> [UInt8] = { said in
      PostgresMessage.framed(
        "R",
        PostgresMessage.bytes(11) + bytes("r=") + said.suffix(24) + bytes("more,s=AAAA,i=100001"))
    }
    try expect(
      postgres(nil, "pw"), [startup, .send(scram), .readAny(first), .answer(endless)],
      is: .failed(.login("the server wants 100001 rounds of SCRAM, more than 100000")))
  }

  // MARK: MySQL

  private func packet(_ number: UInt8, _ body: [UInt8]) -> [UInt8] {
    MySQLCheck.framed(body, number: number)
  }

  private func greeting(_ method: String = "mysql_native_password") -> [UInt8] {
    packet(
      0,
      [10] + bytes("11.8-MariaDB\0") + [1, 0, 0, 0] + bytes("abcdefgh") + [0, 0xFF, 0xF7, 45, 2, 0]
        + [0xFF, 0x81, 21] + Array(repeating: 0, count: 10) + bytes("ijklmnopqrst\0")
        + bytes("\(method)\0"))
  }

  private func mysql(_ user: String? = nil, _ password: String? = nil) -> HealthCheckPlan.Kind {
    .mysql(MySQLCheckPlan(user: user, password: password.map { Secret($0) }))
  }

  private func response(
    _ user: String, _ proof: [UInt8] = [], _ method: String = "mysql_native_password"
  ) -> Step {
    let head: [UInt8] = [0, 0x82, 8, 0, 0, 0, 0, 1, 45] + Array(repeating: 0, count: 23)
    let body = head + bytes("\(user)\0") + [UInt8(proof.count)] + proof + bytes("\(method)\0")
    return .read(packet(1, body))
  }

  private func refusal(_ number: UInt8, _ code: Int) -> Step {
    .send(packet(number, [0xFF, UInt8(code & 255), UInt8(code >> 8)] + bytes("#28000hunter2")))
  }

  private var ok: [UInt8] { [0, 0, 0, 2, 0, 0, 0] }
  private var goodbye: Step { .read([1, 0, 0, 0, 1]) }

  @Test func whoIsLetInSaysGoodbye() throws {
    try expect(
      mysql("me"), [.send(greeting()), response("me"), .send(packet(2, ok)), goodbye, .finish],
      is: .good)
    // A stranger may be refused, a user who is named may not.
    try expect(
      mysql(), [.send(greeting()), response("sluice"), refusal(2, 1045), .finish], is: .good)
    try expect(
      mysql("me"), [.send(greeting()), response("me"), refusal(2, 1045)],
      is: .failed(.refused(WireCode("1045"))))
    try expect(mysql(), [refusal(0, 1040)], is: .failed(.refused(WireCode("1040"))))
    try expect(mysql(), [refusal(0, 1129)], is: .failed(.refused(WireCode("1129"))))
    try expect(mysql(), [.send(packet(0, [9, 0]))], is: .failed(.foreign("MySQL")))
    try expect(mysql(), [.send([0xFF, 0xFF, 0xFF, 0, 1])], is: .failed(.foreign("MySQL")))
  }

  @Test func passwordsAreProvenByTheMethodOfTheServer() throws {
    let (native, sha2) = try proofs()
    try expect(
      mysql("me", "pw"),
      [.send(greeting()), response("me", native), .send(packet(2, ok)), goodbye, .finish], is: .good
    )
    let caching = "caching_sha2_password"
    try expect(
      mysql("me", "pw"),
      [
        .send(greeting(caching)), response("me", sha2, caching), .send(packet(2, [1, 3])),
        .send(packet(3, ok)), goodbye, .finish,
      ], is: .good)
    // The server may change its mind.
    let change = packet(2, [0xFE] + bytes("mysql_native_password\0abcdefghijklmnopqrst\0"))
    try expect(
      mysql("me", "pw"),
      [
        .send(greeting(caching)), response("me", sha2, caching), .send(change),
        .read(packet(3, native)), .send(packet(4, ok)), goodbye, .finish,
      ], is: .good)
  }

  @Test func theHandshakeIsFinishedAlsoWhereItLeadsToNothing() throws {
    let (native, sha2) = try proofs()
    let caching = "caching_sha2_password"
    let nothing = Step.read(packet(3, []))
    try expect(
      mysql("me", "pw"),
      [
        .send(greeting(caching)), response("me", sha2, caching), .send(packet(2, [1, 4])), nothing,
        refusal(4, 1045), .finish,
      ], is: .failed(.login("the server wants TLS for this password, which checks do not have")))
    // What it begins with may not be what it wants of this user.
    for method in ["client_ed25519", "sha256_password"] {
      try expect(
        mysql("me", "pw"),
        [.send(greeting(method)), response("me", native), .send(packet(2, ok)), goodbye, .finish],
        is: .good)
      let change = packet(2, [0xFE] + bytes("\(method)\0abcdefghijklmnopqrst\0"))
      try expect(
        mysql("me", "pw"),
        [
          .send(greeting(method)), response("me", native), .send(change), nothing,
          refusal(4, 1045), .finish,
        ], is: .failed(.login("the server wants the method \(method)")))
    }
    try expect(
      mysql("me", "pw"),
      [
        .send(greeting()), response("me", native), .send(packet(2, [0xFE])), nothing,
        refusal(4, 1045), .finish,
      ], is: .failed(.login("the server wants passwords as MySQL 4.0 had them")))
  }

  /// What proves `pw` against `abcdefghijklmnopqrst`, by another implementation.
  private func proofs() throws -> (native: [UInt8], sha2: [UInt8]) {
    (
      try fromHexadecimal("12909d72d875523f8c9d6da44cbd3a6c1ce794db"),
      try fromHexadecimal("ad439090e1914151d1a7f6bf7c21561d283f2fba52fe39ce9dcd29d687813c2c")
    )
  }

  private func fromHexadecimal(_ text: String) throws -> [UInt8] {
    let digits = Array(text)
    return try stride(from: 0, to: digits.count, by: 2).map {
      try #require(UInt8(String(digits[$0..<$0 + 2]), radix: 16))
    }
  }
}
