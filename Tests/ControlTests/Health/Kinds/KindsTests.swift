// SPDX-License-Identifier: Apache-2.0
// Every kind of check that talks to a server: what it makes of a good one, at once and byte by byte, of
// others, and of servers that are none of the kind and worse.

import Addressing
import Balancing
import EventLoop
import Matching
import Plan
import Reactor
import Testing

@testable import Control

typealias Step = TalkingServer.Step

/// Makes a check once, at an address.
func outcome(
  _ kind: HealthCheckPlan.Kind, at address: SocketAddress, timeout: Duration = .seconds(20)
) async -> CheckOutcome {
  guard let loop = Loop.current else { return .cancelled }
  let plan = HealthCheckPlan(kind, timeout: timeout)
  return await Check(sampleSubject(plan, at: address))
    .run(turn: 0, until: loop.now.advanced(by: timeout.wholeNanoseconds))
}

/// Expects the same of a server that answers at once and of one that does so byte by byte, and that it read
/// what it should.
func expect(
  _ kind: HealthCheckPlan.Kind, _ steps: [Step], is expected: CheckOutcome,
  _ location: SourceLocation = #_sourceLocation
) throws {
  try Loop().run {
    for isSlow in [false, true] {
      let server = try TalkingServer(steps, isSlow: isSlow)
      let found = await outcome(kind, at: server.address)
      #expect(found == expected, sourceLocation: location)
      #expect(server.surprises.isEmpty, sourceLocation: location)
    }
  }
}

private let secret = "hunter2"

private var kinds: [HealthCheckPlan.Kind] {
  [
    .http(HTTPCheckPlan(headers: [.init(name: "X-Key", value: secret)], body: secret)),
    .tls(TLSCheckPlan()),
    .exchange(
      ExchangeCheckPlan(steps: [.send(Array(secret.utf8)), .expect(Array("no way".utf8))])),
    .redis(RedisCheckPlan()),
    .redis(RedisCheckPlan(role: .master, username: "u", password: Secret(secret))),
    .postgres(PostgresCheckPlan()),
    .postgres(PostgresCheckPlan(role: .primary, password: Secret(secret))),
    .mysql(MySQLCheckPlan()), .mysql(MySQLCheckPlan(user: "u", password: Secret(secret))),
    .smtp(SMTPCheckPlan()),
  ]
}

@Suite struct KindsTests {
  @Test(arguments: kinds.indices)
  func serversThatDoNotAnswer(_ kind: Int) throws {
    try Loop().run {
      let silent = try TalkingServer([])
      let found = await outcome(
        kinds[kind], at: silent.address, timeout: .milliseconds(50))
      #expect(found == .failed(.noAnswer(within: .milliseconds(50))))
      let ending = try TalkingServer([.finish])
      switch await outcome(kinds[kind], at: ending.address) {
      case .failed(.ended), .failed(.exchange(step: 2, bytesMax: nil)): break
      case let other: Issue.record("\(other)")
      }
      let resetting = try TalkingServer([.reset])
      guard case .failed(.stream) = await outcome(kinds[kind], at: resetting.address) else {
        Issue.record("a reset")
        return
      }
    }
  }

  @Test(arguments: kinds.indices)
  func serversOfAnotherKind(_ kind: Int) throws {
    let floods: [[UInt8]] = [
      [0], [0xFF], [10], [13, 10], Array("A".utf8), Array("+".utf8), Array("220-\r\n".utf8),
      Array("$9999999\r\n".utf8), Array("R".utf8) + [0, 0, 0, 4],
      Array("S".utf8) + [0, 0, 0, 4], [22, 3, 3, 0, 1, 0], [21, 3, 3, 0, 2, 1, 90],
      [1, 0, 0, 0, 10], Array("HTTP/1.1 100 Continue\r\n\r\n".utf8), Array("*1\r\n".utf8),
    ]
    try Loop().run {
      for flood in floods {
        let server = try TalkingServer([.flood(flood)])
        let found = await outcome(kinds[kind], at: server.address)
        guard case .failed(let failure) = found else {
          Issue.record("\(flood): \(found)")
          continue
        }
        #expect(!failure.description.contains(secret))
        #expect(failure.description.utf8.count < 200)
      }
    }
  }

  /// An echo is the worst that can happen to a secret.
  @Test(arguments: kinds.indices)
  func whatIsSentIsNotTold(_ kind: Int) throws {
    for prefix in ["", "-", "-ERR ", "550 ", "E"] {
      try Loop().run {
        let server = try TalkingServer([.send(prefix), .echo])
        let found = await outcome(kinds[kind], at: server.address, timeout: .milliseconds(100))
        guard case .failed(let failure) = found else {
          Issue.record("\(prefix): \(found)")
          return
        }
        #expect(!failure.description.contains(secret), "\(failure)")
      }
    }
  }

