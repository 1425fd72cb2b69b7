// SPDX-License-Identifier: Apache-2.0
// Documents made from the shapes: valid ones, and ones with a few values replaced, keys renamed or
// removed. It knows nothing but the shapes, so a key that is added later is covered at once. The
// documents are JSON, which is YAML, so that the decoder and a JSON Schema validator can both judge
// the same text.

@testable import Configuration

/// Makes documents from a seed.
struct ShapeGenerator {
  private var random: SeededGenerator
  private var mutationsLeft = 0
  private var isMutated = false

  init(seed: UInt64) {
    random = SeededGenerator(seed: seed)
  }

  static func environment(_ name: String) -> String? {
    ["NAME": "5", "WORD": "off"][name]
  }

  /// A whole file; two of three may be mutated.
  mutating func document() -> (value: JSON, isMutated: Bool) {
    mutationsLeft = chance(3) ? 0 : chance(4) ? 3 : 1
    let value = value(of: Codec<FileDraft>.file.shape)
    return (value, isMutated)
  }

  private mutating func chance(_ n: Int) -> Bool {
    Int.random(in: 0..<n, using: &random) == 0
  }

  private mutating func pick<Element>(_ items: [Element]) -> Element {
    items[Int.random(in: 0..<items.count, using: &random)]
  }

  private mutating func mutate() -> Bool {
    guard mutationsLeft > 0, chance(6) else { return false }
    mutationsLeft -= 1
    isMutated = true
    return true
  }

  private mutating func value(of shape: Shape) -> JSON {
    if mutate() { return slip(for: shape) }
    switch shape {
    case .scalar(let scalar): return self.scalar(scalar)
    case .list(let item, let countMin):
      let least = mutate() ? 0 : countMin
      return .array((0..<Int.random(in: least...2, using: &random)).map { _ in value(of: item) })
    case .object(let object): return self.object(object)
    case .named(let item, let keys, let countMin):
      var members: [JSON.Member] = []
      for index in 0..<Int.random(in: countMin...2, using: &random) {
        let name = mutate() ? pick(keys.slips) : keys.examples[index]
        members.append(.init(key: name, value: value(of: item)))
      }
      return .object(members)
    case .either(let scalar, let list, let mapping):
      let choices = [scalar.map(Shape.scalar), list, mapping].compactMap { $0 }
      return value(of: pick(choices))
    }
  }

  private mutating func object(_ object: ObjectShape) -> JSON {
    var members: [JSON.Member] = []
    var excluded: Set<String> = []
    var needed: Set<String> = []
    for choice in object.choices where !mutate() {
      let chosen = pick(choice.names)
      excluded.formUnion(choice.names.filter { $0 != chosen })
      if choice.isRequired { needed.insert(chosen) }
    }
    for field in object.fields where !excluded.contains(field.name) {
      let isNeeded = field.isRequired || needed.contains(field.name)
      guard isNeeded ? !mutate() : chance(2) else { continue }
      members.append(.init(key: field.name, value: value(of: field.shape)))
    }
    if object.allowsExtensions, chance(3) { members.append(.init(key: "x-a", value: .null)) }
    if mutate() {
      members.append(.init(key: pick(["x-b", "unknown", "Listen"]), value: .integer(1)))
    }
    return .object(members)
  }

  private mutating func scalar(_ scalar: ScalarShape) -> JSON {
    var choices: [JSON] = scalar.keywords.map(JSON.string) + scalar.examples.map(JSON.string)
    if let integers = scalar.integers {
      choices += [
        .integer(integers.lowerBound), .integer(integers.upperBound),
        .integer(Int.random(in: integers, using: &random)),
      ]
      if integers.contains(5), scalar.patterns.isEmpty { choices.append(.string("${NAME}")) }
    }
    if scalar.isBoolean { choices += [.boolean(true), .boolean(false)] }
    if scalar.keywords.contains("off") { choices += [.string("${WORD}"), .string("${NOPE:-off}")] }
    return pick(choices)
  }

  /// Something that may be wrong here, often by a hair.
  private mutating func slip(for shape: Shape) -> JSON {
    var texts = [
      "", " ", "off", "auto", "start", "true", "5", "5s", "1h30m", "30m1h", "05s", "0s", "9999999h",
      "1.5s", "5d", "64KiB", "64K", "01", "1KiB", "99999999999999GiB", "a/b", "a$b", "a$$/b", "$",
      "${",
      "${NAME}${", "$${NAME}", ":80", ":0", ":080", ":65535", ":65536", "10.0.0.1", "10.0.0.1:80",
      "10.0.0.256:80", "10.0.0.256", "[::1]:80", "[::1]:0", "[::g]:80", "[:1]:80", "[::1%1]:80",
      "[::1%x]:80", "[::1%]:80", "[]:80", "::1", "1::2::3", "::ffff:1.2.3.4", ":", "db", "db:5",
      "db:0",
      "-db:5", "d..b:5", "db-:5", "db.:5", "1.2.3:5", "a_b.c:5", "ü:5", "unix:", "unix:/",
      "unix:/a",
      "unix:@", "unix:@a$$b", "unix:@a$b", "unix:80", "unix:a",
      "unix:/" + String(repeating: "p", count: 120),
      "fd:", "fd:2", "fd:3", "fd:03", "fd:99999999", "builtin:echo", "builtin:", "builtin:80",
      "fd:80x",
      "http://a:80", "*:80", "a b", "/", "a\tb/", "1e3", ".5", "0x10", "db:5:6", "::1:80", "[::1",
      "1:2",
      "a:b", "[::1]x:80", "x[::1]:80", "[::1]:80:80", "round_robin", "least_connections", "stdout",
      "10%", "010%", "10 %", "99%", "200-399", "399-200", "100-200", "200-600", "2xx", "/a b",
      "/a#b",
      "/ü", "/a$$", "GET", "get", "G T", "a$$b c", "127.0.0.1:0", "127.0.0.1:x", "localhost:1",
      "[::1]:0", "/%zz", "/a%20b", "/{x}",
    ]
    let others: [JSON] = [
      .null, .boolean(true), .boolean(false), .integer(0), .integer(-1), .integer(5), .integer(80),
      .integer(5000), .integer(99_999_999_999), .array([]), .array([.null]), .object([]),
      .array([.string("10.0.0.1:80")]), .object(["address": .string("a:1")]),
      .object(["every": .string("5m")]), .object(["tcp": .object([])]),
      .object(["tcp": .object([]), "http": .object([])]),
      .object(["http": .object([]), "port": .integer(1), "address": .string("10.0.0.1:1")]),
      .integer(200), .array([.integer(5), .string(":80")]),
    ]
    guard !chance(4) else { return pick(others) }
    if case .scalar(let scalar) = shape, !scalar.examples.isEmpty, !chance(3) {
      var text = Array(pick(scalar.examples).unicodeScalars)
      let place = Int.random(in: 0..<text.count, using: &random)
      switch Int.random(in: 0..<3, using: &random) {
      case 0: text.remove(at: place)
      case 1: text.insert(pick(Array("0159.:-_[]@/ abmsKx%".unicodeScalars)), at: place)
      default: text[place] = pick(Array("0159.:-_[]@/ abmsKx%".unicodeScalars))
      }
      var view = String.UnicodeScalarView()
      view.append(contentsOf: text)
      texts = [String(view)]
    }
    return .string(pick(texts))
  }
}
