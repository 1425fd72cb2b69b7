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
  case named(Shape, countMin: Int)
  /// By the kind of the node.
  case either(scalar: ScalarShape?, list: Shape?, mapping: Shape?)
}

/// A single value: keywords, a range of numbers, true and false, text of certain forms.
struct ScalarShape {
  /// For people: what is accepted, in Markdown.
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
}

/// A known key.
struct FieldShape {
  var name: String
  var shape: Shape
  var documentation: String
  /// What counts when the key is absent, where that is one value.
  var defaultValue: JSON?
  var isRequired = false
}

extension Shape {
  /// What is accepted, in Markdown.
  var accepted: String {
    switch self {
    case .scalar(let scalar): return scalar.accepted
    case .list(let item, _): return "a list of \(item.acceptedItems)"
    case .object(let object): return "a mapping, see [`\(object.name)`](#\(object.anchor))"
    case .named(let value, _):
      if case .object(let object) = value {
        return "a mapping from names to [`\(object.name)`](#\(object.anchor))"
      }
      return "a mapping from names to \(value.accepted)"
    case .either(let scalar, let list, let mapping):
      return [scalar?.accepted, list?.accepted, mapping?.accepted].compactMap { $0 }
        .joined(separator: ", or ")
    }
  }

  private var acceptedItems: String {
    switch self {
    case .either(let scalar?, nil, nil): scalar.accepted
    case .either: "these: \(accepted)"
    default: accepted
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

extension ObjectShape {
  /// The section of the reference that describes it.
  var anchor: String {
    String(name.map { $0 == " " ? "-" : $0 }).lowercased()
  }
}