  @Test(arguments: kinds.indices)
  func noiseIsNoAnswer(_ kind: Int) throws {
    try Loop().run {
      for seed in UInt64(0)..<20 {
        var random = SplitMix64(seed: seed)
        let noise = (0..<Int(random.next(below: 200))).map { _ in
          UInt8(truncatingIfNeeded: random.next())
        }
        let server = try TalkingServer([.send(noise), .finish])
        let found = await outcome(kinds[kind], at: server.address)
        guard case .failed = found else {
          Issue.record("seed \(seed): \(found)")
          continue
        }
      }
    }
  }

  // MARK: Exchange

  @Test func anExchangeGoesStepByStep() throws {
    let bytes = { (text: String) in Array(text.utf8) }
    let pattern = try BytePattern("^2[0-9]{2} ")
    let plan = ExchangeCheckPlan(steps: [
      .match(pattern), .send(bytes("HELLO\r\n")), .expect(bytes("hi")), .expect(bytes("hi")),
      .send([0, 255]), .expect([255, 0]),
    ])
    let start: [Step] = [.send("1 no\r\n220 ready\r\n"), .read("HELLO\r\n")]
    try expect(
      .exchange(plan), start + [.send("..hi hi"), .read([0, 255]), .send([1, 255, 0])], is: .good)
    // What was found once is not found twice.
    try expect(
      .exchange(plan), start + [.send("..hi h"), .finish],
      is: .failed(.exchange(step: 4, bytesMax: nil)))
    try expect(
      .exchange(plan), [.send("no\r\n"), .finish], is: .failed(.exchange(step: 1, bytesMax: nil)))
    let small = ExchangeCheckPlan(steps: [.expect(bytes("ok"))], answerBytesMax: 64)
    try expect(
      .exchange(small), [.send(String(repeating: "x", count: 63) + "ok"), .finish],
      is: .failed(.exchange(step: 1, bytesMax: 64)))
    try expect(
      .exchange(small), [.send(String(repeating: "x", count: 62) + "ok")], is: .good)
    let line = ExchangeCheckPlan(steps: [.match(try BytePattern("ok$"))])
    try expect(.exchange(line), [.send("ok"), .finish], is: .good)
  }

  // MARK: TLS

  private func record(_ kind: UInt8, _ body: [UInt8]) -> Step {
    .send([kind, 3, 3, UInt8(body.count >> 8), UInt8(body.count & 255)] + body)
  }

