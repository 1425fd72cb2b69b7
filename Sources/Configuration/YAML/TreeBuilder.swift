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
        return try builder.document()
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
    case .alias(let name): return try alias(name, at: event.range)
    case .scalar(let text, let isPlain, let properties):
      try count(1, at: event.range)
      let tagged = check(properties.tag, allowed: "str", at: event.range)
      let scalar = Scalar(text: text, shown: text, isPlain: isPlain && !tagged)
      let node = Node(content: .scalar(scalar), range: event.range)
      if let anchor = properties.anchor { anchors[anchor] = node }
      return node
    case .sequenceStart(let properties):
      return try collection(event, properties, allowed: "seq") {
        (builder: inout TreeBuilder) throws(SyntaxFailure) -> Node in
        try builder.sequence(event)
      }
    case .mappingStart(let properties):
      return try collection(event, properties, allowed: "map") {
        (builder: inout TreeBuilder) throws(SyntaxFailure) -> Node in
        try builder.mapping(event)
      }
    default:
      throw SyntaxFailure(range: event.range, message: "the YAML ends too early")
    }
  }

  private mutating func collection(
    _ event: YAMLEvent, _ properties: YAMLEvent.Properties, allowed: String,
    _ body: (inout TreeBuilder) throws(SyntaxFailure) -> Node
  ) throws(SyntaxFailure) -> Node {
    try count(1, at: event.range)
    _ = check(properties.tag, allowed: allowed, at: event.range)
    depth += 1
    try checkDepth(depth, at: event.range)
    if let anchor = properties.anchor { openAnchors.insert(anchor) }
    let node = try body(&self)
    if let anchor = properties.anchor {
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
      if case .sequenceEnd = event.kind {
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
    var seen: [String: Mark] = [:]
    var merges: [Node] = []
    while true {
      let event = try next()
      if case .mappingEnd = event.kind {
        merge(merges, into: &entries, seen: seen)
        var node = Node(
          content: .mapping(entries),
          range: SourceRange(start: start.range.start, end: event.range.end))
        node.weight = entries.reduce(1) { $0 + $1.value.weight + 1 }
        node.depth = 1 + (entries.map(\.value.depth).max() ?? 0)
        return node
      }
      let key = try self.node(event)
      var value = try self.node(try next())
      value.keyRange = key.range
      guard case .scalar(let name) = key.content, !name.isNull else {
        diagnostics.error(
          at: key.range, "a key must be text, this one is \(key.kindWords)",
          hints: ["if it is an address, or holds `${`, put it in quotes"])
        continue
      }
      if let first = seen.updateValue(key.range.start, forKey: name.text) {
        seen[name.text] = first
        diagnostics.error(
          at: key.range, "the key \(quoted(name.text)) stands here a second time",
          hints: ["the first is in line \(first.line)"])
      } else if name.isPlain, name.text == "<<" {
        merges.append(value)
      } else {
        entries.append(Entry(key: name.text, keyRange: key.range, value: value))
      }
    }
  }

  /// Adds the entries of `merges` whose keys are not there yet; an earlier mapping wins.
  private mutating func merge(
    _ merges: [Node], into entries: inout [Entry], seen: [String: Mark]
  ) {
    guard !merges.isEmpty else { return }
    var known = Set(seen.keys)
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
      at: range, "the tag \(quoted(shown)) is not supported here", hints: ["remove it"])
    return false
  }
}
