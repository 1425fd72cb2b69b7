// SPDX-License-Identifier: Apache-2.0
// The JSON Schema (draft 2020-12) of the configuration, made from the shapes that decode it, so
// that an editor flags what the program would refuse. Every single value may also be text with
// `${NAME}` in it, whatever its kind: what that expands to, no schema can know. A schema also does
// not know meanings: a dangling name, a collision, a duration that is too long.

/// The JSON Schema of the configuration file, indented, with a line end at the end.
public func jsonSchema() -> String {
  var writer = SchemaWriter()
  guard case .object(let root) = Codec<FileDraft>.file.shape else { return "" }
  var members: [JSON.Member] = [
    .init(key: "$schema", value: .string("https://json-schema.org/draft/2020-12/schema")),
    .init(key: "title", value: .string("Sluice configuration")),
  ]
  members += writer.members(of: root)
  let definitions = writer.definitions.sorted { $0.key < $1.key }
  let expansion = JSON.Member(
    key: "expansion",
    value: .object([
      "description": .string("text with `${NAME}` or `${NAME:-default}` in it"),
      "type": .string("string"), "pattern": .string(expansionPattern),
    ]))
  members.append(
    .init(
      key: "$defs",
      value: .object([expansion] + definitions.map { .init(key: $0.key, value: $0.value) })))
  return JSON.object(members).text() + "\n"
}

/// At least one well-formed expansion, and no dollar that is not doubled.
let expansionPattern: String = {
  let expansion = #"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"#
  return #"^([^$]|\$\$)*"# + expansion + #"([^$]|\$\$|"# + expansion + ")*$"
}()

private struct SchemaWriter {
  var definitions: [String: JSON] = [:]

  mutating func schema(_ shape: Shape) -> [JSON.Member] {
    switch shape {
    case .scalar(let scalar): return alternatives(Self.alternatives(of: scalar))
    case .list(let item, let countMin):
      var members = [
        JSON.Member(key: "type", value: .string("array")),
        JSON.Member(key: "items", value: .object(schema(item))),
      ]
      if countMin > 0 { members.append(.init(key: "minItems", value: .integer(countMin))) }
      return members
    case .object(let object):
      let name = object.anchor
      if definitions[name] == nil {
        let members = members(of: object)
        definitions[name] = .object(members)
      }
      return [.init(key: "$ref", value: .string("#/$defs/\(name)"))]
    case .named(let value, let keys, let countMin):
      var members = [JSON.Member(key: "type", value: .string("object"))]
      if countMin > 0 { members.append(.init(key: "minProperties", value: .integer(countMin))) }
      members.append(
        .init(key: "propertyNames", value: .object(["pattern": .string("^\(keys.pattern)$")])))
      members.append(.init(key: "additionalProperties", value: .object(schema(value))))
      return members
    case .either(let scalar, let list, let mapping):
      var choices = scalar.map(Self.alternatives) ?? []
      for other in [list, mapping] {
        if let other { choices.append(.object(schema(other))) }
      }
      return alternatives(choices)
    }
  }

  mutating func members(of object: ObjectShape) -> [JSON.Member] {
    var properties: [JSON.Member] = []
    for field in object.fields {
      var members: [JSON.Member] = [
        .init(key: "description", value: .string(field.documentation))
      ]
      members += schema(field.shape)
      if let value = field.defaultValue { members.append(.init(key: "default", value: value)) }
      properties.append(.init(key: field.name, value: .object(members)))
    }
    var members: [JSON.Member] = [
      .init(key: "description", value: .string(object.documentation)),
      .init(key: "type", value: .string("object")),
      .init(key: "properties", value: .object(properties)),
    ]
    let required = object.fields.filter(\.isRequired).map { JSON.string($0.name) }
    if !required.isEmpty { members.append(.init(key: "required", value: .array(required))) }
    members += object.choices.map(Self.exclusion)
    if object.allowsExtensions {
      members.append(
        .init(key: "patternProperties", value: .object(["^x-": .boolean(true)])))
    }
    members.append(.init(key: "additionalProperties", value: .boolean(false)))
    return members
  }

  /// That keys exclude each other, or that one is needed. A mapping has one choice of each kind at most, so
  /// that no keyword comes twice.
  private static func exclusion(_ choice: KeyChoice) -> JSON.Member {
    func present(_ names: [String]) -> JSON {
      .object(["required": .array(names.map(JSON.string))])
    }
    if choice.isRequired {
      return .init(
        key: choice.allowsSeveral ? "anyOf" : "oneOf",
        value: .array(choice.names.map { present([$0]) }))
    }
    let pairs = choice.names.indices.flatMap { last in
      choice.names[..<last].map { present([$0, choice.names[last]]) }
    }
    return .init(key: "not", value: pairs.count == 1 ? pairs[0] : .object(["anyOf": .array(pairs)]))
  }

  private static func alternatives(of scalar: ScalarShape) -> [JSON] {
    var choices: [JSON] = []
    if !scalar.keywords.isEmpty {
      choices.append(.object(["enum": .array(scalar.keywords.map(JSON.string))]))
    }
    if let integers = scalar.integers {
      choices.append(
        .object([
          "type": .string("integer"), "minimum": .integer(integers.lowerBound),
          "maximum": .integer(integers.upperBound),
        ]))
    }
    if scalar.isBoolean { choices.append(.object(["type": .string("boolean")])) }
    for (index, pattern) in scalar.patterns.enumerated() {
      var members: [JSON.Member] = [
        .init(key: "type", value: .string("string")),
        .init(key: "pattern", value: .string("^\(pattern)$")),
      ]
      if index == 0, !scalar.examples.isEmpty {
        members.append(.init(key: "examples", value: .array(scalar.examples.map(JSON.string))))
      }
      choices.append(.object(members))
    }
    choices.append(.object(["$ref": .string("#/$defs/expansion")]))
    return choices
  }

  private func alternatives(_ choices: [JSON]) -> [JSON.Member] {
    if choices.count == 1, case .object(let members) = choices[0] { return members }
    return [.init(key: "anyOf", value: .array(choices))]
  }
}
