// SPDX-License-Identifier: Apache-2.0
// The description of exchanges: steps that send and expect, and the three ways to write bytes.

import Matching
import Plan

/// How many steps an exchange has at most, and how many bytes one of them.
private let stepsMax = 32
private let stepBytesMax = 4096

extension Codec<ExchangeCheckDraft> {
  /// `exchange:` of a check.
  static var exchangeCheck: Codec {
    .either(
      list: Codec<[ExchangeStepDraft]>.exchangeSteps.map { ExchangeCheckDraft(steps: $0) },
      mapping: .exchangeMapping)
  }

  private static var exchangeMapping: Codec {
    let standard = ExchangeCheckPlan(steps: [])
    let answer = ScalarCodec.size(64...(1 << 20))
    return .object(
      "exchange check",
      "Bytes that are sent, and bytes that must come back, step by step. With nothing but steps, their "
        + "list alone will do.",
      ExchangeCheckDraft(),
      notes: besideKind("exchange").merging([
        "send": "steps are a list: `[{send: …}, {expect: …}]`",
        "expect": "steps are a list: `[{send: …}, {expect: …}]`", "max": "did you mean `answer`?",
      ]) { $1 },
      fields: [
        field("steps", \.steps, .exchangeSteps, isRequired: true, "What is done, in this order."),
        field(
          "answer", \.answerBytesMax, answer.located, shown: answer.encode(standard.answerBytesMax),
          "How much is read at most, in all steps together."),
      ])
  }
}

extension Codec<[ExchangeStepDraft]> {
  fileprivate static var exchangeSteps: Codec {
    let steps = Codec.list(Codec<ExchangeStepDraft>.exchangeStep, countMin: 1)
    return Codec(shape: steps.shape) { node, place, diagnostics in
      guard let items = steps.decode(node, at: place, &diagnostics) else { return nil }
      if items.count > stepsMax {
        diagnostics.error(
          at: node.headRange,
          "there are \(items.count) steps here, at most \(stepsMax) are accepted", isShape: false)
      }
      if !items.isEmpty, items.allSatisfy({ $0.send != nil && $0.expect == nil }) {
        diagnostics.warning(
          at: node.headRange,
          "nothing is expected here, so every server passes that takes a connection",
          hints: ["add a step: `{expect: …}`"])
      }
      return items
    }
  }
}

extension Codec<ExchangeStepDraft> {
  fileprivate static var exchangeStep: Codec {
    let hint = "a step is `{send: …}` or `{expect: …}`"
    return .object(
      "exchange step", "One step of an exchange.", ExchangeStepDraft(),
      choices: [KeyChoice(names: ["send", "expect"], isRequired: true, hint: hint)],
      notes: [
        "receive": "did you mean `expect`?", "read": "did you mean `expect`?",
        "write": "did you mean `send`?", "regex": "it belongs to `expect: {regex: …}`",
        "hex": "it belongs to `send: {hex: …}` or `expect: {hex: …}`",
      ],
      fields: [
        field(
          "send", \.send, .bytes("sent bytes", "Bytes to send."), isOptional: false,
          "What is sent; text as it is, with `\\r\\n` where it belongs (in double quotes)."),
        field(
          "expect", \.expect, .expectation, isOptional: false,
          "What must come, in what follows the last step that was expected, with anything before it."
        ),
      ])
  }
}

extension Codec<[UInt8]> {
  /// Bytes as text or in hexadecimal digits.
  fileprivate static func bytes(_ name: String, _ documentation: String) -> Codec {
    let mapping = Codec<BytesDraft>.object(
      name, documentation, BytesDraft(),
      choices: [
        KeyChoice(names: ["text", "hex"], isRequired: true, hint: "write `{hex: 0d0a}`, or text")
      ],
      notes: ["regex": "what is sent cannot be a pattern", "base64": "did you mean `hex`?"],
      fields: bytesFields)
    return .either(scalar: .stepText, mapping: mapping.map { $0.text ?? $0.hexadecimal ?? [] })
  }
}

private var bytesFields: [Field<BytesDraft>] {
  [
    field("text", \.text, .stepText, isOptional: false, "Text, as it is."),
    field(
      "hex", \.hexadecimal, ScalarCodec.hexadecimal.codec, isOptional: false,
      "Hexadecimal digits, two for each byte, with spaces where they help."),
  ]
}