  @Test func aServerHelloIsGood() throws {
    let hello: [UInt8] = [2, 0, 0, 38, 3, 3] + Array(repeating: 7, count: 36)
    let old: [UInt8] = [2, 0, 0, 38, 3, 1] + Array(repeating: 7, count: 36)
    let tls = HealthCheckPlan.Kind.tls(TLSCheckPlan(serverName: "db.example.org"))
    try expect(tls, [record(22, hello)], is: .good)
    try expect(tls, [record(21, [1, 112]), record(22, hello)], is: .good)
    try expect(tls, [record(21, [2, 40])], is: .failed(.alert(40)))
    try expect(tls, [record(21, [1, 0])], is: .failed(.alert(0)))
    try expect(tls, [record(22, old)], is: .failed(.oldTLS(0x0100)))
    try expect(tls, [record(22, [1] + hello.dropFirst())], is: .failed(.foreign("TLS")))
    try expect(tls, [record(23, hello)], is: .failed(.foreign("TLS")))
    try expect(tls, [.send("HTTP/1.1 400 Bad Request\r\n")], is: .failed(.foreign("TLS")))
    #expect(CheckFailure.alert(40).description == "TLS alert handshake_failure")
    #expect(CheckFailure.alert(200).description == "TLS alert 200")
    #expect(
      CheckFailure.oldTLS(0x0100).description == "TLS version 1.0, older than TLS 1.2")
  }

  @Test func aClientHelloIsWellFormed() throws {
    try Loop().run {
      let server = try TalkingServer([.readAny(5), .readAny(38), .finish])
      _ = await outcome(.tls(TLSCheckPlan(serverName: "a.example")), at: server.address)
      _ = await outcome(.tls(TLSCheckPlan(serverName: "a.example")), at: server.address)
      let heads = [server.heard[0], server.heard[2]]
      #expect(heads[0] == heads[1])
      #expect(heads[0].prefix(3) == [22, 3, 1])
      // The randoms differ.
      #expect(server.heard[1] != server.heard[3])
      #expect(server.heard[1].prefix(6).dropFirst(4) == [3, 3])
    }
  }

  // MARK: Redis

  private func redis(
    _ role: RedisCheckPlan.Role? = nil, _ username: String? = nil, _ password: String? = nil
  ) -> HealthCheckPlan.Kind {
    .redis(RedisCheckPlan(role: role, username: username, password: password.map { Secret($0) }))
  }

  @Test func redisAnswersAPing() throws {
    let ping = Step.read("*1\r\n$4\r\nPING\r\n")
    let quit = Step.read("*1\r\n$4\r\nQUIT\r\n")
    try expect(redis(), [ping, .send("+PONG\r\n"), quit, .send("+OK\r\n"), .finish], is: .good)
    try expect(
      redis(nil, "me", "pw"),
      [
        .read("*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$2\r\npw\r\n"), .send("+OK\r\n"), ping,
        .send("+PONG\r\n"), quit, .finish,
      ], is: .good)
    try expect(
      redis(), [ping, .send("-LOADING Redis is loading\r\n")],
      is: .failed(.refused(WireCode("LOADING"))))
    try expect(
      redis(nil, nil, "pw"),
      [.read("*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n"), .send("-WRONGPASS pw is wrong\r\n")],
      is: .failed(.refused(WireCode("WRONGPASS"))))
    try expect(redis(), [ping, .send("+PONK\r\n")], is: .failed(.foreign("Redis")))
  }

  @Test func redisTellsItsRole() throws {
    let ask = Step.read("*1\r\n$4\r\nROLE\r\n")
    let quit = Step.read("*1\r\n$4\r\nQUIT\r\n")
    let master = "*3\r\n$6\r\nmaster\r\n:3129659\r\n*0\r\n"
    let slave = "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n$9\r\nconnected\r\n:3167038\r\n"
    try expect(redis(.master), [ask, .send(master), quit, .finish], is: .good)
    try expect(redis(.replica), [ask, .send(slave), quit, .finish], is: .good)
    try expect(
      redis(.master), [ask, .send(slave)],
      is: .failed(.role(WireCode("slave"), wanted: "master")))
    try expect(
      redis(.replica), [ask, .send(master)],
      is: .failed(.role(WireCode("master"), wanted: "replica")))
    // Those that do not have the command, or not for everybody.
    let info = "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n"
    for refusal in ["-ERR unknown command 'ROLE'", "-NOPERM this user"] {
      try expect(
        redis(.master),
        [
          ask, .send(refusal + "\r\n"), .read("*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n"),
          .send("$\(info.utf8.count)\r\n\(info)\r\n"), quit, .finish,
        ], is: .good)
    }
    try expect(
      redis(.master), [ask, .send("-NOAUTH Authentication required.\r\n")],
      is: .failed(.refused(WireCode("NOAUTH"))))
    try expect(redis(.master), [ask, .send("$-1\r\n")], is: .failed(.foreign("Redis")))
    try expect(
      redis(.master), [ask, .send("*1\r\n$999999\r\n")],
      is: .failed(.tooLong(bytesMax: 64 << 10)))
  }

  // MARK: SMTP

  @Test func aMailServerGreets() throws {
    let smtp = HealthCheckPlan.Kind.smtp(SMTPCheckPlan(hello: "me.example"))
    let hello = Step.read("EHLO me.example\r\n")
    try expect(
      smtp,
      [
        .send("220-mail.example\r\n220 ESMTP\r\n"), hello, .send("250-a\r\n250-SIZE\r\n250 OK\r\n"),
        .read("QUIT\r\n"), .send("221 bye\r\n"), .finish,
      ], is: .good)
    try expect(
      smtp, [.send("421 too busy\r\n"), .finish], is: .failed(.refused(WireCode("421"))))
    try expect(
      smtp, [.send("220 hi\n"), hello, .send("550 no\r\n"), .read("QUIT\r\n"), .finish],
      is: .failed(.refused(WireCode("550"))))
    try expect(smtp, [.send("SSH-2.0\r\n")], is: .failed(.foreign("SMTP")))
    try expect(smtp, [.send("220x\r\n")], is: .failed(.foreign("SMTP")))
    let long = "220 " + String(repeating: "x", count: 70_000)
    try expect(smtp, [.send(long)], is: .failed(.tooLong(bytesMax: 64 << 10)))
  }
}
