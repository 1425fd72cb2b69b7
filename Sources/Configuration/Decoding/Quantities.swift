// SPDX-License-Identifier: Apache-2.0
// Durations (`250ms`, `1h30m`) and sizes (`64KiB`, `10MB`). A duration always has its unit: is
// `30` seconds or milliseconds? Fractions are not accepted, as there is always a smaller unit.

import Plan

private let durationUnits: [(name: String, microseconds: Int64)] = [
  ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000), ("us", 1),
]

private let sizeUnits: [(name: String, bytes: Int)] = [
  ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 1000), ("KB", 1000),
  ("MB", 1_000_000), ("GB", 1_000_000_000), ("B", 1),
]

/// What a duration is counted in where it is used; parts of it would be lost there.
enum DurationStep: Int64 {
  case microseconds = 1
  case milliseconds = 1000
  case seconds = 1_000_000

  /// The largest whole number of steps that is not longer.
  func floor(_ duration: Duration) -> Duration {
    let (seconds, attoseconds) = duration.components
    let microseconds = seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    return .microseconds(microseconds / rawValue * rawValue)
  }
}

extension ScalarCodec where Value == Duration {
  /// A duration within a range, ends included, that is a whole number of steps.
  static func duration(
    _ range: ClosedRange<Duration>, step: DurationStep = .microseconds
  ) -> ScalarCodec {
    let least = range.lowerBound.configurationText
    let most = range.upperBound.configurationText
    let number = "(0|[1-9][0-9]*)"
    let parts = durationUnits.map { "(\(number)\($0.name))?" }.joined()
    let examples = durationExamples(range, step)
    return .text(
      "a duration from `\(least)` to `\(most)`"
        + (step == .microseconds ? "" : ", in whole \(step)"),
      patterns: ["(?=[0-9])" + parts], examples: examples, encode: \.configurationText
    ) { text throws(Refusal) in
      let duration = try parseDuration(text)
      guard range.contains(duration) else {
        throw Refusal(
          "is too \(duration < range.lowerBound ? "short" : "long")", isShape: false)
      }
      let below = step.floor(duration)
      guard below == duration else {
        let near = [below, below + .microseconds(step.rawValue)].filter(range.contains)
        throw Refusal(
          "is no whole number of \(step)",
          hint: "write " + near.map { "`\($0.configurationText)`" }.joined(separator: " or "),
          isShape: false)
      }
      return duration
    }.hinting { text in
      // Seconds would be refused, too.
      guard text.utf8.allSatisfy(isDigit), let seconds = try? parseDuration(text + "s"),
        !range.contains(seconds), let example = examples.first
      else { return nil }
      return "write it with its unit, like `\(example)`"
    }
  }
}

private func durationExamples(
  _ range: ClosedRange<Duration>, _ step: DurationStep
) -> [String] {
  let candidates: [(String, Duration)] = [
    ("500us", .microseconds(500)), ("250ms", .milliseconds(250)), ("3s", .seconds(3)),
    ("5m", .seconds(300)), ("1h30m", .seconds(5400)),
  ]
  return candidates.filter { range.contains($0.1) && step.floor($0.1) == $0.1 }.map(\.0)
}

extension ScalarCodec {
  /// A codec of quantities that also accepts `off`, and offers it for what others write for it.
  func orOff(_ documentation: String? = nil) -> ScalarCodec<Value?> {
    let zero = Scalar(text: "0s", isPlain: true)
    let takesZero = (try? parse(zero)) != nil
    let off = "write `off`" + (documentation.map { " (\($0))" } ?? "")
    var words = ["no", "never", "none", "false", "disable", "disabled"]
    // Where `off` is said to mean it; elsewhere it is the opposite.
    if documentation != nil { words += ["unlimited", "infinite"] }
    return or("off", documentation).hinting { text in
      if words.contains(text.lowercased()) { return off + (takesZero ? ", or `0s`" : "") }
      let isZero = (try? parseDuration(text)) == .zero || (try? parseSize(text)) == 0
      return isZero && !takesZero ? off : nil
    }
  }
}

