// SPDX-License-Identifier: Apache-2.0
// Events to a tree, with bounds enforced per event: nesting (libyaml's cost is quadratic in it),
// the number of nodes, and the number of nodes that aliases stand for (a small file of nested
// aliases can stand for billions). A tree therefore never has more nodes than `Limits` says, and a
// recursion over it is never deeper. Faults that leave the structure clear, such as a duplicate
// key, are reported and reading goes on; the others are thrown.

/// How large a document may be.
struct Limits {
  var depthMax = 64
  /// Nodes, those that aliases stand for included.
  var nodesMax = 400_000
  /// What is missing where there is no document.
  var contents = Contents.configuration

  enum Contents {
    case configuration
    case endpoints
  }
}

extension Limits.Contents {
  /// There is no document.
  fileprivate var isMissing: SyntaxFailure {
    switch self {
    case .configuration:
      SyntaxFailure(
        range: SourceRange(at: .start), message: "the file holds no configuration",
        hints: ["at least one route is needed: `routes: {NAME: {listen: …, to: …}}`"])
    case .endpoints:
      SyntaxFailure(
        range: SourceRange(at: .start), message: "the file holds no endpoints",
        hints: ["a list is needed, like `[\"10.0.0.1:5432\"]`"])
    }
  }
}

/// Reads one document.
struct TreeBuilder: ~Copyable {
  private var reader: EventReader
  private let limits: Limits
  private let lines: [String]
  private var anchors: [String: Node] = [:]
  private var openAnchors: Set<String> = []
  private var nodes = 0
  private var depth = 0
  /// Whether what is read now is not to be shown.
  private var secrecy: Secrecy?
  /// Where what is not shown stands.
  private var secrets: [SourceRange] = []
  private(set) var diagnostics: Diagnostics

  private init(
    _ bytes: UnsafeBufferPointer<UInt8>, lines: [String], limits: Limits, diagnostics: Diagnostics
  ) {
    reader = EventReader(bytes)
    self.lines = lines
    self.limits = limits
    self.diagnostics = diagnostics
  }

  /// The tree of the only document, or `nil` when the file holds none.
  static func build(
    _ source: SourceText, lines: [String], limits: Limits = Limits(),
    diagnostics: inout Diagnostics
  ) -> Node? {
    source.bytes.withUnsafeBufferPointer { bytes in
      var builder = TreeBuilder(bytes, lines: lines, limits: limits, diagnostics: diagnostics)
      defer { diagnostics = builder.diagnostics }
      do throws(SyntaxFailure) {
        let root = try builder.document()
        builder.diagnostics.secrets = builder.secrets
        return root
      } catch {
        builder.diagnostics.report(error)
        return nil
      }
    }
  }

  private mutating func next() throws(SyntaxFailure) -> YAMLEvent {
    do throws(YAMLProblem) {
      return try reader.next()
    } catch {
      throw explain(error, lines: lines)
    }
  }

  private mutating func document() throws(SyntaxFailure) -> Node? {
    while true {
      let event = try next()
      switch event.kind {
      case .streamStart, .documentStart: continue
      case .streamEnd:
        throw limits.contents.isMissing
      default:
        let root = try node(event)
        while true {
          let after = try next()
          switch after.kind {
          case .documentEnd: continue
          case .streamEnd: return root
          default:
            throw SyntaxFailure(
              range: SourceRange(at: after.range.start),
              message: "a second YAML document starts here",
              hints: ["a configuration is one document; remove the `---`"])
          }
        }
      }
    }
  }

  private mutating func node(_ event: YAMLEvent) throws(SyntaxFailure) -> Node {
    switch event.kind {
    case .alias: return try alias(event.text, at: event.range)
    case .scalar: return try scalar(event)
    case .sequenceStart:
      return try collection(event, allowed: "seq") {
        (builder: inout TreeBuilder) throws(SyntaxFailure) -> Node in
        try builder.sequence(event)
      }
    case .mappingStart:
      return try collection(event, allowed: "map") {
        (builder: inout TreeBuilder) throws(SyntaxFailure) -> Node in
        try builder.mapping(event)
      }
    default:
      throw SyntaxFailure(range: event.range, message: "the YAML ends too early")
    }
  }

