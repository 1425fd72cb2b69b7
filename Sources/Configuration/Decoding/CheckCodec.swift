// SPDX-License-Identifier: Apache-2.0
// The description of an upstream's health checks. A check is told by its kind, which is a key, so
// that what belongs to a kind stands below it and nowhere else. A check is taken whole: one that an
// upstream has replaces the one of `defaults.upstream`, key by key would let an upstream inherit half
// a request.

import Addressing
import Plan

/// What a check is that says nothing but its kind.
let checkStandard = HealthCheckPlan(.tcp)

extension Codec where Value == HealthCheckDraft? {
  /// `check:` of an upstream; `nil` is `off`.
  static var check: Codec {
    let tcp = "write `{tcp: {}}`"
    let off = ScalarCodec<HealthCheckDraft?>(
      shape: ScalarShape(accepted: "`off`", keywords: ["off"]),
      parse: { scalar throws(Refusal) in
        guard scalar.text == "off" else { throw Refusal("is no check") }
        return nil
      },
      encode: { _ in .string("off") }
    ).hinting { text in
      switch text.lowercased() {
      case "tcp", "on", "true", "yes", "connect": return tcp
      case "http": return "write `{http: {path: /}}`"
      case "https", "tls", "ssl": return "write `{tls: {}}`"
      case "redis", "postgres", "mysql", "smtp": return "write `{\(text.lowercased()): {}}`"
      case "no", "never", "none", "false", "disable", "disabled", "0": return "write `off`"
      default:
        if text.hasPrefix("/") { return "write `{http: {path: …}}`" }
        return (try? parseDuration(text)).map {
          "write `{tcp: {}, every: \($0.configurationText)}`"
        }
      }
    }
    return .either(scalar: off.codec, mapping: Codec<HealthCheckDraft>.checkMapping.map { $0 })
  }
}

/// The shortest and the longest time between two checks.
private let intervalRange = Duration.milliseconds(10)...(.seconds(86400))

extension Codec<HealthCheckDraft> {
  fileprivate static var checkMapping: Codec {
    let timeout = ScalarCodec.duration(.milliseconds(1)...(.seconds(300)))
    return .object(
      "check",
      "Active checks of every endpoint of an upstream. An endpoint that fails gets no new "
        + "sessions; those it has go on. Without `port` or `address`, an endpoint is asked where it "
        + "serves, from the upstream's `source`.",
      HealthCheckDraft(),
      choices: [
        KeyChoice(
          names: kindNames + ["any_of", "all_of"], isRequired: true, hint: checkKindHint),
        KeyChoice(names: ["port", "address"]),
      ],
      notes: checkNotes,
      fields: kindFields.map { $0.lifted(\.kind) } + [
        field(
          "any_of", \.anyOf, Codec<[CheckPartDraft]>.checkParts.located, isOptional: false,
          "Several checks, made at the same time; one that is good is enough. At most "
            + "\(partsMax). Where one asks for a role, all have to ask for it."),
        field(
          "all_of", \.allOf, Codec<[CheckPartDraft]>.checkParts.located, isOptional: false,
          "Several checks, made at the same time; all must be good. At most \(partsMax)."),
        field(
          "every", \.every,
          Codec<IntervalsDraft>.either(
            scalar: ScalarCodec.duration(intervalRange).codec.map { IntervalsDraft(up: $0) },
            mapping: .intervals
          ).located,
          shown: ScalarCodec.duration(intervalRange).encode(checkStandard.up),
          "How often an endpoint is checked, from the start of one check to that of the next."),
        field(
          "timeout", \.timeout, timeout.located, shown: timeout.encode(checkStandard.timeout),
          "How long a check may take, from the connect to the last byte that it needs."),
        field(
          "rise", \.rise, .integer(1...100), standard: checkStandard.rise,
          "How many checks in a row must be good before an endpoint that is down is up."),
        field(
          "fall", \.fall, .integer(1...100), standard: checkStandard.fall,
          "How many checks in a row must fail before an endpoint that is up is down."),
        field(
          "jitter", \.jitterPercent, .percentage(0...50), standard: checkStandard.jitterPercent,
          "By how much an interval is shortened or lengthened at random, so that checks do not stay "
            + "in step."),
        field(
          "initial", \.initial, ScalarCodec.initial.located,
          "What an endpoint is before its first checks: `up` serves until checks say otherwise, "
            + "`down` gets no session until `rise` of them were good, `unknown` none until the first "
            + "one, which alone decides. Without it `up`; `down` where a role is asked for."),
        field(
          "port", \.port, ScalarCodec.integer(1...65535).located,
          "Another port of the endpoint's own address to ask. Not with unix sockets and builtin "
            + "endpoints, which have none."),
        field(
          "address", \.address, ScalarCodec.checkAddress.located,
          "Another address to ask, whatever the endpoint: it speaks for all of the upstream, so not "
            + "where a role is asked for and there may be several endpoints."),
      ])
  }
}

