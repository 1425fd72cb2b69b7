// SPDX-License-Identifier: Apache-2.0
// Whole numbers, booleans, words and text. YAML 1.1 reads `yes`, `012` and `1_000` as something
// that few expect, YAML 1.2 otherwise, and programs differ: here a boolean is `true` or `false`, a
// number is decimal digits, and everything else is refused with the way to write it.

extension ScalarCodec where Value == Int {
  /// A whole number.
  static func integer(_ range: ClosedRange<Int>) -> ScalarCodec {
    let accepted = "a whole number from \(range.lowerBound) to \(range.upperBound)"
    return ScalarCodec(
      shape: ScalarShape(accepted: accepted, integers: range),
      parse: { scalar throws(Refusal) in
        guard scalar.isPlain || scalar.isExpanded else {
          throw Refusal("is text, not a number, because of its quotes", hint: "remove the quotes")
        }
        let number = try wholeNumber(scalar.text)
        guard range.contains(number) else {
          throw Refusal("is too \(number < range.lowerBound ? "small" : "large")")
        }
        return number
      },
      encode: { .integer($0) })
  }
}

/// Decimal digits; numbers too large for any range are `Int.max`.
func wholeNumber(_ text: String) throws(Refusal) -> Int {
  var digits = text.utf8[...]
  let isNegative = digits.first == UInt8(ascii: "-")
  if isNegative { digits = digits.dropFirst() }
  guard !digits.isEmpty, digits.allSatisfy(isDigit) else {
    throw Refusal("is no whole number")
  }
  guard digits.count == 1 || digits.first != UInt8(ascii: "0") else {
    let rest = String(decoding: digits.drop { $0 == UInt8(ascii: "0") }, as: UTF8.self)
    throw Refusal(
      "has a leading zero, which some programs read as octal",
      hint: "write \(rest.isEmpty ? "0" : rest)")
  }
  guard !isNegative else { return digits.elementsEqual("0".utf8) ? 0 : -1 }
  return Int(text) ?? .max
}

extension ScalarCodec where Value == Bool {
  /// `true` or `false`.
  static var boolean: ScalarCodec {
    ScalarCodec(
      shape: ScalarShape(accepted: "`true` or `false`", isBoolean: true),
      parse: { scalar throws(Refusal) in
        guard scalar.isPlain || scalar.isExpanded else {
          throw Refusal("is text, not a boolean, because of its quotes", hint: "remove the quotes")
        }
        switch scalar.text {
        case "true": return true
        case "false": return false
        case "yes", "Yes", "YES", "on", "On", "ON", "y", "Y", "True", "TRUE", "1":
          throw Refusal("is no boolean here", hint: "write `true`")
        case "no", "No", "NO", "off", "Off", "OFF", "n", "N", "False", "FALSE", "0":
          throw Refusal("is no boolean here", hint: "write `false`")
        default: throw Refusal("is no boolean")
        }
      },
      encode: { .boolean($0) })
  }
}

extension ScalarCodec {
  /// One of some words. `notes` has hints for words that are not accepted.
  static func choice(
    _ words: KeyValuePairs<String, Value>, notes: KeyNotes = [:]
  ) -> ScalarCodec where Value: Equatable {
    let names = words.map(\.key)
    let accepted = inBackticks(names)
    return ScalarCodec(
      shape: ScalarShape(accepted: accepted, keywords: names),
      parse: { scalar throws(Refusal) in
        guard let word = words.first(where: { $0.key == scalar.text }) else {
          throw Refusal("is not accepted here", hint: notes[scalar.text])
        }
        return word.value
      },
      encode: { value in .string(words.first { $0.value == value }?.key ?? "") })
  }

  /// Text of certain forms. What YAML reads as a number or a boolean is no text.
  static func text(
    _ accepted: String, patterns: [String], examples: [String],
    encode: @escaping (Value) -> String, parse: @escaping (String) throws(Refusal) -> Value
  ) -> ScalarCodec {
    ScalarCodec(
      shape: ScalarShape(accepted: accepted, patterns: patterns, examples: examples),
      parse: { scalar throws(Refusal) in
        guard !scalar.text.isEmpty else { throw Refusal("is empty") }
        guard !holdsControlCharacters(scalar.text)
        else { throw Refusal("holds a control character") }
        let value = try parse(scalar.text)
        guard !scalar.isNumber, !scalar.isBoolean else {
          throw Refusal(
            "is a \(scalar.isNumber ? "number" : "boolean") for YAML, text is expected",
            hint: "put it in quotes")
        }
        return value
      },
      encode: { .string(encode($0)) })
  }
}

/// Whether one of ASCII is among the bytes.
private func holdsControlCharacters(_ text: String) -> Bool {
  func areAmong(_ bytes: some Sequence<UInt8>) -> Bool {
    bytes.contains { $0 < 0x20 || $0 == 0x7F }
  }
  // Asked for every text of a file, and much faster where the bytes stand in a row, as they do.
  return text.utf8.withContiguousStorageIfAvailable(areAmong) ?? areAmong(text.utf8)
}

extension ScalarCodec where Value == String {
  /// The path of a file, from the root.
  static var absolutePath: ScalarCodec {
    .text(
      "an absolute path", patterns: ["/\(freeTextPattern)*"], examples: ["/etc/sluice/db.yaml"],
      encode: { $0 }
    ) { text throws(Refusal) in
      guard text.hasPrefix("/") else {
        throw Refusal(
          "is no absolute path",
          hint: text.contains("://")
            ? "only files are read" : "write it from the root, like `/etc/…`")
      }
      return text
    }
  }
}

/// Characters of a path or an abstract name, as they stand in the file.
let freeTextPattern = #"([^$\u0000-\u001f\u007f]|\$\$)"#