  private mutating func scalar(_ event: YAMLEvent) throws(SyntaxFailure) -> Node {
    try count(1, at: event.range)
    let tagged = check(event.tag, allowed: "str", at: event.range)
    let scalar = Scalar(text: event.text, isPlain: event.isPlain && !tagged)
    var node = Node(content: .scalar(scalar), range: event.range)
    if let length = Secrecy.keyLength(of: event.text) {
      // Its space is missing, so the value is a part of the key.
      hide(event.range, from: event.isPlain ? length : 0)
      node.secrecy = .password
    }
    if let anchor = event.anchor { anchors[anchor] = node }
    return node
  }

  private mutating func collection(
    _ event: YAMLEvent, allowed: String,
    _ body: (inout TreeBuilder) throws(SyntaxFailure) -> Node
  ) throws(SyntaxFailure) -> Node {
    try count(1, at: event.range)
    _ = check(event.tag, allowed: allowed, at: event.range)
    depth += 1
    try checkDepth(depth, at: event.range)
    if let anchor = event.anchor { openAnchors.insert(anchor) }
    let node = try body(&self)
    if let anchor = event.anchor {
      openAnchors.remove(anchor)
      anchors[anchor] = node
    }
    depth -= 1
    return node
  }

  private mutating func sequence(_ start: YAMLEvent) throws(SyntaxFailure) -> Node {
    var items: [Node] = []
    while true {
      let event = try next()
      if event.kind == .sequenceEnd {
        var node = Node(
          content: .sequence(items),
          range: SourceRange(start: start.range.start, end: event.range.end))
        node.weight = items.reduce(1) { $0 + $1.weight }
        node.depth = 1 + (items.map(\.depth).max() ?? 0)
        return node
      }
      items.append(try self.node(event))
    }
  }

  private mutating func mapping(_ start: YAMLEvent) throws(SyntaxFailure) -> Node {
    var entries: [Entry] = []
    var keys = KeyIndex()
    var merges: [Node] = []
    while true {
      let event = try next()
      if event.kind == .mappingEnd {
        merge(merges, into: &entries)
        var node = Node(
          content: .mapping(entries),
          range: SourceRange(start: start.range.start, end: event.range.end))
        node.weight = entries.reduce(1) { $0 + $1.value.weight + 1 }
        node.depth = 1 + (entries.map(\.value.depth).max() ?? 0)
        return node
      }
      let key = try self.node(event)
      var value = try self.value(of: key)
      value.keyRange = key.range
      guard case .scalar(let name) = key.content, !name.isNull else {
        diagnostics.error(
          at: key.range, "a key must be text, this one is \(key.kindWords)",
          hints: ["if it is an address, or holds `${`, put it in quotes"])
        continue
      }
      let isMerge = name.isPlain && name.text == "<<"
      let before =
        isMerge ? merges.first?.keyRange : keys.position(of: name.text, in: entries)
      if let before {
        let shown =
          key.secrecy == nil && secrecy != .password ? "the key \(quoted(name.text))" : "a key"
        diagnostics.error(
          at: key.range, "\(shown) stands here a second time",
          hints: ["the first is in line \(before.start.line)"])
      } else if isMerge {
        merges.append(value)
      } else {
        entries.append(Entry(key: name.text, keyRange: key.range, value: value))
        keys.noteLast(of: entries)
      }
    }
  }

  /// The value of a key. One that is not to be shown is marked, and where it stands is remembered.
  private mutating func value(of key: Node) throws(SyntaxFailure) -> Node {
    let outer = secrecy
    defer { secrecy = outer }
    guard case .scalar(let name) = key.content else { return try node(try next()) }
    let own = Secrecy(key: name.text)
    secrecy = outer ?? own
    let event = try next()
    let value = try node(event)
    guard outer == nil else { return value }
    if let own {
      if name.text == "headers", case .mapping(let fields) = value.content {
        for field in fields {
          hide(field.value.range, behind: field.keyRange)
          // The space behind the colon is missing, so the value is a part of the key.
          if let colon = field.key.unicodeScalars.firstIndex(of: ":") {
            hide(field.keyRange, from: field.key.unicodeScalars[...colon].count)
          }
        }
      } else {
        // With an alias, both the place of the name and that of the value.
        if event.kind == .alias { hide(event.range, behind: key.range) }
        hide(value.range, behind: key.range)
      }
      return value.hidden(own)
    }
    if case .scalar = value.content, Secrecy.looksSecret(name.text) {
      hide(value.range, behind: key.range)
      return value.hidden(.password)
    }
    return value
  }

