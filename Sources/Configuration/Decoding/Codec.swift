// SPDX-License-Identifier: Apache-2.0
// One description of a place in the file gives its decoder and its shape, so that what the program
// accepts, what the schema says and what the documentation says cannot part. Swift has no
// reflection to make a decoder from a type; here the description makes it. A decoder reports
// everything it finds and returns `nil` for what it could not read; it never stops at the first.

/// How a place in the file is read, and what it accepts.
struct Codec<Value> {
  let shape: Shape
  let read: (Node, Place, inout Diagnostics) -> Value?

  /// What a node says; `nil` when that could not be read, which is then reported.
  func decode(_ node: Node, at place: Place = Place(), _ diagnostics: inout Diagnostics) -> Value? {
    read(node, place, &diagnostics)
  }

  func map<Other>(_ transform: @escaping (Value) -> Other) -> Codec<Other> {
    let read = read
    return Codec<Other>(shape: shape) { node, place, diagnostics in
      guard let value = read(node, place, &diagnostics) else { return nil }
      return transform(value)
    }
  }
}

extension Codec {
  /// Remembers where the value begins.
  var located: Codec<Located<Value>> {
    let read = read
    return Codec<Located<Value>>(shape: shape) { node, place, diagnostics in
      read(node, place, &diagnostics).map {
        Located(value: $0, range: node.headRange, shown: "", isExpanded: false)
      }
    }
  }
}

/// What a codec cannot know about where it reads, but what a report has to say.
struct Place {
  /// All that is accepted there, when the codec reads only a part of it.
  var whole: SharedShape?
  /// Whether it is the value of a key that may be left out.
  var isOptional = false
}

/// A shape by reference: a place is made for every value, and what it accepts is needed for a fault alone.
final class SharedShape {
  let shape: Shape

  init(_ shape: Shape) {
    self.shape = shape
  }
}

/// Why a value is not accepted.
struct Refusal: Error {
  /// Follows the value in a sentence: "is too large". Never repeats the value or a part of it,
  /// which may be a secret.
  var reason: String
  /// What to do; may repeat the value, and is left out when that comes from the environment.
  var hint: String?
  /// Whether a schema can know it, too.
  var isShape = true

  init(_ reason: String, hint: String? = nil, isShape: Bool = true) {
    self.reason = reason
    self.hint = hint
    self.isShape = isShape
  }
}

/// How a single value is read and written.
struct ScalarCodec<Value> {
  var shape: ScalarShape
  var parse: (Scalar) throws(Refusal) -> Value
  var encode: (Value) -> JSON

  /// A codec that also accepts a keyword.
  func or(_ keyword: String, _ documentation: String? = nil) -> ScalarCodec<Value?> {
    let parse = parse
    let encode = encode
    let words = "`\(keyword)`" + (documentation.map { " (\($0))" } ?? "")
    return ScalarCodec<Value?>(
      shape: ScalarShape(accepted: words, keywords: [keyword]).or(shape),
      parse: { scalar throws(Refusal) in
        scalar.text == keyword ? nil : try parse(scalar)
      },
      encode: { $0.map(encode) ?? .string(keyword) })
  }

  /// A codec whose refusals say what to write instead, where `hint` knows it.
  func hinting(_ hint: @escaping (_ text: String) -> String?) -> ScalarCodec {
    var codec = self
    codec.parse = { scalar throws(Refusal) in
      do throws(Refusal) {
        return try parse(scalar)
      } catch {
        var refusal = error
        refusal.hint = hint(scalar.text) ?? refusal.hint
        throw refusal
      }
    }
    return codec
  }

  /// The same form for another type.
  func map<Other>(
    _ transform: @escaping (Value) -> Other, back: @escaping (Other) -> Value
  ) -> ScalarCodec<Other> {
    let parse = parse
    let encode = encode
    return ScalarCodec<Other>(
      shape: shape,
      parse: { scalar throws(Refusal) in transform(try parse(scalar)) },
      encode: { encode(back($0)) })
  }

  /// A codec of nodes: takes single values, reports refusals.
  var codec: Codec<Value> {
    Codec(shape: .scalar(shape)) { node, place, diagnostics in
      decode(node, at: place, &diagnostics)
    }
  }

  func decode(_ node: Node, at place: Place, _ diagnostics: inout Diagnostics) -> Value? {
    guard let scalar = node.scalar(expecting: .scalar(shape), at: place, &diagnostics) else {
      return nil
    }
    do throws(Refusal) {
      return try parse(scalar)
    } catch {
      var hints: [String] = []
      if node.secrecy != nil {
        // Other hints may repeat what is not to be shown.
        hints = error.hint.flatMap { $0 == "put it in quotes" ? [$0] : nil } ?? []
      } else if !scalar.isExpanded {
        hints = diagnostics.didYouMean(scalar.text, among: shape.keywords)
        if hints.isEmpty, let hint = error.hint { hints.append(hint) }
      }
      hints.append("accepted: \((place.whole?.shape ?? .scalar(shape)).accepted(.terminal))")
      diagnostics.error(
        at: node.range,
        "\(node.secrecy == nil ? quoted(scalar.shown) : "the value") \(error.reason)",
        hints: hints, isShape: error.isShape)
      return nil
    }
  }
}