extension Codec<ExpectationDraft> {
  fileprivate static var expectation: Codec {
    let mapping = Codec<BytesDraft>.object(
      "expected bytes", "Bytes to be found, or a pattern for them.", BytesDraft(),
      choices: [
        KeyChoice(
          names: ["text", "hex", "regex"], isRequired: true, hint: "write `{regex: …}`, or text")
      ],
      notes: ["pattern": "did you mean `regex`?", "match": "did you mean `regex`?"],
      fields: bytesFields + [
        field(
          "regex", \.pattern, ScalarCodec.pattern.codec, isOptional: false,
          "A regular expression, see [health.md](health.md#patterns).")
      ])
    return .either(
      scalar: Codec<[UInt8]>.stepText.map { .bytes($0) },
      mapping: mapping.map { draft in
        draft.pattern.map { .pattern($0) } ?? .bytes(draft.text ?? draft.hexadecimal ?? [])
      })
  }
}

extension Codec<[UInt8]> {
  /// Text of a step, in which line ends and other control characters are text like any other.
  fileprivate static var stepText: Codec {
    let codec = ScalarCodec<[UInt8]>.stepText.codec
    return Codec(shape: codec.shape) { node, place, diagnostics in
      let bytes = codec.decode(node, at: place, &diagnostics)
      if let bytes, case .scalar(let scalar) = node.content, !scalar.isExpanded,
        [#"\r"#, #"\n"#, #"\t"#, #"\x"#].contains(where: { scalar.text.contains($0) })
      {
        diagnostics.warning(
          at: node.range, "a backslash and a letter are just that here, no line end",
          hints: [#"in double quotes, `\r\n` is a line end: `"PING\r\n"`"#])
        return bytes
      }
      return bytes
    }
  }
}

extension ScalarCodec<[UInt8]> {
  fileprivate static var stepText: ScalarCodec {
    ScalarCodec(
      shape: ScalarShape(
        accepted: "text", patterns: [#"([^$]|\$\$)+"#], examples: ["PING\r\n", "+PONG", "a$$b"]),
      parse: { scalar throws(Refusal) in
        guard !scalar.text.isEmpty else { throw Refusal("is empty") }
        guard !scalar.isNumber, !scalar.isBoolean else {
          throw Refusal(
            "is a \(scalar.isNumber ? "number" : "boolean") for YAML, text is expected",
            hint: "put it in quotes")
        }
        let bytes = Array(scalar.text.utf8)
        guard bytes.count <= stepBytesMax else {
          throw Refusal("is too long: at most \(stepBytesMax) bytes are accepted", isShape: false)
        }
        return bytes
      },
      encode: { .string(String(decoding: $0, as: UTF8.self)) })
  }

  fileprivate static var hexadecimal: ScalarCodec {
    ScalarCodec(
      shape: ScalarShape(
        accepted: "hexadecimal digits, two for each byte",
        patterns: ["[0-9A-Fa-f]{2}( ?[0-9A-Fa-f]{2})*"],
        examples: ["0d0a", "16 03 01", "FFFE"]),
      parse: { scalar throws(Refusal) in
        let text = Array(scalar.text.utf8)
        guard !text.isEmpty else { throw Refusal("is empty") }
        guard !scalar.isNumber, !scalar.isBoolean else {
          throw Refusal("is a number for YAML, text is expected", hint: "put it in quotes")
        }
        guard !text.starts(with: "0x".utf8) else {
          throw Refusal("begins with `0x`", hint: "write the digits alone")
        }
        var bytes: [UInt8] = []
        var rest = text[...]
        while let high = rest.popFirst() {
          guard let low = rest.popFirst(), isHexadecimalDigit(high), isHexadecimalDigit(low),
            let byte = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16)
          else { throw Refusal("is no pairs of hexadecimal digits") }
          bytes.append(byte)
          if rest.first == UInt8(ascii: " ") {
            rest.removeFirst()
            guard !rest.isEmpty else { throw Refusal("ends with a space") }
          }
        }
        guard bytes.count <= stepBytesMax else {
          throw Refusal("is too long: at most \(stepBytesMax) bytes are accepted", isShape: false)
        }
        return bytes
      },
      encode: { _ in .string("") })
  }
}

extension ScalarCodec<BytePattern> {
  fileprivate static var pattern: ScalarCodec {
    .text(
      "a regular expression", patterns: ["\(freeTextPattern)+"],
      examples: ["^2[0-9]{2} ", "(ok|ready)"], encode: \.text
    ) { text throws(Refusal) in
      let pattern: BytePattern
      do throws(BytePatternError) {
        pattern = try BytePattern(text)
      } catch {
        let place = error.position == 0 ? "" : " (behind \(error.position) characters)"
        throw Refusal(error.reason + place, isShape: false)
      }
      guard !pattern.matchesNothing else {
        throw Refusal("matches everything, also nothing at all", isShape: false)
      }
      guard pattern.bytesMin != nil else {
        throw Refusal(
          "never matches anything", hint: "`^` and `$` stand where lines begin and end",
          isShape: false)
      }
      return pattern
    }
  }
}
