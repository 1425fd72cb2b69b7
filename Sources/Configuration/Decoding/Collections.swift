// SPDX-License-Identifier: Apache-2.0
// Codecs of lists and mappings. A mapping with known keys is a list of fields, each of which says
// where its value goes in a draft: all of its faults are found in one pass, and what could not be
// read stays at the draft's own value.

/// A known key of a mapping that is read into a `Draft`.
struct Field<Draft> {
  let shape: FieldShape
  let decode: (Node, inout Draft, inout Diagnostics) -> Void

  /// The same key in a mapping that has `Draft` as a part.
  func lifted<Whole>(_ path: WritableKeyPath<Whole, Draft>) -> Field<Whole> {
    let decode = decode
    return Field<Whole>(shape: shape) { node, whole, diagnostics in
      decode(node, &whole[keyPath: path], &diagnostics)
    }
  }
}

/// A key with a single value; `standard` counts when it is absent.
func field<Draft, Value>(
  _ name: String, _ path: WritableKeyPath<Draft, Value?>, _ codec: ScalarCodec<Value>,
  standard: Value, _ documentation: String
) -> Field<Draft> {
  field(name, path, codec.codec, shown: codec.encode(standard), documentation)
}

/// A key with any value; `shown` is what the reference gives as the default. A key that is not
/// optional without being required is one of several, of which one is.
func field<Draft, Value>(
  _ name: String, _ path: WritableKeyPath<Draft, Value?>, _ codec: Codec<Value>,
  shown: JSON? = nil, note: String? = nil, isRequired: Bool = false, isOptional: Bool? = nil,
  _ documentation: String
) -> Field<Draft> {
  Field<Draft>(
    shape: FieldShape(
      name: name, shape: codec.shape, documentation: documentation, defaultValue: shown,
      defaultNote: note, isRequired: isRequired)
  ) { node, draft, diagnostics in
    let place = Place(isOptional: isOptional ?? !isRequired)
    draft[keyPath: path] = codec.decode(node, at: place, &diagnostics)
  }
}

/// What to say about keys that are not known, but not unheard of.
typealias KeyNotes = [String: String]

extension Codec {
  /// A mapping with known keys.
  static func object(
    _ name: String, _ documentation: String, _ empty: Value, allowsExtensions: Bool = false,
    choices: [KeyChoice] = [], notes: KeyNotes = [:], fields: [Field<Value>]
  ) -> Codec {
    let shape = ObjectShape(
      name: name, documentation: documentation, fields: fields.map(\.shape),
      allowsExtensions: allowsExtensions, choices: choices)
    let byName = Dictionary(uniqueKeysWithValues: fields.map { ($0.shape.name, $0) })
    let names = fields.map(\.shape.name)
    let renamed = renamedKeys[name] ?? [:]
    let required = shape.fields.filter(\.isRequired)
    return Codec(shape: .object(shape)) { node, place, diagnostics in
      guard case .mapping(let entries) = node.content else {
        node.refuseKind(expecting: .object(shape), at: place, &diagnostics)
        return nil
      }
      var draft = empty
      /// Keys that are not there, but were probably meant.
      var meantKeys: [String] = []
      for entry in entries {
        if let field = byName[entry.key] {
          field.decode(entry.value, &draft, &diagnostics)
        } else if !(allowsExtensions && entry.key.hasPrefix("x-")) {
          let meant = keyWithoutSpace(entry.key, among: names)
          if let meant { meantKeys.append(meant) }
          let hints =
            meant.map { [missingSpaceHint($0)] }
            ?? renamed[entry.key].map { ["it is called `\($0)` now"] }
            ?? notes[entry.key].map { [$0] }
            // How near a secret is to a word would tell about it.
            ?? (node.secrecy == nil ? diagnostics.didYouMean(entry.key, among: names) : [])
            .orElse(["known here: \(inBackticks(names))"])
          // Where the space is missing, the value is a part of the key.
          let shown =
            Secrecy.keyLength(of: entry.key).map { entry.key.prefix($0) + "…" } ?? entry.key
          diagnostics.error(
            at: entry.keyRange,
            node.secrecy == nil ? "unknown key \(quoted(shown))" : "unknown key",
            hints: hints)
        }
      }
      func isPresent(_ name: String) -> Bool {
        entries.contains { $0.key == name } || meantKeys.contains(name)
      }
      for field in required where !isPresent(field.name) {
        diagnostics.error(
          at: node.headRange, "the key `\(field.name)` is missing",
          hints: ["accepted: \(field.shape.accepted(.terminal))"])
      }
      for choice in choices {
        choice.check(
          entries, isMeant: choice.names.contains(where: isPresent), node.headRange, &diagnostics)
      }
      return draft
    }
  }

