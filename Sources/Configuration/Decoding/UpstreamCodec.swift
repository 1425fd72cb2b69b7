// SPDX-License-Identifier: Apache-2.0
// The description of upstreams and endpoints, and of the settings that `defaults.upstream` shares
// with upstreams.

import Plan

/// What an upstream is that says nothing but its endpoints.
let upstreamStandard = UpstreamPlan(name: "", endpoints: [])

private let endpointStandard = EndpointPlan(address: .builtin(.echo))

extension Codec<UpstreamDraft> {
  /// One upstream.
  static var upstream: Codec {
    let own: [Field<UpstreamDraft>] = [
      field(
        "endpoints", \.endpoints, .list(.endpoint, countMin: 1), isOptional: false,
        "Who serves. Host names and services are looked up at the start, and again as often as "
          + "`resolve` says."),
      field(
        "endpoints_file", \.endpointsFile, ScalarCodec.absolutePath.located, isOptional: false,
        "A file with a YAML or JSON list of endpoints, each written as in `endpoints`, which they are "
          + "added to. It is watched: what changes there is taken up without a reload, and a file "
          + "with errors changes nothing."),
    ]
    return .object(
      "upstream", "Endpoints, and the policy of choosing and reaching them.", UpstreamDraft(),
      choices: [
        KeyChoice(
          names: ["endpoints", "endpoints_file"], isRequired: true, allowsSeveral: true,
          hint: "say who serves: `endpoints: [\"IP:port\"]`")
      ],
      notes: settingNotes.merging(routeKeyNotes("it belongs to a route")) { $1 }.merging([
        "listen": "it belongs to a route",
        "servers": "did you mean `endpoints`?", "to": "did you mean `endpoints`?",
        "file": "did you mean `endpoints_file`?", "file_sd": "did you mean `endpoints_file`?",
        "include": "did you mean `endpoints_file`?", "discovery": "did you mean `resolve`?",
      ]) { $1 },
      fields: own + upstreamFields.map { $0.lifted(\.settings) })
  }
}

extension Codec<UpstreamSettings> {
  /// `defaults.upstream`.
  static var upstreamSettings: Codec {
    .object(
      "upstream defaults", "What counts for every upstream that is silent about it.",
      UpstreamSettings(),
      notes: settingNotes.merging(routeKeyNotes("it belongs to `defaults.route`")) { $1 },
      fields: upstreamFields)
  }
}

private let settingNotes = healthNotes.merging(resilienceNotes) { $1 }.merging([
  "checks": "did you mean `check`?", "health": "did you mean `check`?",
  "health_check": "did you mean `check`?", "healthcheck": "did you mean `check`?",
  "resolver": "did you mean `resolve`?", "nameserver": "did you mean `resolve: {server: …}`?",
  "dns": "did you mean `resolve`?", "policy": "did you mean `balance`?",
  "lb_policy": "did you mean `balance`?", "slowstart": "did you mean `slow_start`?",
  "warmup": "did you mean `slow_start`?",
  "overflow": "did you mean `spill_over`?", "spillover": "did you mean `spill_over`?",
]) { $1 }

/// In the order of the documentation.
var upstreamFields: [Field<UpstreamSettings>] {
  balanceFields + connectFields + resolutionFields + healthFields + resilienceFields
}

extension Codec<EndpointDraft> {
  /// One endpoint: an address, or a mapping.
  static var endpoint: Codec {
    .either(
      scalar: ScalarCodec.endpointAddress.located.map { EndpointDraft(address: $0) },
      mapping: .endpointMapping)
  }

  /// An item of a route's `to`, where the name of an upstream cannot stand in brackets.
  static var endpointOrSlip: Codec {
    let address = ScalarCodec.endpointAddress.hinting { text in
      guard isName(text), !text.utf8.allSatisfy({ isDigit($0) || $0 == UInt8(ascii: ".") }) else {
        return nil
      }
      return "for an upstream of that name, write `to: \(text)`; for a host, `\(text):PORT`"
    }
    return .either(
      scalar: address.located.map { EndpointDraft(address: $0) }, mapping: .endpointMapping)
  }

  private static var endpointMapping: Codec {
    .object(
      "endpoint", "One address of an upstream. Without settings, the address alone will do.",
      EndpointDraft(),
      notes: [
        "host": "did you mean `address`?", "port": "it is a part of `address`",
        "backup": "did you mean `priority: 1`?",
        "check": "it belongs to the upstream, for all of its endpoints",
      ],
      fields: [
        field(
          "address", \.address, ScalarCodec.endpointAddress.located, isRequired: true,
          "Where it is."),
        field(
          "weight", \.weight, ScalarCodec.integer(0...EndpointPlan.weightMax).located,
          shown: .integer(endpointStandard.weight),
          "Its share of new sessions; 0 for none. Not with `srv:`, whose records tell it."),
        field(
          "max_sessions", \.sessionsMax, ScalarCodec.integer(1...10_000_000).codec,
          "How many sessions it takes at once; without it, any number."),
        field(
          "priority", \.priority, .integer(0...15), standard: endpointStandard.priority,
          "Its tier: used when no endpoint of a lower number can serve. The priorities of `srv:` count "
            + "from here."),
      ])
  }
}