/// A value that later checks may have to point at.
struct Located<Value> {
  var value: Value
  var range: SourceRange
  /// The text in the file.
  var shown: String
  var isExpanded: Bool
}

extension ScalarCodec {
  /// Remembers where the value stands.
  var located: Codec<Located<Value>> {
    Codec<Located<Value>>(shape: .scalar(shape)) { node, place, diagnostics in
      guard let value = decode(node, at: place, &diagnostics),
        case .scalar(let scalar) = node.content
      else { return nil }
      return Located(
        value: value, range: node.range, shown: scalar.shown, isExpanded: scalar.isExpanded)
    }
  }
}

extension Node {
  /// The scalar here; reports anything else.
  func scalar(
    expecting shape: @autoclosure () -> Shape, at place: Place, _ diagnostics: inout Diagnostics
  ) -> Scalar? {
    guard case .scalar(let scalar) = content, !scalar.isNull else {
      refuseKind(expecting: shape(), at: place, &diagnostics)
      return nil
    }
    return scalar
  }

  /// Reports that this node is not of the right kind.
  func refuseKind(expecting part: Shape, at place: Place, _ diagnostics: inout Diagnostics) {
    let shape = place.whole?.shape ?? part
    let accepted = "accepted: \(shape.accepted(.terminal))"
    switch content {
    case .failed: return
    case .scalar(let scalar) where scalar.isNull:
      diagnostics.error(
        at: headRange, "a value is missing here",
        hints: [accepted] + (place.isOptional ? ["to keep the default, remove the key"] : []))
    default:
      let hints = (kindSlipHint(shape).map { [$0] } ?? []) + [accepted]
      diagnostics.error(
        at: range, "expected \(shape.kindWords), found \(kindWords)", hints: hints)
    }
  }
}

extension Node {
  /// What to write instead of a node of the wrong kind, where that is plain to see.
  private func kindSlipHint(_ shape: Shape) -> String? {
    let (list, mapping): (Shape?, Shape?) =
      switch shape {
      case .scalar: (nil, nil)
      case .list(let item, _): (item, nil)
      case .object, .named: (nil, shape)
      case .either(_, let list, let mapping):
        if case .list(let item, _) = list { (item, mapping) } else { (nil, mapping) }
      }
    switch content {
    case .scalar(let scalar):
      if case .object(let object) = mapping,
        let name = keyWithoutSpace(scalar.shown, among: object.fields.map(\.name))
      {
        return missingSpaceHint(name)
      }
      if let list {
        let isShown = secrecy == nil && !scalar.isExpanded
        if list.acceptsScalars {
          return
            "write a list: `[\(isShown ? "\"\(escaped(scalar.shown, scalarsMax: 60))\"" : "…")]`"
        }
        if case .object(let item) = list, let key = item.firstKey { return "write `[{\(key): …}]`" }
      }
      guard case .object(let object) = mapping, secrecy == nil, !scalar.isExpanded else {
        return nil
      }
      return object.form(for: scalar.text)
    case .mapping:
      guard let list, mapping == nil, case .either(_, _, .some) = list else { return nil }
      return "write a list: `[{…}]`"
    case .sequence, .failed: return nil
    }
  }
}

extension Shape {
  fileprivate var acceptsScalars: Bool {
    switch self {
    case .scalar, .either(.some, _, _): true
    default: false
    }
  }
}

extension ObjectShape {
  /// The key that is there in any case, or one of those of which one is.
  fileprivate var firstKey: String? {
    fields.first(where: \.isRequired)?.name ?? choices.first { $0.isRequired }?.names.first
  }

  /// The mapping that a single value was probably meant to be.
  fileprivate func form(for text: String) -> String? {
    if let field = fields.first(where: { $0.name == text }) {
      if case .scalar = field.shape { return nil }
      return "write `{\(text): …}`, or `{\(text): {}}` with nothing to set"
    }
    if text.hasPrefix("/"), fields.contains(where: { $0.name == "path" }) {
      return "write `{path: \(escaped(text, scalarsMax: 60))}`"
    }
    let isOn = ["on", "true", "yes", "default", "enabled"].contains(text.lowercased())
    return isOn && firstKey == nil ? "write `{}`" : nil
  }
}

/// The key that starts a text like `listen::80`, which has no space after the key's colon.
func keyWithoutSpace(_ text: String, among names: [String]) -> String? {
  names.first { text.hasPrefix($0 + ":") }
}

func missingSpaceHint(_ name: String) -> String {
  "a space is missing after `\(name):`"
}
