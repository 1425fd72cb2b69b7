// SPDX-License-Identifier: Apache-2.0
// What a place in the file accepts, as a value: the half of a codec that can be looked at. The
// JSON Schema and the reference table are made from it, and the generator of test documents walks
// it. Unions are told apart by the kind of the node alone (value, list, mapping) and values by
// keyword first, never by trying alternatives, so that an error can say what was expected.

/// What a place accepts.
indirect enum Shape {
  case scalar(ScalarShape)
  case list(of: Shape, countMin: Int)
  case object(ObjectShape)
  /// A mapping from names that the file chooses.
  case named(Shape, keys: KeyForm = .names, countMin: Int = 0)
  /// By the kind of the node.
  case either(scalar: ScalarShape?, list: Shape?, mapping: Shape?)
}

/// A single value: keywords, a range of numbers, true and false, text of certain forms.
struct ScalarShape {
  /// For people: what is accepted. Keywords in backticks, but no links: it is shown everywhere.
  var accepted: String
  var keywords: [String] = []
  var integers: ClosedRange<Int>?
  var isBoolean = false
  /// Regular expressions, each for the whole text; at least one must match.
  var patterns: [String] = []
  /// Texts that match, for editors and for generated documents.
  var examples: [String] = []

  /// A place that accepts what either accepts.
  func or(_ other: ScalarShape) -> ScalarShape {
    ScalarShape(
      accepted: accepted + ", or " + other.accepted, keywords: keywords + other.keywords,
      integers: integers ?? other.integers, isBoolean: isBoolean || other.isBoolean,
      patterns: patterns + other.patterns, examples: examples + other.examples)
  }
}

/// A mapping with known keys.
struct ObjectShape {
  /// Unique; becomes the definition's name in the schema.
  var name: String
  /// A sentence or two for people.
  var documentation: String
  var fields: [FieldShape]
  /// Whether keys that start with `x-` are free.
  var allowsExtensions = false
  /// Keys that exclude each other.
  var choices: [KeyChoice] = []
}

/// Keys of a mapping of which at most one may be present, or one at least must be.
struct KeyChoice {
  var names: [String]
  /// Whether one must be: a kind that is told by its key.
  var isRequired = false
  /// Whether they may stand side by side.
  var allowsSeveral = false
  /// What to write when it is missing.
  var hint: String?
}

/// What the keys of a mapping look like that the file chooses.
struct KeyForm {
  /// For people: what a key is called, and what it may be.
  var word: String
  var accepted: String
  /// A regular expression for the whole key.
  var pattern: String
  /// Keys that match, and keys that do not, for generated documents.
  var examples: [String]
  var slips: [String]
  var accepts: (String) -> Bool

  /// Names of routes and upstreams.
  static var names: KeyForm {
    KeyForm(
      word: "name", accepted: "1 to 64 letters, digits, `_`, `-` or `.`",
      pattern: "[A-Za-z0-9_.-]{1,64}", examples: ["n.0", "n.1"],
      slips: ["a b", "", "ü", String(repeating: "n", count: 65)], accepts: isName)
  }
}

/// A known key.
struct FieldShape {
  var name: String
  var shape: Shape
  var documentation: String
  /// What counts when the key is absent, where that is one value.
  var defaultValue: JSON?
  /// What counts instead where something else is said, for people.
  var defaultNote: String?
  var isRequired = false
}

/// Where words are read.
enum Medium {
  /// In a report; backticks and nothing more.
  case terminal
  /// In the reference, where mappings have sections to link to.
  case markdown
}

extension Shape {
  /// What is accepted, for people.
  func accepted(_ medium: Medium) -> String {
    switch self {
    case .scalar(let scalar): return scalar.accepted
    case .list(let item, _): return "a list of \(item.acceptedItems(medium))"
    case .object(let object):
      return medium == .markdown ? "a mapping, see \(object.link)" : "a mapping with \(object.keys)"
    case .named(let value, let keys, _):
      guard case .object(let object) = value else {
        return "a mapping from \(keys.word)s to \(value.accepted(medium))"
      }
      return medium == .markdown
        ? "a mapping from \(keys.word)s to \(object.link)"
        : "a mapping from \(keys.word)s to mappings with \(object.keys)"
    case .either(let scalar, let list, let mapping):
      return [
        scalar?.accepted, list?.acceptedList(medium, beside: scalar), mapping?.accepted(medium),
      ].compactMap { $0 }.joined(separator: ", or ")
    }
  }

  /// A list in a union, without saying again what the single value may be.
  private func acceptedList(_ medium: Medium, beside scalar: ScalarShape?) -> String {
    switch self {
    case .list(.scalar(let item), _) where item.accepted == scalar?.accepted:
      "a list of such"
    case .list(.either(let item?, nil, let mapping?), _)
    where medium == .terminal && scalar?.accepted.hasSuffix(", or " + item.accepted) == true:
      "a list of the latter, or of these: \(mapping.accepted(medium))"
    default: accepted(medium)
    }
  }

  private func acceptedItems(_ medium: Medium) -> String {
    switch self {
    case .either(let scalar?, nil, nil): scalar.accepted
    case .either: "these: \(accepted(medium))"
    default: accepted(medium)
    }
  }

  /// What is expected, in the words of a message: kinds only.
  var kindWords: String {
    switch self {
    case .scalar: "a single value"
    case .list: "a list"
    case .object, .named: "a mapping"
    case .either(let scalar, let list, let mapping):
      [scalar.map { _ in "a single value" }, list?.kindWords, mapping?.kindWords]
        .compactMap { $0 }.joined(separator: " or ")
    }
  }
}

/// Names in backticks, with commas.
func inBackticks(_ names: [String]) -> String {
  names.map { "`\($0)`" }.joined(separator: ", ")
}

extension ObjectShape {
  fileprivate var link: String { "[`\(name)`](#\(anchor))" }

  fileprivate var keys: String {
    if fields.isEmpty { return "nothing in it: `{}`" }
    return (fields.count == 1 ? "the key " : "the keys ") + inBackticks(fields.map(\.name))
  }

  /// The section of the reference that describes it.
  var anchor: String {
    String(name.map { $0 == " " ? "-" : $0 }).lowercased()
  }
}
