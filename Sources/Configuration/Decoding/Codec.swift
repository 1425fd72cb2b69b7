// SPDX-License-Identifier: Apache-2.0
// One description of a place in the file gives its decoder and its shape, so that what the program
// accepts, what the schema says and what the documentation says cannot part. Swift has no
// reflection to make a decoder from a type; here the description makes it. A decoder reports
// everything it finds and returns `nil` for what it could not read; it never stops at the first.

/// How a place in the file is read, and what it accepts.
struct Codec<Value> {
  let shape: Shape
  let decode: (Node, inout Diagnostics) -> Value?

  func map<Other>(_ transform: @escaping (Value) -> Other) -> Codec<Other> {
    let decode = decode
    return Codec<Other>(shape: shape) { node, diagnostics in
      decode(node, &diagnostics).map(transform)
    }
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
    Codec(shape: .scalar(shape)) { node, diagnostics in
      decode(node, &diagnostics)
    }
  }

  func decode(_ node: Node, _ diagnostics: inout Diagnostics) -> Value? {
    guard let scalar = node.scalar(expecting: .scalar(shape), &diagnostics) else { return nil }
    do throws(Refusal) {
      return try parse(scalar)
    } catch {
      var hints: [String] = []
      if !scalar.isExpanded {
        hints = diagnostics.didYouMean(scalar.text, among: shape.keywords)
        if hints.isEmpty, let hint = error.hint { hints.append(hint) }
      }
      hints.append("accepted: \(shape.accepted)")
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
    Codec<Located<Value>>(shape: .scalar(shape)) { node, diagnostics in
      guard let value = decode(node, &diagnostics), case .scalar(let scalar) = node.content
      else { return nil }
      return Located(
        value: value, range: node.range, shown: scalar.shown, isExpanded: scalar.isExpanded)
    }
  }
}

extension Node {
  /// The scalar here; reports anything else.
  func scalar(expecting shape: Shape, _ diagnostics: inout Diagnostics) -> Scalar? {
    guard case .scalar(let scalar) = content, !scalar.isNull else {
      refuseKind(expecting: shape, &diagnostics)
      return nil
    }
    return scalar
  }

  /// Reports that this node is not of the right kind.
  func refuseKind(expecting shape: Shape, _ diagnostics: inout Diagnostics) {
    switch content {
    case .failed: return
    case .scalar(let scalar) where scalar.isNull:
      diagnostics.error(
        at: headRange, "a value is missing here",
        hints: ["accepted: \(shape.accepted)", "to keep the default, remove the key"])
    default:
      var hints: [String] = []
      if case .scalar = shape { hints = ["accepted: \(shape.accepted)"] }
      diagnostics.error(
        at: range, "expected \(shape.kindWords), found \(kindWords)", hints: hints)
    }
  }
}
