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
      case "http", "https": return "write `{http: {path: /}}`"
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
        KeyChoice(names: ["tcp", "http"], isRequired: true, hint: checkKindHint),
        KeyChoice(names: ["port", "address"]),
      ],
      notes: checkNotes,
      fields: [
        field(
          "tcp", \.tcp, .tcpCheck, isOptional: false,
          "The check is good when a connection can be made."),
        field(
          "http", \.http, .httpCheck, isOptional: false,
          "The check is good when a request is answered as expected."),
        field(
          "every", \.every,
          .either(
            scalar: ScalarCodec.duration(intervalRange).codec.map { IntervalsDraft(up: $0) },
            mapping: .intervals),
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
          "port", \.port, ScalarCodec.integer(1...65535).located,
          "Another port of the endpoint's own address to ask. Not with unix sockets and builtin "
            + "endpoints, which have none."),
        field(
          "address", \.address, ScalarCodec.checkAddress.codec,
          "Another address to ask, whatever the endpoint: it speaks for all of the upstream."),
      ])
  }
}

private let checkKindHint = "the kind is a key: `tcp: {}`, or `http: {path: /health}`"

private let checkNotes: KeyNotes = {
  let kind = checkKindHint
  let request = "it belongs to the request: `http: {path: /health}`"
  return [
    "interval": "did you mean `every`?", "inter": "did you mean `every`?",
    "period": "did you mean `every`?",
    "fastinter": "did you mean `every: {changing: …}`?",
    "downinter": "did you mean `every: {down: …}`?",
    "up": "it belongs to `every: {up: …}`", "down": "it belongs to `every: {down: …}`",
    "changing": "it belongs to `every: {changing: …}`",
    "type": kind, "kind": kind, "protocol": kind, "https": "this version has `tcp` and `http`",
    "path": request, "uri": request, "url": request, "method": request, "status": request,
    "expect": "what is expected belongs to `http`: `status` and `body`",
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
        "fall": other, "send": "this version only connects", "expect": "this version only connects",
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
          "changing", \.changing, interval,
          "While it is about to change: when the last check disagreed with its state. Without it, a "
            + "quarter of the shorter of the other two, but at least `100ms`, and never longer than "
            + "that one itself."),
      ])
  }
}
