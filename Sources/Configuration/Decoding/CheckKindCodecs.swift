// SPDX-License-Identifier: Apache-2.0
// The descriptions of the kinds of checks that speak a protocol of their own, and of scripts. Those of
// requests are in HTTPCheckCodec.swift, those of exchanges in ExchangeCodec.swift.

import Addressing
import Plan

/// What belongs beside a kind and not into it.
func besideKind(_ kind: String) -> KeyNotes {
  let other = "it belongs to `check`, beside `\(kind)`"
  return [
    "port": other, "address": other, "every": other, "timeout": other, "rise": other,
    "fall": other, "initial": other, "interval": other,
  ]
}

extension Codec<TLSCheckDraft> {
  /// `tls:` of a check.
  static var tlsCheck: Codec {
    .object(
      "tls check",
      "The beginning of a TLS handshake, version 1.2 or 1.3: a ClientHello, and a ServerHello. A "
        + "certificate is not looked at.",
      TLSCheckDraft(),
      notes: besideKind("tls").merging([
        "sni": "did you mean `server_name`?", "host": "did you mean `server_name`?",
        "name": "did you mean `server_name`?",
        "verify": "a check does not look at the certificate", "ca": "no certificate is looked at",
      ]) { $1 },
      fields: [
        field(
          "server_name", \.serverName, ScalarCodec.serverName.codec,
          "The name that is asked for; without it, the endpoint's host name, if it has one.")
      ])
  }
}

extension Codec<RedisCheckDraft> {
  /// `redis:` of a check.
  static var redisCheck: Codec {
    .object(
      "redis check",
      "`PING`, or a question about the role, to a Redis server or one that speaks its protocol.",
      RedisCheckDraft(),
      notes: besideKind("redis").merging([
        "user": "did you mean `username`?", "auth": "did you mean `password`?",
        "db": "a check needs no database",
      ]) { $1 },
      fields: [
        field(
          "role", \.role,
          ScalarCodec.choice(
            ["master": RedisCheckPlan.Role.master, "replica": .replica],
            notes: ["primary": "write `master`", "slave": "write `replica`"]
          ).codec,
          "The role that it must have; without it, any will do."),
        field(
          "username", \.username, ScalarCodec.credential("a user's name").located,
          "Who logs in; without it, the default user."),
        field("password", \.password, .password, "The password to log in with."),
      ])
  }
}

extension Codec<PostgresCheckDraft> {
  /// `postgres:` of a check.
  static var postgresCheck: Codec {
    let standard = PostgresCheckPlan()
    return .object(
      "postgres check",
      "A startup of PostgreSQL's protocol. Without `role` and `password`, it ends with the first "
        + "answer: a request to log in, or a refusal of this user, shows that the server serves.",
      PostgresCheckDraft(),
      notes: besideKind("postgres").merging([
        "username": "did you mean `user`?", "dbname": "did you mean `database`?",
        "db": "did you mean `database`?", "sslmode": "a check has no TLS",
      ]) { $1 },
      fields: [
        field(
          "role", \.role,
          ScalarCodec.choice(
            ["primary": PostgresCheckPlan.Role.primary, "standby": .standby],
            notes: [
              "master": "write `primary`", "leader": "write `primary`",
              "replica": "write `standby`", "slave": "write `standby`",
            ]
          ).codec,
          "The role that it must have, by `pg_is_in_recovery()`; the check logs in to ask. Without it, "
            + "any will do."),
        field(
          "user", \.user, .credential("a user's name"), standard: standard.user,
          "Who the check says that it is."),
        field(
          "database", \.database, .credential("a database's name"), standard: standard.database,
          "The database that it asks for."),
        field(
          "password", \.password, .password,
          "The password to log in with (in the clear, MD5 or SCRAM-SHA-256, as the server wants it)."
        ),
      ])
  }
}

extension Codec<MySQLCheckDraft> {
  /// `mysql:` of a check.
  static var mysqlCheck: Codec {
    .object(
      "mysql check",
      "A visit to a MySQL or MariaDB server: its greeting, a login, and a goodbye. Without `user`, "
        + "being refused is good, too, but the server counts it.",
      MySQLCheckDraft(),
      notes: besideKind("mysql").merging(["username": "did you mean `user`?"]) { $1 },
      fields: [
        field(
          "user", \.user, ScalarCodec.credential("a user's name").codec,
          "Who logs in, and must be let in. No privilege is needed."),
        field("password", \.password, .password, "The password to log in with."),
      ])
  }
}

