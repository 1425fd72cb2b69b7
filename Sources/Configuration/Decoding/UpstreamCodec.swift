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
        "endpoints", \.endpoints, .list(.endpoint, countMin: 1), isRequired: true,
        "Who serves. A host name is looked up at the start, and again as often as `resolve` says.")
    ]
    return .object(
      "upstream", "Endpoints, and the policy of choosing and reaching them.", UpstreamDraft(),
      notes: settingNotes.merging([
        "servers": "did you mean `endpoints`?", "to": "did you mean `endpoints`?",
      ]) { $1 },
      fields: own + upstreamFields.map { $0.lifted(\.settings) })
  }
}

extension Codec<UpstreamSettings> {
  /// `defaults.upstream`.
  static var upstreamSettings: Codec {
    .object(
      "upstream defaults", "What counts for every upstream that is silent about it.",
      UpstreamSettings(), notes: settingNotes, fields: upstreamFields)
  }
}

private let settingNotes: KeyNotes = [
  "checks": "did you mean `check`?", "health": "did you mean `check`?",
  "health_check": "did you mean `check`?", "healthcheck": "did you mean `check`?",
  "idle": "it belongs to a route", "policy": "did you mean `balance`?",
  "lb_policy": "did you mean `balance`?", "slowstart": "did you mean `slow_start`?",
  "warmup": "did you mean `slow_start`?", "hash_key": "it belongs to a route",
  "overflow": "did you mean `spill_over`?", "spillover": "did you mean `spill_over`?",
]

/// In the order of the documentation.
private var upstreamFields: [Field<UpstreamSettings>] {
  balanceFields + connectFields + resolutionFields + healthFields
}

extension Codec<EndpointDraft> {
  /// One endpoint: an address, or a mapping.
  static var endpoint: Codec {
    .either(
      scalar: ScalarCodec.endpointAddress.located.map { EndpointDraft(address: $0) },
      mapping: .endpointMapping)
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
          "weight", \.weight, .integer(0...EndpointPlan.weightMax),
          standard: endpointStandard.weight, "Its share of new sessions; 0 for none."),
        field(
          "max_sessions", \.sessionsMax, ScalarCodec.integer(1...10_000_000).codec,
          "How many sessions it takes at once; without it, any number."),
        field(
          "priority", \.priority, .integer(0...15), standard: endpointStandard.priority,
          "Its tier: used when no endpoint of a lower number can serve."),
      ])
  }
}
