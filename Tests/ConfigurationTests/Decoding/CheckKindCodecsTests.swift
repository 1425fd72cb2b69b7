// SPDX-License-Identifier: Apache-2.0
// The kinds of checks in the file: what reaches the plan, what is refused in which words, and that no
// report shows a password.

import Addressing
import Matching
import Plan
import Testing

@testable import Configuration

private func file(_ check: String, more: String = "") -> String {
  """
  routes: {r: {listen: ":1", to: u}}
  upstreams: {u: {endpoints: ["h:1"], check: \(check)\(more)}}

  """
}

@Suite struct CheckKindCodecsTests {
  private func check(_ text: String) throws -> HealthCheckPlan? {
    let decoded = decode(file(text))
    #expect(decoded.report == "")
    return try #require(decoded.plan).upstreams[0].check
  }

  private func kind(_ text: String) throws -> HealthCheckPlan.Kind? { try check("{\(text)}")?.kind }

  @Test func everyKindReachesThePlan() throws {
    #expect(try kind("tls: {}") == .tls(TLSCheckPlan()))
    #expect(
      try kind("tls: {server_name: a.example}") == .tls(TLSCheckPlan(serverName: "a.example")))
    #expect(try kind("redis: {}") == .redis(RedisCheckPlan()))
    #expect(
      try kind("redis: {role: replica, username: me, password: \"x$$y\"}")
        == .redis(RedisCheckPlan(role: .replica, username: "me", password: Secret("x$y"))))
    #expect(try kind("postgres: {}") == .postgres(PostgresCheckPlan()))
    #expect(
      try kind("postgres: {role: standby, user: me, database: db, password: pw}")
        == .postgres(
          PostgresCheckPlan(role: .standby, user: "me", database: "db", password: Secret("pw"))))
    #expect(try kind("mysql: {}") == .mysql(MySQLCheckPlan()))
    #expect(
      try kind("mysql: {user: me, password: pw}")
        == .mysql(MySQLCheckPlan(user: "me", password: Secret("pw"))))
    #expect(try kind("smtp: {}") == .smtp(SMTPCheckPlan(hello: "localhost")))
    #expect(
      try kind("smtp: {hello: \"[10.0.0.1]\"}") == .smtp(SMTPCheckPlan(hello: "[10.0.0.1]")))
    #expect(try kind("script: /bin/true") == .script(ScriptCheckPlan(command: ["/bin/true"])))
    #expect(
      try kind("script: [/bin/a b, \"1\", -x]")
        == .script(ScriptCheckPlan(command: ["/bin/a b", "1", "-x"])))
  }

  @Test func anExchangeReachesThePlan() throws {
    let steps: [ExchangeCheckPlan.Step] = [
      .send(Array("PING\r\n".utf8)), .expect(Array("+PONG".utf8)), .send([0x0D, 0x0A]),
      .expect([0xFF, 0]), .match(try BytePattern("^ok$")), .send(Array("é".utf8)),
    ]
    let text = #"""
      [{send: "PING\r\n"}, {expect: +PONG}, {send: {hex: 0d0a}}, {expect: {hex: "FF 00"}},
        {expect: {regex: "^ok$$"}}, {send: {text: é}}]
      """#
    #expect(try kind("exchange: \(text)") == .exchange(ExchangeCheckPlan(steps: steps)))
    #expect(
      try kind("exchange: {steps: \(text), answer: 1KiB}")
        == .exchange(ExchangeCheckPlan(steps: steps, answerBytesMax: 1024)))
  }

  @Test func severalChecksReachThePlan() throws {
    let parts = [
      HealthCheckPlan.Part(.tcp),
      HealthCheckPlan.Part(.http(HTTPCheckPlan(path: "/a")), target: .port(81)),
      HealthCheckPlan.Part(.redis(RedisCheckPlan()), target: .address(.unix(path: "/a"))),
    ]
    let text = "[{tcp: {}}, {http: {path: /a}, port: 81}, {redis: {}, address: \"unix:/a\"}]"
    #expect(try kind("any_of: \(text)") == .anyOf(parts))
    #expect(try check("{all_of: \(text), port: 9}")?.kind == .allOf(parts))
    #expect(try check("{all_of: \(text), port: 9}")?.target == .port(9))
  }

  @Test func whatItBeginsWith() throws {
    #expect(try check("{tcp: {}}")?.initial == .up)
    #expect(try check("{tcp: {}, initial: down}")?.initial == .down)
    #expect(try check("{tcp: {}, initial: unknown}")?.initial == .unknown)
  }

  @Test func aRoleIsAPromise() throws {
    for text in [
      "{redis: {role: master}}", "{postgres: {role: standby}}",
      "{any_of: [{postgres: {role: primary}}, {redis: {role: master}}]}",
      "{all_of: [{tcp: {}}, {redis: {role: master}}]}", "{all_of: [{postgres: {role: primary}}]}",
    ] {
      let upstream = try #require(decode(file(text)).plan).upstreams[0]
      #expect(upstream.check?.asksRole == true)
      #expect(upstream.check?.initial == .down)
      #expect(upstream.onDown == .close(over: .seconds(2)))
      let up = report(file(text.dropLast() + ", initial: up}"))
      #expect(up.contains("a check by role cannot begin with endpoints that are up"), "\(up)")
      #expect(report(file(text.dropLast() + ", initial: unknown}")) == "")
    }
    let upstream = try #require(decode(file("{redis: {}}")).plan).upstreams[0]
    #expect(upstream.onDown == .keep)
    #expect(report(file("{redis: {}, initial: up}")) == "")
    // What is for all is for all.
    let shared = """
      defaults: {upstream: {check: {redis: {role: master}}}}
      routes: {r: {listen: ":1", to: ["h:1", "h:2"]}}
      """
    #expect(try #require(decode(shared).plan).upstreams[0].onDown == .close(over: .seconds(2)))
  }

  @Test(arguments: [
    ("redis", "write `{redis: {}}`"), ("https", "write `{tls: {}}`"),
    ("{redis: {role: primary}}", "write `master`"), ("{redis: {role: slave}}", "write `replica`"),
    ("{redis: {user: me}}", "did you mean `username`?"),
    ("{redis: {username: me}}", "a user without a password cannot log in"),
    ("{postgres: {role: master}}", "write `primary`"),
    ("{postgres: {role: replica}}", "write `standby`"),
    ("{postgres: {dbname: x}}", "did you mean `database`?"),
    ("{pgsql: {}}", "did you mean `postgres`?"),
    ("{mysql: {password: hunter2}}", "a password is of no use without a user"),
    ("{mariadb: {}}", "did you mean `mysql`?"), ("{smtp: {helo: x}}", "did you mean `hello`?"),
    ("{smtp: {hello: \"a b\"}}", "is no host name"), ("{smtp: {hello: \"[]\"}}", "is no host name"),
    ("{tls: {sni: x}}", "did you mean `server_name`?"),
    ("{tls: {server_name: \"a b\"}}", "is no host name"),
    ("{tls: {server_name: \"10.0.0.1\"}}", "TLS does not ask for by name"),
    ("{tls: {port: 5}}", "it belongs to `check`, beside `tls`"),
    ("{script: check}", "is no absolute path"), ("{script: [check, x]}", "has to be absolute"),
    ("{script: /bin/check x}", "has a space in it"), ("{script: []}", "at least one item"),
    ("{script: [/bin/a, 5]}", "put it in quotes"), ("{exec: /bin/a}", "did you mean `script`?"),
    ("{exchange: []}", "at least one item"), ("{exchange: {}}", "the key `steps` is missing"),
    ("{exchange: [{send: a, expect: b}]}", "exclude each other"),
    ("{exchange: [{read: a}]}", "did you mean `expect`?"),
    ("{exchange: [{expect: 5}]}", "put it in quotes"), ("{exchange: [{expect: \"\"}]}", "is empty"),
    ("{exchange: [{expect: {hex: 0d0}}]}", "no pairs of hexadecimal digits"),
    ("{exchange: [{expect: {hex: \"0x0d\"}}]}", "write the digits alone"),
    ("{exchange: [{send: {regex: a}}]}", "what is sent cannot be a pattern"),
    ("{exchange: [{expect: {regex: \"a**\"}}]}", "repeats a repetition (behind 2 characters)"),
    ("{exchange: [{expect: {regex: \"a*\"}}]}", "matches everything"),
    ("{exchange: [{expect: {regex: \"(?=a)\"}}]}", "not supported"),
    ("{send: a}", "did you mean `exchange: [{send: …}, {expect: …}]`?"),
    ("{any_of: []}", "at least one item"), ("{any_of: [{}]}", "one of the keys `tcp`"),
    ("{any_of: [{tcp: {}, http: {}}]}", "exclude each other"),
    ("{any_of: [{all_of: []}]}", "a part of several checks is one check"),
    ("{any_of: [{tcp: {}, every: 1s}]}", "for all of its parts"),
    ("{tcp: {}, any_of: [{tcp: {}}]}", "exclude each other"),
    ("{or: []}", "did you mean `any_of`?"),
    ("{tcp: {}, initial: healthy}", "write `up`"),
    ("{tcp: {}, initial: dwn}", "did you mean `down`?"),
    ("{tcp: {}, init_state: up}", "did you mean `initial`?"),
    ("{redis: {password: \"\"}}", "the password is empty"),
    ("{redis: {password: 123456}}", "the password is no text for YAML"),
    ("{redis: {password: true}}", "put it in quotes"),
  ])
  func slips(_ check: String, _ expected: String) {
    let text = report(file(check))
    #expect(text.contains(expected), "\(text)")
    #expect(text.contains(": error: "), "\(text)")
  }

  @Test func whoeverPassesByAnotherPartHasNotTheRole() {
    let wrong = "one part that is good is enough, so an endpoint without the role may pass"
    for parts in [
      "{redis: {role: master}}, {tcp: {}}", "{redis: {role: master}}, {redis: {role: replica}}",
    ] {
      #expect(messages(file("{any_of: [\(parts)]}")) == [wrong])
    }
    #expect(report(file("{all_of: [{redis: {role: master}}, {tcp: {}}]}")) == "")
  }

  @Test func whatProvesLittleIsAWarning() {
    let both = messages(file("{exchange: [{send: a, expect: b}]}"))
    #expect(both == ["`expect` and `send` exclude each other"])
    #expect(
      messages(file("{exchange: [{send: a}]}")).first?.contains("nothing is expected") == true)
    let backslash = messages(file("{exchange: [{send: 'PING\\r\\n'}, {expect: x}]}"))
    #expect(backslash == ["a backslash and a letter are just that here, no line end"])
  }

  @Test func portsOfPartsAreLookedAtToo() {
    let text = """
      routes: {r: {listen: ":1", to: u}}
      upstreams: {u: {endpoints: ["unix:/a"], check: {any_of: [{tcp: {}}, {tcp: {}, port: 5}]}}}
      """
    #expect(messages(text) == ["`unix:/a` has no port, so a check cannot ask it at another one"])
  }

  @Test func aSecretIsNotPrinted() {
    let plan = HealthCheckPlan(.redis(RedisCheckPlan(password: Secret("hunter2"))))
    var dumped = ""
    dump(plan, to: &dumped)
    for text in ["\(plan)", String(reflecting: plan), dumped] {
      #expect(!text.contains("hunter2"), "\(text)")
    }
  }
}