/// How many checks make one verdict at most.
private let partsMax = 16

private let kindNames = kindFields.map(\.shape.name)

/// The kinds of checks, in the order of the documentation.
private var kindFields: [Field<CheckKindDraft>] {
  [
    field(
      "tcp", \.tcp, .tcpCheck, isOptional: false,
      "The check is good when a connection can be made."),
    field(
      "http", \.http, .httpCheck, isOptional: false,
      "The check is good when a request is answered as expected."),
    field(
      "tls", \.tls, .tlsCheck, isOptional: false,
      "The check is good when a TLS handshake begins."),
    field(
      "exchange", \.exchange, Codec<ExchangeCheckDraft>.exchangeCheck.located, isOptional: false,
      "The check is good when what is expected comes back."),
    field(
      "redis", \.redis, .redisCheck, isOptional: false,
      "The check is good when a Redis server answers `PING`, or has a role."),
    field(
      "postgres", \.postgres, .postgresCheck, isOptional: false,
      "The check is good when a PostgreSQL server serves, or has a role."),
    field(
      "mysql", \.mysql, .mysqlCheck, isOptional: false,
      "The check is good when a MySQL or MariaDB server greets, and lets in who may."),
    field(
      "smtp", \.smtp, .smtpCheck, isOptional: false,
      "The check is good when a mail server greets and answers `EHLO`."),
    field(
      "script", \.script, .scriptCheck, isOptional: false,
      "The check is good when a program ends with the exit code 0: its absolute path, or a list of "
        + "that and its arguments. See [health.md](health.md#scripts)."),
  ]
}

extension Codec<[CheckPartDraft]> {
  /// `any_of:` and `all_of:`.
  fileprivate static var checkParts: Codec {
    let parts = Codec.list(Codec<CheckPartDraft>.checkPart, countMin: 1)
    return Codec(shape: parts.shape) { node, place, diagnostics in
      guard let items = parts.decode(node, at: place, &diagnostics) else { return nil }
      if items.count > partsMax {
        diagnostics.error(
          at: node.headRange,
          "there are \(items.count) checks here, at most \(partsMax) are accepted", isShape: false)
      }
      return items
    }
  }
}

extension Codec<CheckPartDraft> {
  fileprivate static var checkPart: Codec {
    let whole = "it belongs to `check`, for all of its parts"
    let nested = "a part of several checks is one check"
    return .object(
      "check part", "One of several checks that make one verdict.", CheckPartDraft(),
      choices: [
        KeyChoice(names: kindNames, isRequired: true, hint: checkKindHint),
        KeyChoice(names: ["port", "address"]),
      ],
      notes: checkNotes.merging([
        "every": whole, "timeout": whole, "rise": whole, "fall": whole, "jitter": whole,
        "initial": whole, "any_of": nested, "all_of": nested,
      ]) { $1 },
      fields: kindFields.map { $0.lifted(\.kind) } + [
        field(
          "port", \.port, ScalarCodec.integer(1...65535).located,
          "Another port to ask for this part."),
        field(
          "address", \.address, ScalarCodec.checkAddress.located,
          "Another address to ask for this part."),
      ])
  }
}

extension ScalarCodec<HealthCheckPlan.Initial> {
  fileprivate static var initial: ScalarCodec {
    .choice(
      ["up": .up, "down": .down, "unknown": .unknown],
      notes: [
        "healthy": "write `up`", "unhealthy": "write `down`", "none": "write `unknown`",
        "fully-up": "write `up`", "fully-down": "write `down`",
      ])
  }
}