extension Codec<SMTPCheckDraft> {
  /// `smtp:` of a check.
  static var smtpCheck: Codec {
    .object(
      "smtp check", "A visit to a mail server: its greeting, `EHLO`, `QUIT`. No mail is sent.",
      SMTPCheckDraft(),
      notes: besideKind("smtp").merging([
        "name": "did you mean `hello`?", "ehlo": "did you mean `hello`?",
        "helo": "did you mean `hello`?", "domain": "did you mean `hello`?",
      ]) { $1 },
      fields: [
        field(
          "hello", \.hello, .helloName, standard: SMTPCheckPlan().hello,
          "What the check calls itself.")
      ])
  }
}

extension Codec<[String]> {
  /// `script:` of a check.
  static var scriptCheck: Codec {
    let list = Codec.list(ScalarCodec<String>.argument.codec, countMin: 1)
    let checkedList = Codec(shape: list.shape) { node, place, diagnostics in
      guard let command = list.decode(node, at: place, &diagnostics) else { return nil }
      if let path = command.first, !path.hasPrefix("/"), case .sequence(let nodes) = node.content {
        diagnostics.error(
          at: nodes.first?.range ?? node.range, "the path of a script has to be absolute",
          hints: ["programs are not looked for: write it from `/` on"], isShape: false)
      }
      if command.count > 64 {
        diagnostics.error(
          at: node.headRange, "there are \(command.count) arguments here, at most 64 are accepted",
          isShape: false)
      }
      return command
    }
    return .either(
      scalar: ScalarCodec<String>.programPath.codec.map { [$0] }, list: checkedList)
  }
}

extension ScalarCodec<String> {
  fileprivate static var serverName: ScalarCodec {
    .text(
      "a host name", patterns: ["[A-Za-z0-9_.-]+"], examples: ["www.example.org", "db"],
      encode: { $0 }
    ) { text throws(Refusal) in
      guard text.utf8.allSatisfy({ isLetter($0) || isDigit($0) || "_.-".utf8.contains($0) })
      else { throw Refusal("is no host name") }
      guard IPAddress(text) == nil else {
        throw Refusal("is an address, which TLS does not ask for by name", isShape: false)
      }
      guard text.utf8.count <= 253 else { throw Refusal("is too long", isShape: false) }
      return text
    }
  }

  fileprivate static func credential(_ accepted: String) -> ScalarCodec {
    .text(
      accepted, patterns: ["\(freeTextPattern)+"], examples: ["sluice", "health"],
      encode: { $0 }
    ) { text throws(Refusal) in
      guard text.utf8.count <= 128 else {
        throw Refusal("is too long: at most 128 bytes are accepted", isShape: false)
      }
      return text
    }
  }

  fileprivate static var helloName: ScalarCodec {
    .text(
      "a host name, or an address in brackets", patterns: [#"[A-Za-z0-9.-]+|\[[A-Za-z0-9.:]+\]"#],
      examples: ["localhost", "proxy.example.org", "[10.0.0.1]"], encode: { $0 }
    ) { text throws(Refusal) in
      var inner = text.utf8[...]
      let isBracketed = inner.first == UInt8(ascii: "[") && inner.last == UInt8(ascii: "]")
      if isBracketed { inner = inner.dropFirst().dropLast() }
      let others = isBracketed ? ".:" : ".-"
      guard !inner.isEmpty,
        inner.allSatisfy({ isLetter($0) || isDigit($0) || others.utf8.contains($0) })
      else { throw Refusal("is no host name") }
      guard text.utf8.count <= 255 else { throw Refusal("is too long", isShape: false) }
      return text
    }
  }

  fileprivate static var programPath: ScalarCodec {
    .text(
      "an absolute path", patterns: ["/\(freeTextPattern)*"],
      examples: ["/usr/local/bin/check-db"], encode: { $0 }
    ) { text throws(Refusal) in
      guard text.hasPrefix("/") else {
        throw Refusal(
          "is no absolute path", hint: "programs are not looked for: write it from `/` on")
      }
      guard !text.utf8.contains(UInt8(ascii: " ")) else {
        throw Refusal(
          "has a space in it, but no shell reads this",
          hint: "arguments are items: `[/path/of/program, argument]`", isShape: false)
      }
      guard text.utf8.count <= 4096 else { throw Refusal("is too long", isShape: false) }
      return text
    }
  }

  fileprivate static var argument: ScalarCodec {
    .text(
      "a program's path, and its arguments", patterns: ["\(freeTextPattern)+"],
      examples: ["/usr/local/bin/check-db", "--quick"], encode: { $0 }
    ) { text throws(Refusal) in
      guard text.utf8.count <= 4096 else {
        throw Refusal("is too long: at most 4096 bytes are accepted", isShape: false)
      }
      return text
    }
  }
}