extension Duration {
  /// A duration as the configuration writes it, like `1h30m`; `nil` for any other text.
  public init?(configurationText text: String) {
    guard let duration = try? parseDuration(text) else { return nil }
    self = duration
  }
}

/// Numbers with units, the larger unit first, each unit once.
func parseDuration(_ text: String) throws(Refusal) -> Duration {
  var rest = text.utf8[...]
  var total: Int64 = 0
  var unitsLeft = durationUnits[...]
  guard !rest.isEmpty else { throw Refusal("is no duration") }
  while !rest.isEmpty {
    let digits = rest.prefix(while: isDigit)
    guard !digits.isEmpty else {
      let hint =
        rest.first == UInt8(ascii: "-") ? "a duration is never negative" : "write it like `1h30m`"
      throw Refusal("is no duration", hint: hint)
    }
    guard digits.count == 1 || digits.first != UInt8(ascii: "0") else {
      throw Refusal("has a leading zero")
    }
    rest = rest[digits.endIndex...]
    let name = String(decoding: rest.prefix { !isDigit($0) }, as: UTF8.self)
    guard let index = unitsLeft.firstIndex(where: { $0.name == name }) else {
      throw unitRefusal(name, text: text)
    }
    rest = rest.dropFirst(name.utf8.count)
    let unit = unitsLeft[index]
    unitsLeft = unitsLeft[(index + 1)...]
    // 2^63 microseconds are far beyond every range: what overflows is just too long.
    guard let number = Int64(String(decoding: digits, as: UTF8.self)) else {
      throw Refusal("is too long", isShape: false)
    }
    let (product, overflow) = number.multipliedReportingOverflow(by: unit.microseconds)
    let (sum, sumOverflow) = total.addingReportingOverflow(product)
    guard !overflow, !sumOverflow else { throw Refusal("is too long", isShape: false) }
    total = sum
  }
  return .microseconds(total)
}

private func unitRefusal(_ name: String, text: String) -> Refusal {
  let digits = String(text.prefix { $0.isNumber })
  if durationUnits.contains(where: { $0.name == name }) {
    return Refusal(
      "has its units in the wrong order or twice", hint: "the larger unit comes first: `1h30m`")
  }
  switch name {
  case "": return Refusal("has no unit", hint: "write `\(text)s` for seconds")
  case "d", "w", "day", "days":
    return Refusal("has a unit that is not supported", hint: "write hours: a day is `24h`")
  case ".", ",": return Refusal("is no whole number of a unit", hint: "write `1500ms` for 1.5 s")
  case "µs", "μs": return Refusal("has an unknown unit", hint: "write `us` for microseconds")
  case "sec", "secs", "second", "seconds", "S":
    return Refusal("has an unknown unit", hint: "write `\(digits)s`")
  case "min", "mins", "minute", "minutes", "M":
    return Refusal("has an unknown unit", hint: "write `\(digits)m`")
  case "hour", "hours", "H": return Refusal("has an unknown unit", hint: "write `\(digits)h`")
  default:
    if name.utf8.contains(UInt8(ascii: " ")) {
      let joined = String(text.filter { $0 != " " })
      return Refusal("has a space in it", hint: "write `\(escaped(joined, scalarsMax: 60))`")
    }
    return Refusal("has an unknown unit", hint: "the units are `h`, `m`, `s`, `ms`, `us`")
  }
}