private let checkKindHint = "the kind is a key: `tcp: {}`, or `http: {path: /health}`"

private let checkNotes: KeyNotes = {
  let kind = checkKindHint
  let request = "it belongs to the request: `http: {path: /health}`"
  let exchange = "did you mean `exchange: [{send: …}, {expect: …}]`?"
  return [
    "interval": "did you mean `every`?", "inter": "did you mean `every`?",
    "period": "did you mean `every`?",
    "fastinter": "did you mean `every: {changing: …}`?",
    "downinter": "did you mean `every: {down: …}`?",
    "up": "it belongs to `every: {up: …}`", "down": "it belongs to `every: {down: …}`",
    "changing": "it belongs to `every: {changing: …}`",
    "type": kind, "kind": kind, "protocol": kind,
    "https": "a check has no HTTP over TLS: `tls: {}` begins a handshake, `script` can do more",
    "ssl": "did you mean `tls`?", "pgsql": "did you mean `postgres`?",
    "postgresql": "did you mean `postgres`?", "mariadb": "did you mean `mysql`?",
    "mail": "did you mean `smtp`?", "exec": "did you mean `script`?",
    "command": "did you mean `script`?", "external": "did you mean `script`?",
    "any": "did you mean `any_of`?", "or": "did you mean `any_of`?",
    "all": "did you mean `all_of`?", "and": "did you mean `all_of`?",
    "grpc": "did you mean `script`, with a program that can speak it?",
    "init_state": "did you mean `initial`?", "initial_status": "did you mean `initial`?",
    "initial_state": "did you mean `initial`?",
    "send": exchange, "receive": exchange, "steps": exchange, "match": exchange,
    "role": "it belongs to the kind: `redis: {role: master}`, `postgres: {role: primary}`",
    "password": "it belongs to the kind, like `redis: {password: …}`",
    "user": "it belongs to the kind, like `postgres: {user: …}`",
    "server_name": "it belongs to the kind: `tls: {server_name: …}`",
    "path": request, "uri": request, "url": request, "method": request, "status": request,
    "expect": "what is expected belongs to `http` (`status`, `body`) or `exchange`",
    "healthy": "did you mean `rise`?", "healthy_threshold": "did you mean `rise`?",
    "unhealthy": "did you mean `fall`?", "unhealthy_threshold": "did you mean `fall`?",
    "retries": "did you mean `fall`?", "passes": "did you mean `rise`?",
    "fails": "did you mean `fall`?",
    "host": "did you mean `address`, or `http: {host: …}`?",
    "enabled": "without checks, write `check: off`",
    "source": "checks come from the upstream's `source`",
  ]
}()

extension Codec<TCPCheckDraft> {
  fileprivate static var tcpCheck: Codec {
    let other = "it belongs to `check`, beside `tcp`"
    return .object(
      "tcp check",
      "Connects, and resets the connection at once: no byte is sent, and nothing is left behind. "
        + "There is nothing to set: `tcp: {}`.",
      TCPCheckDraft(),
      notes: [
        "port": other, "address": other, "every": other, "timeout": other, "rise": other,
        "fall": other, "send": "use `exchange` instead of `tcp`",
        "expect": "use `exchange` instead of `tcp`",
      ],
      fields: [])
  }
}

extension Codec<IntervalsDraft> {
  fileprivate static var intervals: Codec {
    let interval = ScalarCodec.duration(intervalRange).codec
    return .object(
      "intervals", "How often an endpoint is checked, by its state.", IntervalsDraft(),
      notes: ["every": "did you mean `up`?", "fast": "did you mean `changing`?"],
      fields: [
        field(
          "up", \.up, interval, shown: ScalarCodec.duration(intervalRange).encode(checkStandard.up),
          "While it is up."),
        field("down", \.down, interval, "While it is down; without it, as `up`."),
        field(
          "changing", \.changing, ScalarCodec.duration(intervalRange).located,
          "While it is about to change: when the last check disagreed with its state. Without it, a "
            + "quarter of the shorter of the other two, but at least `100ms`, and never longer than "
            + "that one itself."),
      ])
  }
}
