// SPDX-License-Identifier: Apache-2.0
// The description of how an upstream's endpoints are found: how names are looked up, and a file that lists
// endpoints. `resolve` is taken whole: an upstream's own replaces the one of `defaults`, so that nobody
// inherits the name server of one and the interval of the other.

import Addressing
import Plan

/// What an upstream says about finding its endpoints.
var resolutionFields: [Field<UpstreamSettings>] {
  [
    field(
      "resolve", \.resolve, .resolve, shown: .string("off"),
      "How often host names and services are looked up again, by whom, and how. `off`: only at the "
        + "start. Taken whole: an upstream's own replaces the one of `defaults`.")
  ]
}

/// The bounds of `min` and `max` where nothing is said.
let timeToLiveMin = Duration.seconds(1)
let timeToLiveMax = Duration.seconds(300)

private let againRange = Duration.seconds(1)...(.seconds(86400))

/// `off`, a duration, or `ttl`.
private var again: ScalarCodec<ResolveMoments> {
  ScalarCodec.duration(againRange).orOff()
    .map({ $0.map(ResolveMoments.every) ?? .never }) { moments in
      if case .every(let duration) = moments { duration } else { nil }
    }
    .or("ttl", "when the answer does not hold any longer")
    .map({ $0 ?? .timeToLive }) { $0 == .timeToLive ? nil : $0 }
}

extension Codec<ResolveDraft> {
  /// `resolve:` of an upstream.
  static var resolve: Codec {
    let codec = Codec.either(
      scalar: again.hinting(hint).codec.map { ResolveDraft(every: $0) }, mapping: .resolveMapping)
    return Codec(shape: codec.shape) { node, place, diagnostics in
      var draft = codec.decode(node, at: place, &diagnostics)
      draft?.range = node.range
      return draft
    }
  }

  /// What to write for what is not accepted as a single value.
  private static func hint(_ text: String) -> String? {
    if (try? parseNameServer(text)) != nil { return "write `{server: \"\(text)\"}`" }
    switch text.lowercased() {
    case "dns", "auto", "on", "true", "yes", "system": return "write `ttl`, or how often: `30s`"
    default: break
    }
    let words = ["no", "never", "none", "false", "disable", "disabled", "0", "0s"]
    return words.contains(text.lowercased()) ? "write `off`" : nil
  }

  private static var resolveMapping: Codec {
    let bound = ScalarCodec.duration(againRange)
    let timeout = ScalarCodec.duration(.milliseconds(100)...(.seconds(60)))
    let servers = "it is the key `server`"
    let interval = "did you mean `every`?"
    return .object(
      "resolve",
      "How host names and services are looked up. With `every: ttl` or `server`, name servers are "
        + "asked directly (DNS); otherwise the system looks names up as it does for others, "
        + "in `/etc/hosts` for example.",
      ResolveDraft(),
      notes: [
        "interval": interval, "refresh": interval, "period": interval,
        "ttl": "did you mean `every: ttl`?", "valid": interval, "hold": interval,
        "servers": servers, "nameserver": servers, "nameservers": servers, "resolver": servers,
        "resolvers": servers, "dns": servers, "address": servers,
        "retries": "there is `timeout`, within which three attempts are made",
        "min_ttl": "did you mean `min`?", "max_ttl": "did you mean `max`?",
      ],
      fields: [
        field(
          "every", \.every, again, standard: .timeToLive,
          "How long after a look-up the next one follows; `ttl`: when the answer does not hold any "
            + "longer, which the DNS tells."),
        field(
          "min", \.min, bound.located, shown: bound.encode(timeToLiveMin),
          "With `every: ttl`: after this long at the soonest, also where an answer is not to be kept."
        ),
        field(
          "max", \.max, bound.located, shown: bound.encode(timeToLiveMax),
          "With `every: ttl`: after this long at the latest."),
        field(
          "server", \.servers,
          .either(
            scalar: ScalarCodec.nameServer.codec.asList,
            list: .list(ScalarCodec.nameServer.codec, countMin: 1)),
          "The name servers that are asked, in this order; without it, those of "
            + "`/etc/resolv.conf`. With it, names are whole: no search list is applied."),
        field(
          "timeout", \.timeout, timeout, standard: upstreamStandard.resolve.timeout,
          "How long one look-up may take, over all name servers and attempts."),
      ])
  }
}

/// The most name servers that are asked for one upstream.
private let nameServersMax = 8

extension Lowering {
  /// How the names of an upstream are looked up: its own way or the shared one, whole.
  mutating func resolve(
    _ own: ResolveDraft?, _ shared: ResolveDraft?, _ endpoints: [EndpointPlan]
  ) -> ResolvePlan {
    let hasName = endpoints.contains { endpoint in
      switch endpoint.address {
      case .name, .service: true
      case .socket, .builtin: false
      }
    }
    if let own {
      if own.every != .never, !endpoints.isEmpty, !hasName {
        diagnostics.warning(
          at: own.range,
          "no endpoint of this upstream is a host name, so nothing is looked up again")
      }
      checkMeaning(of: own)
    }
    guard let draft = own ?? shared else { return upstreamStandard.resolve }
    let interval: ResolvePlan.Interval =
      switch draft.every ?? .timeToLive {
      case .never: .never
      case .every(let duration): .every(duration)
      case .timeToLive:
        .timeToLive(
          min: draft.min?.value ?? min(timeToLiveMin, draft.max?.value ?? timeToLiveMin),
          max: draft.max?.value ?? max(timeToLiveMax, draft.min?.value ?? timeToLiveMax))
      }
    return ResolvePlan(
      interval, servers: draft.servers ?? [],
      timeout: draft.timeout ?? upstreamStandard.resolve.timeout)
  }

  /// Reports what makes no sense, whichever endpoints it is for.
  mutating func checkMeaning(of draft: ResolveDraft) {
    if let servers = draft.servers, servers.count > nameServersMax {
      diagnostics.error(
        at: draft.range, "more than \(nameServersMax) name servers", isShape: false)
    }
    guard let bound = draft.min ?? draft.max else { return }
    guard draft.every ?? .timeToLive == .timeToLive else {
      diagnostics.warning(
        at: bound.range,
        "`min` and `max` bound how long an answer holds, which is not asked for here",
        hints: ["write `every: ttl`, or leave them out"])
      return
    }
    if let min = draft.min, let max = draft.max, min.value > max.value {
      diagnostics.error(
        at: min.range, "`min` is longer than `max`",
        hints: ["`max` is in line \(max.range.start.line)"], isShape: false)
    }
  }
}