  private mutating func hide(_ range: SourceRange, from length: Int = 0) {
    var range = range
    range.start.column += length
    secrets.append(range)
  }

  /// Hides a value with what stands between it and its key: an anchor, a tag.
  private mutating func hide(_ value: SourceRange, behind key: SourceRange) {
    let isNear = key.end < value.end && value.start.line <= key.end.line + 1
    secrets.append(isNear ? SourceRange(start: key.end, end: value.end) : value)
  }

  /// Adds the entries of `merges` whose keys are not there yet; an earlier mapping wins.
  private mutating func merge(_ merges: [Node], into entries: inout [Entry]) {
    guard !merges.isEmpty else { return }
    var known = Set(entries.map(\.key))
    for merge in merges {
      let mappings: [Node]
      if case .sequence(let items) = merge.content { mappings = items } else { mappings = [merge] }
      for mapping in mappings {
        guard case .mapping(let merged) = mapping.content else {
          diagnostics.error(
            at: merge.headRange, "`<<` merges a mapping or a list of mappings, not a value",
            hints: ["write `<<: *name`, where `&name` marks a mapping"])
          continue
        }
        for entry in merged where known.insert(entry.key).inserted { entries.append(entry) }
      }
    }
  }

  private mutating func alias(_ name: String, at range: SourceRange) throws(SyntaxFailure) -> Node {
    guard let node = anchors[name] else {
      if secrecy != nil {
        throw SyntaxFailure(
          range: range,
          message: "`*` starts an alias in YAML, and this one has no anchor before it",
          hints: ["put the text in quotes"])
      }
      if openAnchors.contains(name) {
        throw SyntaxFailure(
          range: range, message: "the alias \(quoted("*" + name)) stands for a value that it is in")
      }
      throw SyntaxFailure(
        range: range, message: "the alias \(quoted("*" + name)) has no anchor before it",
        hints: suggestion(for: name, among: anchors.keys.sorted()).map {
          ["did you mean `*\($0)`?"]
        } ?? ["mark a value with `&\(name)` first, or put the text in quotes"])
    }
    try count(node.weight, at: range)
    try checkDepth(depth + node.depth, at: range)
    return node
  }

  private mutating func count(_ more: Int, at range: SourceRange) throws(SyntaxFailure) {
    nodes += more
    guard nodes > limits.nodesMax else { return }
    throw SyntaxFailure(
      range: range,
      message: "the file holds more than \(limits.nodesMax) values, those behind aliases included")
  }

  private func checkDepth(_ depth: Int, at range: SourceRange) throws(SyntaxFailure) {
    guard depth > limits.depthMax else { return }
    throw SyntaxFailure(
      range: SourceRange(at: range.start),
      message: "the nesting is deeper than \(limits.depthMax) levels")
  }

  /// Whether there is the one tag that is `allowed`; others are reported.
  private mutating func check(_ tag: String?, allowed: String, at range: SourceRange) -> Bool {
    guard let tag else { return false }
    let core = "tag:yaml.org,2002:"
    if tag == core + allowed { return true }
    let shown = tag.hasPrefix(core) ? "!!" + tag.dropFirst(core.count) : tag
    diagnostics.error(
      at: range,
      secrecy == nil
        ? "the tag \(quoted(shown)) is not supported here" : "a tag is not supported here",
      hints: [secrecy == nil ? "remove it" : "text that begins with `!` has to be put in quotes"])
    return false
  }
}

/// Finds a key among those that a mapping has so far. A few are compared one after the other, as most
/// mappings have a few: that costs less than to hash them.
private struct KeyIndex {
  private static let comparedMax = 8
  /// All keys, once there are more.
  private var ranges: [String: SourceRange] = [:]

  func position(of key: String, in entries: [Entry]) -> SourceRange? {
    guard entries.count <= Self.comparedMax else { return ranges[key] }
    for index in entries.indices where entries[index].key == key { return entries[index].keyRange }
    return nil
  }

  mutating func noteLast(of entries: [Entry]) {
    guard entries.count > Self.comparedMax else { return }
    for entry in ranges.isEmpty ? entries[...] : entries.suffix(1) {
      ranges[entry.key] = entry.keyRange
    }
  }
}