  /// A mapping from names that the file chooses. An entry that could not be read stays as `empty`,
  /// so that what refers to its name is not reported, too.
  static func named<Item>(
    _ item: Codec<Item>, empty: Item, keys: KeyForm = .names, countMin: Int = 0
  ) -> Codec where Value == [Named<Item>] {
    let shape = Shape.named(item.shape, keys: keys, countMin: countMin)
    return Codec(shape: shape) { node, place, diagnostics in
      guard case .mapping(let entries) = node.content else {
        node.refuseKind(expecting: shape, at: place, &diagnostics)
        return nil
      }
      if entries.count < countMin {
        diagnostics.error(at: node.headRange, "at least one entry is needed here")
      }
      var items: [Named<Item>] = []
      items.reserveCapacity(entries.count)
      for entry in entries {
        if !keys.accepts(entry.key) {
          diagnostics.error(
            at: entry.keyRange, "\(quoted(shown(entry.key, in: node))) is no \(keys.word)",
            hints: ["a \(keys.word) has \(keys.accepted)"])
        }
        let value = item.decode(entry.value, &diagnostics) ?? empty
        items.append(Named(name: entry.key, range: entry.keyRange, value: value))
      }
      return items
    }
  }

  /// A list, every item read by the same codec.
  static func list<Item>(_ item: Codec<Item>, countMin: Int = 0) -> Codec where Value == [Item] {
    let shape = Shape.list(of: item.shape, countMin: countMin)
    return Codec(shape: shape) { node, place, diagnostics in
      guard case .sequence(let nodes) = node.content else {
        node.refuseKind(expecting: shape, at: place, &diagnostics)
        return nil
      }
      if nodes.count < countMin {
        diagnostics.error(at: node.range, "at least one item is needed here")
      }
      var items: [Item] = []
      items.reserveCapacity(nodes.count)
      for index in nodes.indices {
        if let value = item.decode(nodes[index], &diagnostics) { items.append(value) }
      }
      return items
    }
  }

  /// A union, told apart by the kind of the node alone. A refused value is told all of the union:
  /// what was meant may be of another kind.
  static func either(
    scalar: Codec? = nil, list: Codec? = nil, mapping: Codec? = nil
  ) -> Codec {
    var scalarShape: ScalarShape?
    if case .scalar(let shape) = scalar?.shape { scalarShape = shape }
    let shape = Shape.either(scalar: scalarShape, list: list?.shape, mapping: mapping?.shape)
    let whole = SharedShape(shape)
    let (scalar, list, mapping) = (scalar?.read, list?.read, mapping?.read)
    return Codec(shape: shape) { node, place, diagnostics in
      let place = Place(whole: place.whole ?? whole, isOptional: place.isOptional)
      let read: ((Node, Place, inout Diagnostics) -> Value?)? =
        switch node.content {
        case .scalar(let value): value.isNull ? nil : scalar
        case .sequence: list
        case .mapping: mapping
        case .failed: nil
        }
      guard let read else {
        node.refuseKind(expecting: shape, at: place, &diagnostics)
        return nil
      }
      return read(node, place, &diagnostics)
    }
  }
}

/// A key without what stands behind its colon where that is not to be shown: its space is missing.
private func shown(_ key: String, in node: Node) -> String {
  guard node.secrecy != nil, let colon = key.firstIndex(of: ":") else { return key }
  return key[...colon] + (key.index(after: colon) == key.endIndex ? "" : "…")
}

extension KeyChoice {
  /// For people.
  var words: String {
    allowsSeveral
      ? "At least one of \(inBackticks(names)) has to be there"
      : isRequired
        ? "Exactly one of \(inBackticks(names)) has to be there"
        : "At most one of \(inBackticks(names)) may be there"
  }

  /// Reports keys that exclude each other, and the lack of one that is needed. `isMeant`: one of them is
  /// there, or was probably meant.
  fileprivate func check(
    _ entries: [Entry], isMeant: Bool, _ range: SourceRange, _ diagnostics: inout Diagnostics
  ) {
    let chosen = entries.filter { names.contains($0.key) }
    for other in chosen.dropFirst() where !allowsSeveral {
      diagnostics.error(
        at: other.keyRange, "\(quoted(other.key)) and \(quoted(chosen[0].key)) exclude each other",
        hints: ["the other one is in line \(chosen[0].keyRange.start.line)"])
    }
    if isRequired, !isMeant {
      diagnostics.error(
        at: range, "one of the keys \(inBackticks(names)) is missing",
        hints: hint.map { [$0] } ?? [])
    }
  }
}

/// An entry of a mapping from names.
struct Named<Value> {
  var name: String
  var range: SourceRange
  var value: Value
}

/// Whether text may name a route or an upstream.
func isName(_ text: String) -> Bool {
  (1...64).contains(text.utf8.count)
    && text.utf8.allSatisfy { isLetter($0) || isDigit($0) || "_-.".utf8.contains($0) }
}

extension Array {
  /// The other array when this one is empty.
  func orElse(_ other: @autoclosure () -> [Element]) -> [Element] {
    isEmpty ? other() : self
  }
}
