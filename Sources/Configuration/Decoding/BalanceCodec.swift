// SPDX-License-Identifier: Apache-2.0
// The description of how an upstream's endpoints are chosen. A policy is a word, or, with options, a
// key that has them below it, so that what belongs to one policy cannot stand beside another.

import Plan

private let hashStandard = HashPlan()
private let ewmaStandard = EWMAPlan()

/// What an upstream says about choosing.
var balanceFields: [Field<UpstreamSettings>] {
  let spillOver = ScalarCodec.percentage(0...100)
  let slowStart = ScalarCodec.duration(.milliseconds(100)...(.seconds(3600))).orOff()
  return [
    field(
      "balance", \.balance, .balance, shown: .string("round_robin"),
      "How an endpoint is chosen: `round_robin`: in turn by weight; `random`: by weight; "
        + "`least_connections`: the one with the fewest sessions per weight; `power_of_two`: of two "
        + "drawn by weight, that one; `first`: the first in the order of the file that has room; "
        + "`source_hash` and `maglev`: by the client's address; `peak_ewma`: of two drawn by weight, "
        + "the one that answers sooner."),
    field(
      "slow_start", \.slowStart, slowStart.located,
      shown: slowStart.encode(upstreamStandard.slowStart),
      "Over how long an endpoint that has come up gets its weight back, from little on a straight "
        + "line. Not with `source_hash` and `maglev`, whose keys stay where they are, and `first`, which "
        + "knows no weight."),
    field(
      "spill_over", \.spillOverPercent, spillOver.located,
      shown: spillOver.encode(upstreamStandard.spillOverPercent),
      "When less than this of a priority's weight is healthy, it leaves a part of the sessions to the "
        + "next priority: a third with `spill_over: 75%` and half of it healthy. `0%`: only a priority "
        + "in which nobody can serve does."),
  ]
}

extension Codec<BalanceDraft> {
  /// `balance:` of an upstream.
  fileprivate static var balance: Codec {
    let word = ScalarCodec<BalancePolicy>.choice(
      [
        "round_robin": .roundRobin, "random": .random, "least_connections": .leastConnections,
        "power_of_two": .powerOfTwo, "first": .first, "source_hash": .sourceHash(hashStandard),
        "maglev": .maglev(hashStandard), "peak_ewma": .peakEWMA(ewmaStandard),
      ], notes: balanceWords)
    let codec = Codec.either(
      scalar: word.codec.map { BalanceDraft(policy: $0) }, mapping: .balanceMapping)
    return Codec(shape: codec.shape) { node, place, diagnostics in
      var draft = codec.decode(node, at: place, &diagnostics)
      draft?.range = node.headRange
      return draft
    }
  }

  private static var balanceMapping: Codec {
    .object(
      "balance", "A policy with options.", BalanceDraft(),
      choices: [
        KeyChoice(
          names: ["source_hash", "maglev", "peak_ewma"], isRequired: true,
          hint: "the policy is a key: `maglev: {key: source}`; without options, its name alone")
      ],
      notes: balanceKeys,
      fields: [
        field(
          "source_hash", \.sourceHash,
          .hash(
            "source hash",
            "A client keeps its endpoint as long as that can serve, and who leaves or comes moves "
              + "only his own clients (weighted rendezvous hashing)."), isOptional: false,
          "By hash; moves as few clients as possible."),
        field(
          "maglev", \.maglev,
          .hash(
            "maglev",
            "A client keeps its endpoint as long as that can serve. Shares are more even than those of "
              + "`source_hash`; an endpoint that is added to or removed from the file moves a few "
              + "clients of others, too (Eisenbud et al., 2016)."), isOptional: false,
          "By hash; the most even shares."),
        field(
          "peak_ewma", \.peakEWMA, .ewma, isOptional: false,
          "By how soon endpoints answer."),
      ])
  }
}

/// Other words for the policies.
private let balanceWords: KeyNotes = [
  "roundrobin": "did you mean `round_robin`?", "rr": "did you mean `round_robin`?",
  "weighted_round_robin": "did you mean `round_robin`? It goes by weight",
  "static-rr": "did you mean `round_robin`?", "leastconn": "did you mean `least_connections`?",
  "least_conn": "did you mean `least_connections`?",
  "least_request": "did you mean `least_connections`, or `power_of_two`?",
  "p2c": "did you mean `power_of_two`?", "two_choices": "did you mean `power_of_two`?",
  "source": "did you mean `source_hash`?", "ip_hash": "did you mean `source_hash`?",
  "iphash": "did you mean `source_hash`?", "hash": "did you mean `source_hash`, or `maglev`?",
  "ring_hash": "did you mean `source_hash`, or `maglev`?",
  "consistent": "did you mean `source_hash`, or `maglev`?",
  "ewma": "did you mean `peak_ewma`?", "least_time": "did you mean `peak_ewma`?",
  "pick_first": "did you mean `first`?", "failover": "use `priority` of endpoints",
]

