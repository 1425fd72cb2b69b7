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
    Codec<Other>(shape: shape) { node, place, diagnostics in
      read(node, place, &diagnostics).map(transform)
    }
  }
}

extension Codec {
  /// Remembers where the value begins.
  var located: Codec<Located<Value>> {
    Codec<Located<Value>>(shape: shape) { node, place, diagnostics in
      read(node, place, &diagnostics).map {
        Located(value: $0, range: node.headRange, shown: "", isExpanded: false)
      }
    }
  }
}

/// What a codec cannot know about where it reads, but what a report has to say.
struct Place {
  /// All that is accepted there, when the codec reads only a part of it.
  var whole: Shape?
  /// Whether it is the value of a key that may be left out.
  var isOptional = false
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
      if !scalar.isExpanded {
        hints = diagnostics.didYouMean(scalar.text, among: shape.keywords)
        if hints.isEmpty, let hint = error.hint { hints.append(hint) }
      }
      hints.append("accepted: \((place.whole ?? .scalar(shape)).accepted(.terminal))")
      diagnostics.error(
        at: node.range, "\(quoted(scalar.shown)) \(error.reason)", hints: hints,
        isShape: error.isShape)
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
    expecting shape: Shape, at place: Place, _ diagnostics: inout Diagnostics
  ) -> Scalar? {
    guard case .scalar(let scalar) = content, !scalar.isNull else {
      refuseKind(expecting: shape, at: place, &diagnostics)
      return nil
    }
    return scalar
  }

  /// Reports that this node is not of the right kind.
  func refuseKind(expecting part: Shape, at place: Place, _ diagnostics: inout Diagnostics) {
    let shape = place.whole ?? part
    let accepted = "accepted: \(shape.accepted(.terminal))"
    switch content {
    case .failed: return
    case .scalar(let scalar) where scalar.isNull:
      diagnostics.error(
        at: headRange, "a value is missing here",
        hints: [accepted] + (place.isOptional ? ["to keep the default, remove the key"] : []))
    default:
      var hints: [String] = []
      if case .scalar = shape { hints = [accepted] }
      if case .object(let object) = shape, case .scalar(let scalar) = content,
        let name = keyWithoutSpace(scalar.shown, among: object.fields.map(\.name))
      {
        hints = [missingSpaceHint(name)]
      }
      diagnostics.error(
        at: range, "expected \(shape.kindWords), found \(kindWords)", hints: hints)
    }
  }
}

/// The key that starts a text like `listen::80`, which has no space after the key's colon.
func keyWithoutSpace(_ text: String, among names: [String]) -> String? {
  names.first { text.hasPrefix($0 + ":") }
}

func missingSpaceHint(_ name: String) -> String {
  "a space is missing after `\(name):`"
}
