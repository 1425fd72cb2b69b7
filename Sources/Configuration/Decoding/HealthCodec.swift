// SPDX-License-Identifier: Apache-2.0
// The description of what an upstream knows about the health of its endpoints, and what follows from it.
// Checks themselves are in CheckCodec.swift.

import Plan

/// What an upstream says about health.
var healthFields: [Field<UpstreamSettings>] {
  let panic = ScalarCodec.percentage(1...100).orOff()
  return [
    field(
      "check", \.check, .check, shown: .string("off"),
      "Active health checks of the endpoints. Taken whole: an upstream's own replaces "
        + "the one of `defaults`."),
    field(
      "outlier", \.outlier, Codec.outlier.located, shown: .string("off"),
      "Leaves out endpoints that fail sessions, for a while, whatever their checks say. Taken whole, as "
        + "`check` is; `{}` has every default."),
    field(
      "panic", \.panicPercent, panic.located, shown: panic.encode(upstreamStandard.panicPercent),
      "When fewer of the endpoints are healthy, all of them are used. Not beside a `quorum`."),
    field(
      "quorum", \.quorum, ScalarCodec.integer(1...10_000).located,
      shown: .integer(upstreamStandard.quorum),
      "When fewer endpoints than this are healthy, the upstream serves nobody."),
  ]
}

/// What other programs call these.
let healthNotes: KeyNotes = {
  let outlier = "did you mean `outlier: {}`?"
  let failures = "did you mean `outlier: {failures: …}`?"
  let eject = "did you mean `outlier: {eject: …}`?"
  return [
    "outliers": outlier, "outlier_detection": outlier, "passive": outlier, "observe": outlier,
    "circuit_breaker": outlier, "max_fails": failures, "error_limit": failures,
    "failures": failures, "fail_timeout": eject, "fail_duration": eject, "eject": eject,
    "panic_threshold": "did you mean `panic`?", "healthy_panic_threshold": "did you mean `panic`?",
    "fail_open": "did you mean `panic`?", "allbackups": "did you mean `panic`?",
    "min_healthy": "did you mean `quorum`?", "quorum_min": "did you mean `quorum`?",
  ]
}()

private let outlierStandard = OutlierPlan()

extension Codec where Value == OutlierDraft? {
  /// `outlier:` of an upstream; `nil` is `off`.
  static var outlier: Codec {
    let off = ScalarCodec<OutlierDraft?>(
      shape: ScalarShape(accepted: "`off`", keywords: ["off"]),
      parse: { scalar throws(Refusal) in
        guard scalar.text == "off" else { throw Refusal("is no way to leave endpoints out") }
        return nil
      },
      encode: { _ in .string("off") }
    ).hinting { text in
      switch text.lowercased() {
      case "on", "true", "yes", "default": return "write `{}`"
      case "no", "never", "none", "false", "disable", "disabled", "0": return "write `off`"
      default:
        if let failures = try? wholeNumber(text), failures > 0 {
          return "write `{failures: \(failures)}`"
        }
        return (try? parseDuration(text)).map { "write `{eject: \($0.configurationText)}`" }
      }
    }
    return .either(scalar: off.codec, mapping: Codec<OutlierDraft>.outlierMapping.map { $0 })
  }
}

extension Codec<OutlierDraft> {
  fileprivate static var outlierMapping: Codec {
    let eject = ScalarCodec.duration(.milliseconds(100)...(.seconds(86400)))
    let failures = "did you mean `failures`?"
    return .object(
      "outlier",
      "Endpoints that fail sessions are left out for a while. A failure is a connection that is "
        + "refused, too late or unreachable, or that breaks before a byte has come back; what this machine "
        + "has run out of never counts, and the first byte back clears the count.",
      OutlierDraft(),
      notes: [
        "consecutive": failures, "consecutive_failures": failures, "consecutive_5xx": failures,
        "consecutive_errors": failures, "max_fails": failures, "fall": failures,
        "threshold": failures, "time": "did you mean `eject`?", "for": "did you mean `eject`?",
        "base_ejection_time": "did you mean `eject`?", "fail_timeout": "did you mean `eject`?",
        "max_ejection_time": "did you mean `eject_max`?",
        "max_ejection_percent": "did you mean `share`?",
        "max": "did you mean `eject_max` or `share`?",
        "interval": "there is none: a failure counts when it happens",
        "window": "there is none: failures count that follow one another",
        "rise": "there is none: one success is enough",
        "enabled": "to have none, write `outlier: off`",
      ],
      fields: [
        field(
          "failures", \.failures, .integer(1...1000), standard: outlierStandard.failures,
          "So many failures in a row, over all sessions, eject an endpoint."),
        field(
          "eject", \.eject, eject.located, shown: eject.encode(outlierStandard.eject),
          "How long it is left out the first time; the next time twice as long, then three times. Each "
            + "time is forgotten after as much time in service."),
        field(
          "eject_max", \.ejectMax, eject.located, shown: eject.encode(outlierStandard.ejectMax),
          "How long it is left out at most. Without it, `eject` where that is longer."),
        field(
          "share", \.sharePercent, .percentage(1...100), standard: outlierStandard.sharePercent,
          "Which share of the endpoints is left out at once, at most; one always may be, but never the "
            + "last one."),
      ])
  }
}