extension ScalarCodec where Value == Int {
  /// A size in bytes within a range, as a number or with a unit.
  static func size(_ range: ClosedRange<Int>) -> ScalarCodec {
    let units = sizeUnits.map(\.name).joined(separator: "|")
    let accepted = "a size from `\(sizeText(range.lowerBound))` to `\(sizeText(range.upperBound))`"
    return ScalarCodec(
      shape: ScalarShape(
        accepted: accepted, integers: range, patterns: ["(0|[1-9][0-9]*)(\(units))?"],
        examples: [sizeText(range.lowerBound), sizeText(range.upperBound)]),
      parse: { scalar throws(Refusal) in
        let size = try parseSize(scalar.text)
        guard range.contains(size) else {
          throw Refusal(
            "is too \(size < range.lowerBound ? "small" : "large")", isShape: scalar.isNumber)
        }
        return size
      },
      encode: { .string(sizeText($0)) })
  }
}

extension ScalarCodec where Value == Int {
  /// A whole number of percent within a range, with its sign.
  static func percentage(_ range: ClosedRange<Int>) -> ScalarCodec {
    let example = range.contains(75) ? 50 : range.contains(10) ? 10 : range.lowerBound + 24
    return .text(
      "a percentage from `\(range.lowerBound)%` to `\(range.upperBound)%`",
      patterns: ["(0|[1-9][0-9]*)%"], examples: ["\(range.lowerBound)%", "\(range.upperBound)%"],
      encode: { "\($0)%" }
    ) { text throws(Refusal) in
      let digits = text.utf8.prefix(while: isDigit)
      let sign = text.utf8[digits.endIndex...]
      guard !digits.isEmpty else {
        let isNone = ["off", "no", "none", "false"].contains(text.lowercased())
        if isNone, range.lowerBound == 0 { throw Refusal("is no percentage", hint: "write `0%`") }
        if text.hasPrefix("-") { throw Refusal("is no percentage: one is never negative") }
        throw Refusal("is no percentage", hint: "write it like `\(example)%`")
      }
      guard digits.count == 1 || digits.first != UInt8(ascii: "0") else {
        throw Refusal("has a leading zero")
      }
      let shown = String(decoding: digits, as: UTF8.self)
      guard sign.elementsEqual("%".utf8) else {
        if sign.isEmpty || sign.elementsEqual(" %".utf8) {
          throw Refusal(
            sign.isEmpty ? "has no `%`" : "has a space in it", hint: "write `\(shown)%`")
        }
        throw Refusal("is no whole number of percent")
      }
      let number = Int(shown) ?? .max
      guard range.contains(number) else {
        throw Refusal("is too \(number < range.lowerBound ? "small" : "large")", isShape: false)
      }
      return number
    }
  }
}

/// Digits and perhaps a unit, in bytes; `Int.max` when it is larger than that.
func parseSize(_ text: String) throws(Refusal) -> Int {
  let digits = text.utf8.prefix(while: isDigit)
  let name = String(decoding: text.utf8[digits.endIndex...], as: UTF8.self)
  guard !digits.isEmpty else { throw Refusal("is no size", hint: "write it like `64KiB`") }
  guard digits.count == 1 || digits.first != UInt8(ascii: "0") else {
    throw Refusal("has a leading zero")
  }
  guard let unit = name.isEmpty ? ("B", 1) : sizeUnits.first(where: { $0.name == name }) else {
    let wanted = String(name.filter { $0 != " " })
    let near = sizeUnits.first { unit in
      ["", "b", "ib"].contains { unit.name.lowercased() == wanted.lowercased() + $0 }
    }
    throw Refusal(
      "has an unknown unit",
      hint: near.map { "write `\(String(decoding: digits, as: UTF8.self))\($0.name)`" }
        ?? "the units are `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB`")
  }
  let number = Int(String(decoding: digits, as: UTF8.self)) ?? .max
  let (product, overflow) = number.multipliedReportingOverflow(by: unit.1)
  return overflow ? .max : product
}

/// The text of a size in the largest binary unit that it is a whole number of.
func sizeText(_ bytes: Int) -> String {
  for unit in [sizeUnits[2], sizeUnits[1], sizeUnits[0]]
  where bytes >= unit.bytes && bytes % unit.bytes == 0 {
    return "\(bytes / unit.bytes)\(unit.name)"
  }
  return "\(bytes)B"
}
