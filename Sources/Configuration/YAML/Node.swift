// SPDX-License-Identifier: Apache-2.0
// The tree of a YAML document: every node knows where it stands in the file. Aliases are resolved
// and merge keys are merged, so that a decoder sees neither; an aliased node keeps the position of
// its anchor, which is where a fault in it has to be mended. Types of plain scalars are not decided
// here: whether `5` is a number depends on what the place wants.

/// A node and where it stands.
struct Node {
  var content: Content
  var range: SourceRange
  /// The key that this node is the value of, for faults that have no place of their own.
  var keyRange: SourceRange?
  /// How many nodes a walk over this one visits, aliases expanded.
  var weight = 1
  /// How many levels it has.
  var depth = 1
  /// Why nothing of its value is shown; `nil` where it may be.
  var secrecy: Secrecy?

  enum Content {
    case scalar(Scalar)
    case sequence([Node])
    /// In the order of the file; no key twice.
    case mapping([Entry])
    /// Something whose fault is already reported.
    case failed
  }

  /// Where to point when something is missing inside.
  var headRange: SourceRange { keyRange ?? range }

  /// What the content is called in a sentence.
  var kindWords: String {
    switch content {
    case .scalar(let scalar): scalar.isNull ? "nothing" : "a single value"
    case .sequence: "a list"
    case .mapping: "a mapping"
    case .failed: "something else"
    }
  }
}

/// A key and its value.
struct Entry {
  var key: String
  var keyRange: SourceRange
  var value: Node
}

/// A scalar as a decoder sees it.
struct Scalar {
  /// What counts: with `${NAME}` expanded.
  var text: String
  /// What stands in the file, where that is something else.
  var written: String?
  /// Written without quotes, so that it may be a number, a boolean or null.
  var isPlain: Bool
  /// Whether `text` holds something that is not in the file and may be a secret.
  var isExpanded = false

  /// What may be shown: as in the file.
  var shown: String { written ?? text }

  /// Whether YAML's core schema reads it as null.
  var isNull: Bool {
    isPlain && !isExpanded && ["", "~", "null", "Null", "NULL"].contains(text)
  }

  /// Whether YAML's core schema reads it as a boolean.
  var isBoolean: Bool {
    isPlain && !isExpanded
      && ["true", "True", "TRUE", "false", "False", "FALSE"].contains(text)
  }

  /// Whether YAML's core schema reads it as a number.
  var isNumber: Bool {
    guard isPlain, !isExpanded, let first = text.utf8.first else { return false }
    if [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(text) { return true }
    let unsigned = first == UInt8(ascii: "-") || first == UInt8(ascii: "+") ? 1 : 0
    let body = text.utf8.dropFirst(unsigned)
    if body.elementsEqual(".inf".utf8) { return true }
    if body.starts(with: "0x".utf8) {
      return body.count > 2 && body.dropFirst(2).allSatisfy(isHexadecimalDigit)
    }
    if body.starts(with: "0o".utf8) {
      return body.count > 2 && body.dropFirst(2).allSatisfy { (0x30...0x37).contains($0) }
    }
    return isDecimal(body)
  }
}

/// Digits with at most one dot and an exponent.
private func isDecimal(_ body: Substring.UTF8View) -> Bool {
  var digits = 0
  var hasDot = false
  var rest = body
  while let byte = rest.first {
    if isDigit(byte) {
      digits += 1
    } else if byte == UInt8(ascii: "."), !hasDot {
      hasDot = true
    } else {
      break
    }
    rest = rest.dropFirst()
  }
  guard digits > 0 else { return false }
  guard let exponent = rest.first else { return true }
  guard exponent == UInt8(ascii: "e") || exponent == UInt8(ascii: "E") else { return false }
  rest = rest.dropFirst()
  if rest.first == UInt8(ascii: "-") || rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
  return !rest.isEmpty && rest.allSatisfy(isDigit)
}

func isDigit(_ byte: UInt8) -> Bool {
  (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
}

func isHexadecimalDigit(_ byte: UInt8) -> Bool {
  isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
}

func isLetter(_ byte: UInt8) -> Bool {
  (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
}