private let balanceKeys: KeyNotes = {
  let hint = "it has no options: write `balance: "
  var notes = balanceWords
  for name in ["round_robin", "random", "least_connections", "power_of_two", "first"] {
    notes[name] = hint + name + "`"
  }
  notes["policy"] = "the policy is a key: `maglev: {…}`"
  notes["key"] = "it belongs to the policy: `maglev: {key: source}`"
  notes["table"] = "it belongs to the policy: `maglev: {table: 65537}`"
  return notes
}()

extension Codec<HashDraft> {
  fileprivate static func hash(_ name: String, _ documentation: String) -> Codec {
    let words = ScalarCodec<HashPlan.Key>.choice(
      ["source": .source, "route": .route],
      notes: [
        "ip": "did you mean `source`?", "client": "did you mean `source`?",
        "address": "did you mean `source`?", "prefix": "write `{ipv4: 24, ipv6: 64}`",
      ])
    let load = ScalarCodec.percentage(101...1000).orOff("any number")
    return .object(
      name, documentation, HashDraft(),
      notes: [
        "size": "did you mean `table`?", "table_size": "did you mean `table`?",
        "hash_key": "it belongs to a route; here, write `key: route`",
        "balance_factor": "did you mean `load`?", "bounded_load": "did you mean `load`?",
        "weight": "it belongs to endpoints",
      ],
      fields: [
        field(
          "key", \.key,
          .either(
            scalar: words.codec,
            mapping: Codec<PrefixDraft>.prefix.map { .prefix(v4: $0.v4, v6: $0.v6) }),
          shown: words.encode(hashStandard.key),
          "What clients are told apart by: `source`: their address; a prefix of it; `route`: the "
            + "route's `hash_key`, so that all clients of a route go to one endpoint. Clients of unix "
            + "sockets have no address and are all the same."),
        field(
          "table", \.tableSize, ScalarCodec.prime(251...5_000_011).located,
          shown: .integer(hashStandard.tableSize),
          "How many places the table has, a prime: a hundred for each endpoint or more."),
        field(
          "load", \.loadPercent, load, standard: hashStandard.loadPercent,
          "How many sessions an endpoint may have before its clients go elsewhere, in percent of its "
            + "share of all (bounded load)."),
      ])
  }
}

extension Codec<PrefixDraft> {
  fileprivate static var prefix: Codec {
    .object(
      "hash prefix", "How many leading bits of a client's address count.", PrefixDraft(),
      notes: ["v4": "did you mean `ipv4`?", "v6": "did you mean `ipv6`?"],
      fields: [
        field("ipv4", \.ipv4, .integer(1...32), standard: 32, "Of an IPv4 address."),
        field("ipv6", \.ipv6, .integer(1...128), standard: 128, "Of an IPv6 address."),
      ])
  }
}

extension Codec<EWMADraft> {
  fileprivate static var ewma: Codec {
    .object(
      "peak ewma",
      "How long an endpoint takes, by a moving average that follows a peak at once and forgets it slowly, "
        + "times the sessions that it has.",
      EWMADraft(),
      notes: [
        "tau": "did you mean `decay`?", "half_life": "did you mean `decay`?",
        "metric": "did you mean `measure`?",
      ],
      fields: [
        field(
          "measure", \.measure,
          .choice(
            ["connect": .connect, "first_byte": .firstByte]),
          standard: ewmaStandard.measure,
          "`connect`: how long connecting takes; `first_byte`: from the last byte to the endpoint to the "
            + "first byte back."),
        field(
          "decay", \.decay, .duration(.milliseconds(10)...(.seconds(3600))),
          standard: ewmaStandard.decay, "After how long a measurement counts for about a third."),
      ])
  }
}

extension ScalarCodec where Value == Int {
  /// A prime.
  fileprivate static func prime(_ range: ClosedRange<Int>) -> ScalarCodec {
    var codec = integer(range)
    let parse = codec.parse
    codec.shape.accepted = "a prime from \(range.lowerBound) to \(range.upperBound)"
    codec.parse = { scalar throws(Refusal) in
      let number = try parse(scalar)
      guard !isPrime(number) else { return number }
      var (below, above) = (number, number)
      while !isPrime(below), below > range.lowerBound { below -= 1 }
      while !isPrime(above), above < range.upperBound { above += 1 }
      throw Refusal(
        "is no prime", hint: "the nearest primes are \(below) and \(above)", isShape: false)
    }
    return codec
  }
}

private func isPrime(_ number: Int) -> Bool {
  guard number > 3, number % 2 != 0 else { return number == 2 || number == 3 }
  var divisor = 3
  while divisor * divisor <= number {
    if number % divisor == 0 { return false }
    divisor += 2
  }
  return true
}

extension ScalarCodec<String> {
  /// `hash_key:` of a route.
  static var hashKey: ScalarCodec {
    .text(
      "text of at most 256 bytes", patterns: ["\(freeTextPattern){1,256}"], examples: ["orders"],
      encode: { $0 }
    ) { text throws(Refusal) in
      guard text.utf8.count <= 256 else {
        throw Refusal("is longer than 256 bytes", isShape: false)
      }
      return text
    }
  }
}
