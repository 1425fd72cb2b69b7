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
      "outlier", \.outlier, Codec.outlier.located,
      note: "on: \(defaultOutlierWords)",
      "Ejects endpoints that fail: they get no new sessions for a while, whatever their checks say. A "
        + "mapping also counts connections that break before a byte has come back. Taken whole, as "
        + "`check` is; `{}` has every default of the mapping."),
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
  let eject = "did you mean `outlier: {eject_time: …}`?"
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

/// What an upstream does that says nothing about outliers.
private var defaultOutlierWords: String {
  guard let standard = upstreamStandard.outlier else { return "off" }
  return "\(standard.failures) consecutive failures to connect eject an endpoint for "
    + "\(standard.ejectTime.configurationText), then longer, up to "
    + "\(standard.ejectTimeMax.configurationText); never the last usable one"
}

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
        return (try? parseDuration(text)).map { "write `{eject_time: \($0.configurationText)}`" }
      }
    }
    return .either(scalar: off.codec, mapping: Codec<OutlierDraft>.outlierMapping.map { $0 })
  }
}

extension Codec<OutlierDraft> {
  fileprivate static var outlierMapping: Codec {
    let eject = ScalarCodec.duration(.milliseconds(100)...(.seconds(86400)))
    let failures = "did you mean `failures`?"
    let time = "did you mean `eject_time`?"
    return .object(
      "outlier",
      "Endpoints that fail sessions are ejected: they get no new sessions for a while. A failure is a "
        + "connection that is refused, too late or unreachable, or that breaks before a byte has come back; "
        + "shortages of this machine never count, and the first byte back clears the count. Where an "
        + "upstream has no `outlier`, only failures to connect count.",
      OutlierDraft(),
      notes: [
        "consecutive": failures, "consecutive_failures": failures, "consecutive_5xx": failures,
        "consecutive_errors": failures, "max_fails": failures, "fall": failures,
        "threshold": failures, "time": time, "for": time, "base_ejection_time": time,
        "fail_timeout": time, "max_ejection_time": "did you mean `max_eject_time`?",
        "max_ejection_percent": "did you mean `max_ejected`?",
        "max": "did you mean `max_eject_time` or `max_ejected`?",
        "interval": "there is none: a failure counts when it happens",
        "window": "there is none: failures count that follow one another",
        "rise": "there is none: one success is enough",
        "enabled": "to have none, write `outlier: off`",
      ],
      fields: [
        field(
          "failures", \.failures, .integer(1...1000), standard: outlierStandard.failures,
          "Consecutive failures, over all sessions, after which an endpoint is ejected."),
        field(
          "eject_time", \.ejectTime, eject.located, shown: eject.encode(outlierStandard.ejectTime),
          "How long the first ejection lasts; the next one lasts twice as long, then three times. Each "
            + "ejection is forgotten after as much time in service."),
        field(
          "max_eject_time", \.ejectTimeMax, eject.located,
          shown: eject.encode(outlierStandard.ejectTimeMax),
          "How long an ejection lasts at most. Without it, `eject_time` where that is longer."),
        field(
          "max_ejected", \.ejectedPercentMax, .percentage(1...100),
          standard: outlierStandard.ejectedPercentMax,
          "Percentage of the endpoints that may be ejected at once; one always may be, but never the last "
            + "usable one."),
      ])
  }
}
